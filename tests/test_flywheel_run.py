"""The flywheel script as a process that is killed and resumed, and the failures it keeps."""

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
import torch
from test_dexflywheel import TINY, fw, tiny_arguments

from dexfw_envs.demos.augment import augment
from dexfw_envs.demos.store import EpisodeStore
from dexfw_envs.progress import load

SCRIPT = Path(fw.__file__)
SMALL = {"trajectories": (2,), "base_steps": 120, "total_timesteps": 128, "test_every": 128,
         "rl_envs": 2, "test_episodes": 2, "eval_episodes": 2}  # fmt: skip
PATIENCE = 120.0  # [s]


class Process:
    """The script with some arguments, in a process of its own; what it says goes to a file."""

    def __init__(self, log, *arguments):
        self.log = open(log, "wb")  # noqa: SIM115 (closed by `end`)
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1", "MUJOCO_GL": "disabled"},  # films take long
            stdout=self.log,
            stderr=self.log,
        )

    def end(self) -> int:
        self.log.close()
        return self.process.wait(PATIENCE)

    def kill_at(self, folder, stage: str, counter: str, moment: int) -> None:
        """Kill it as soon as `stage` has saved that `counter` has come to `moment`."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            kept = progress(folder)
            if kept["stage"] == stage and kept["state"].get(counter, 0) >= moment:
                break
            time.sleep(0.02)
        self.process.kill()
        assert self.end() == -signal.SIGKILL, Path(self.log.name).read_text()
        assert progress(folder)["stage"] == stage


def progress(folder) -> dict:
    found = list(folder.glob("*/checkpoints/progress"))
    return load(found[0].read_bytes()) if found else {"stage": "", "state": {}}


def one_run(folder) -> Path:
    (run,) = folder.iterdir()
    return run


@pytest.fixture
def start(tmp_path):
    """Start the script; whatever a failing test leaves running is killed."""
    started = []

    def begin(*arguments):
        started.append(Process(tmp_path / f"log{len(started)}", *arguments))
        return started[-1]

    yield begin
    for each in started:
        each.process.kill()
        each.end()


def test_a_process_killed_in_two_stages_and_resumed_gives_the_same_run(tmp_path, start):
    moments, a, b = random.Random(0), tmp_path / "a", tmp_path / "b"
    whole, killed = (start(*tiny_arguments(runs, **SMALL)) for runs in (a, b))
    killed.kill_at(b, "base_1", "step", moments.randint(1, 80))
    resume = ["--resume", str(one_run(b))]
    start(*resume).kill_at(b, "residual_1", "round", moments.randint(1, 12))
    for each in (whole, start(*resume)):
        assert each.end() == 0, Path(each.log.name).read_text()
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
