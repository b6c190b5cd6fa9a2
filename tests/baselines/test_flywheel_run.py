"""The flywheel script against kills, full disks and damaged files, and the failures it keeps."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="the scripts need the extra train")
import torch
from script_calls import call
from test_dexflywheel import TINY, fw, short_env, tiny_arguments

from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.editing.augment import augment
from dexfw_envs.episodes.store import EpisodeMismatch, EpisodeStore
from dexfw_envs.runs.checkpoints import load
from dexfw_envs.runs.folder import RunFolder

SCRIPT = Path(fw.__file__)
SMALL = {"trajectories": (2,), "base_steps": 120, "total_timesteps": 128, "test_every": 128,
         "rl_envs": 2, "test_episodes": 2, "eval_episodes": 2}  # fmt: skip


def run_and_kill(folder, arguments, stage: str, counter: str, moment: int) -> None:
    """Start the script; kill it as soon as `stage` has saved that `counter` is at `moment`."""
    with open(folder.with_suffix(".log"), "w+") as log:
        command = [sys.executable, str(SCRIPT), *arguments]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            kept = progress(folder)
            if kept["stage"] == stage and kept["state"].get(counter, 0) >= moment:
                break
            time.sleep(0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL, log.seek(0) or log.read()
    assert progress(folder)["stage"] == stage


def progress(folder) -> dict:
    found = list(folder.glob("*/checkpoints/progress"))
    return load(found[0].read_bytes()) if found else {"stage": "", "state": {}}


def one_run(folder) -> Path:
    (run,) = folder.iterdir()
    return run


def test_a_process_killed_in_two_stages_and_resumed_gives_the_same_run(tmp_path, monkeypatch):
    measure = fw.evaluate_policies
    monkeypatch.setattr(
        fw, "evaluate_policies", lambda *a, films, **options: measure(*a, **options)
    )
    moments, a, b = random.Random(0), tmp_path / "a", tmp_path / "b"
    start = tiny_arguments(b, **SMALL)
    run_and_kill(b, start, "base_1", "step", moments.randint(1, 80))
    resume = ["--resume", str(one_run(b))]
    run_and_kill(b, resume, "residual_1", "round", moments.randint(1, 12))
    assert call(fw, resume) == 0
    assert call(fw, tiny_arguments(a, **SMALL)) == 0
    first, second = one_run(a), one_run(b)
    curves = [(run / "metrics.jsonl").read_bytes() for run in (first, second)]
    assert curves[0] == curves[1]
    assert curves[0].count(b"losses/base") == 1
    assert curves[0].count(b"charts/epsilon") == 16
    policies = [load((run / "checkpoints/policy_1.pt").read_bytes()) for run in (first, second)]
    for part in ("base", "residual"):
        ours, theirs = (policy[part] for policy in policies)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    results = [json.loads((run / "eval_1.json").read_text()) for run in (first, second)]
    assert str(results[0]) == str(results[1])
    episodes = [sorted(path.name for path in run.glob("D_1/*.h5")) for run in (first, second)]
    assert episodes[0] == episodes[1]


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(fw, "make_env", short_env(fw.make_env))
    writes, sync = [0], os.fsync

    def full(descriptor):
        writes[0] += 1
        if writes[0] > 30:  # in the middle of the base's training
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"cannot write .*progress: the disk is full"):
            call(fw, tiny_arguments(tmp_path / "runs", base_steps=30))
    run = one_run(tmp_path / "runs")
    before = progress(tmp_path / "runs")
    assert before["stage"] == "base_1" and before["state"]["step"] > 0
    assert EpisodeStore(run / "D_1").verify() == {}
    assert call(fw, ["--resume", str(run)]) == 0
    assert (run / "eval_1.json").is_file()
    assert not list(run.rglob("*.tmp*"))


def test_damaged_progress_is_named(tmp_path):
    folder = RunFolder.create(tmp_path, "DexFW/Grasp-v0", "dexflywheel", 1, TINY)
    path = folder.write_checkpoint("progress", b"PK torn")
    with pytest.raises(ValueError, match=f"{path}: no checkpoint, or a damaged one"):
        call(fw, ["--resume", str(folder.path)])


def test_data_of_a_turn_is_checked_before_it_is_learned_from(tmp_path):
    seed = load_seed("Grasp")
    run = SimpleNamespace(args=replace(TINY, iterations=2), path=tmp_path)
    store = EpisodeStore(tmp_path / "D_1", seed.env_id, seed.control_mode)
    ids = [store.add(seed, source="augmented", seed=0, index=index) for index in range(2)]
    whole = fw.Run.data(run, 1)[0]
    path = store.folder / f"{ids[0]}.h5"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=f"skipped: damaged episode file {path}.*truncated"):
        assert len(fw.Run.data(run, 1)[0]) == len(whole) // 2
    for name, other in (("env_id", "DexFW/Grasp-v9"), ("control_mode", "joint")):
        origin = {"env_id": seed.env_id, "control_mode": seed.control_mode, name: other}
        foreign = EpisodeStore(tmp_path / name / "D_1", **origin)
        foreign.add(seed, source="augmented", seed=0)
        run.path = tmp_path / name
        with pytest.raises(EpisodeMismatch, match=f"{name} '{other}', but"):
            fw.Run.data(run, 1)


def test_no_checkpoint_to_evaluate(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        call(fw, ["--evaluate", str(tmp_path / "nothing.pt")])


def test_failed_tries_are_stored_with_their_reason(tmp_path, monkeypatch):
    def clumsy(*inputs, **options):
        for episode in augment(*inputs, **options):
            lost = {"success": False, "failure": "dropped"} if episode.index % 2 else {}
            yield replace(episode, **lost)

    monkeypatch.setattr(fw, "augment", clumsy)
    (tmp_path / "D_1").mkdir()
    (tmp_path / "D_1" / "left.h5").write_text("half-full")
    fw.build_data(SimpleNamespace(args=TINY, seed=1, path=tmp_path), 1)
    report = json.loads((tmp_path / "data_1.json").read_text())["edited"]
    store = EpisodeStore(tmp_path / "D_1")
    assert store.verify() == {}
    lost = list(store.episodes(success=False))
    assert {episode.source for episode in lost} == {"augmented"}
    assert Counter(episode.failure for episode in lost) == report["failures"]
    assert report["failures"]["dropped"] >= report["tries"] // 2
    assert len(list(store.episodes(success=True))) == TINY.trajectories[0]
