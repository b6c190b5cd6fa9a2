"""The human-demonstration script: where its demonstrations come from, and a tiny run."""

import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="the scripts need the extra train")
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "baselines"))
import human_demo as hd
from script_calls import call, success_tags
from test_dexmimicgen import (
    SMALL,
    check_evaluation,
    dm,
    run_script,
    short_evaluation,
    without_films,
)

from dexfw_envs.catalog.curricula import iterations
from dexfw_envs.catalog.splits import training_combinations
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.evaluation.records import read_records

LEARN = {name: value for name, value in SMALL.items() if name != "trajectories"}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def store_of_seeds(folder, count, task="Grasp", source="scripted"):
    seed = load_seed(task)
    store = EpisodeStore(folder, seed.env_id, seed.control_mode)
    for index in range(count):
        store.add(seed, source=source, seed=0, index=index)
    return folder


def test_a_run_from_a_store_is_labelled_and_resumes(tmp_path, monkeypatch, capsys):
    short_evaluation(hd, monkeypatch)
    monkeypatch.setattr(hd, "evaluate_policies", without_films(hd.evaluate_policies))
    demos = store_of_seeds(tmp_path / "mine", 3, source="policy")
    flags = ["--runs", str(tmp_path / "runs"), "--demos", str(demos), "--demonstrations", "2"]
    flags += ["--records", str(tmp_path / "records")]
    for name, value in LEARN.items():
        flags += ["--" + name.replace("_", "-"), str(value)]
    assert run_script(hd, flags) == 0
    (run,) = (tmp_path / "runs").iterdir()
    found = json.loads((run / "demonstrations.json").read_text())
    assert found["sources"] == {"policy": 2} and found["demos"] == str(demos)
    assert success_tags(run) == {"charts/success_T_VAL_base"}
    assert call(hd, ["--resume", str(run)]) == 0
    rows = read_records(tmp_path / "records")
    assert {(r["method"], r["variant"], r["iteration"], r["policy"]) for r in rows} == {
        ("human_demo", "default-tiny", 1, "base")
    }
    check_evaluation(hd, run / "checkpoints/policy_1.pt", capsys)


def collected(tmp_path, monkeypatch, **changes):
    """What the script asks the expert for, and what it keeps."""
    asked = []

    def demonstrate(env, scenes, seed, count):
        asked.append((scenes, seed, count))
        return [replace(load_seed("Grasp"), index=k, scenario=scenes[k]) for k in range(count)]

    monkeypatch.setattr(hd, "demonstrate", demonstrate)
    args = replace(hd.Args(num_envs=1, threads=1), **changes)
    store = EpisodeStore(tmp_path, "DexFW/Grasp-v0", "ee_pose")
    hd.collect(SimpleNamespace(args=args, seed=11, episodes=lambda name: store))
    return asked, list(store.episodes())


def test_default_demonstrations_are_of_one_scene(tmp_path, monkeypatch):
    [(scenes, seed, count)], kept = collected(tmp_path, monkeypatch)
    assert (len(scenes), seed, count) == (20, 11, 20)
    assert len({(s.objects, s.surroundings, s.pose) for s in scenes}) == 1
    assert len(kept) == 20 and {e.source for e in kept} == {"scripted"}


def test_enhanced_demonstrations_are_of_diverse_scenes(tmp_path, monkeypatch):
    [(scenes, _, count)], kept = collected(tmp_path, monkeypatch, variant="enhanced")
    assert (len(scenes), count, len(kept)) == (25, 20, 20)
    allowed = training_combinations("Grasp", iterations("Grasp"))
    assert all((s.objects[0], s.surroundings, s.pose) in allowed for s in scenes)
    assert len({s.objects for s in scenes}) == 22 and len({s.surroundings for s in scenes}) == 12


def test_stores_with_too_little_are_refused(tmp_path, monkeypatch):
    few = store_of_seeds(tmp_path / "few", 3)
    with pytest.raises(ValueError, match=r"few holds 3 successful .* needed are 20"):
        collected(tmp_path / "a", monkeypatch, demos=str(few))
    with pytest.raises(ValueError, match=r" in .*few has no image, only "):
        collected(tmp_path / "b", monkeypatch, demos=str(few), demonstrations=3, obs="image")


@pytest.mark.parametrize("preset", dm.PRESETS)
def test_the_policy_is_that_of_dexmimicgen(preset):
    ours, theirs = (replace(s.Args(), **s.PRESETS[preset]) for s in (hd, dm))
    names = [f.name for f in fields(hd.Args)]
    shared = names[names.index("num_envs") :]
    shared = [*shared[: shared.index("obs_noise") + 1], "precision", "eval_episodes", "device"]
    assert {n: getattr(ours, n) for n in shared} == {n: getattr(theirs, n) for n in shared}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"variant": "diverse"}, "unknown --variant 'diverse'; valid: default, default-NAME"),
        ({"chunk": 4, "execute": 8}, "--execute"),
        ({"demonstrations": 0}, "--demonstrations"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        hd.Args(**wrong)


def test_records_of_given_demonstrations_need_a_name_of_their_own(tmp_path):
    flags = ["--records", str(tmp_path), "--demos", str(tmp_path), "--precision", "fp32"]
    with pytest.raises(ValueError, match="need --variant default-NAME; these differ: --demos"):
        call(hd, flags)
