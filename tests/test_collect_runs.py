"""docs/collect_runs.py: what a run's folder says of itself, kept once per seed and variant."""

import importlib.util
import json
from pathlib import Path

import pytest

from dexfw_envs.progress import STATE, dump
from dexfw_envs.runs import RunFolder

pytest.importorskip("torch", reason="a run's progress is kept by torch")
SCRIPT = Path(__file__).parents[1] / "docs" / "collect_runs.py"


@pytest.fixture
def collect(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("collect_runs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results" / "runs")
    return module


def make_run(root, seed, variant="", success=0.5, task="Grasp", turns=2):
    """The folder of a finished run of two turns, as the flywheel leaves it."""
    config = {"task": task, "seed": seed, "variant": variant, "threads": 1, "iterations": turns}
    run = RunFolder.create(root, f"DexFW/{task}-v0", "fake", seed, config | {"gamma": 0.99})
    run.write_checkpoint(STATE, dump({"done": {"data_1": 3.5, "data_2": 4.5}}))
    for i in range(1, turns + 1):
        data = {"edited": {"tries": 10 * i, "successes": 8, "jerk": 1.0, "duration": 1.0}}
        row = {"iteration": i, "split": "T_VAL", "policy": "base", "success": success}
        (run.path / f"data_{i}.json").write_text(json.dumps(data))
        (run.path / f"eval_{i}.json").write_text(json.dumps([row | {"per_object": {"egg": {}}}]))
    return run


def kept(collect, task="Grasp"):
    return json.loads((collect.RESULTS / f"{task}.json").read_text())


def test_a_run_is_kept_with_its_settings_times_and_results(collect, tmp_path, capsys):
    run = make_run(tmp_path, seed=3)
    collect.main([str(run.path)])
    assert capsys.readouterr().out == "results/runs/Grasp.json: 1 runs\n"
    (found,) = kept(collect)
    assert {name: found[name] for name in ("task", "seed", "variant", "threads")} == {
        "task": "Grasp", "seed": 3, "variant": "", "threads": 1,
    }  # fmt: skip
    assert "gamma" not in found
    assert (found["commit"], found["command"]) == (
        run.provenance["commit"],
        run.provenance["command"],
    )
    assert found["seconds"] == {"data_1": 3.5, "data_2": 4.5}
    assert [found["data"][turn]["edited"]["tries"] for turn in ("1", "2")] == [10, 20]
    assert [row["iteration"] for row in found["success"]] == [1, 2]
    assert not any("per_object" in row for row in found["success"])


def test_a_second_call_replaces_the_same_seed_and_variant_alone(collect, tmp_path):
    first = [make_run(tmp_path, seed=2), make_run(tmp_path, seed=1)]
    collect.main([str(run.path) for run in first])
    later = [make_run(tmp_path, 2, success=0.9), make_run(tmp_path, 2, "sac", success=0.7)]
    collect.main([str(run.path) for run in [*later, make_run(tmp_path, 2, task="Lift")]])
    found = [(run["variant"], run["seed"], run["success"][0]["success"]) for run in kept(collect)]
    assert found == [("", 1, 0.5), ("", 2, 0.9), ("sac", 2, 0.7)]
    assert [run["seed"] for run in kept(collect, "Lift")] == [2]


def test_a_folder_that_is_no_run_is_named(collect, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no run at .*empty"):
        collect.main([str(tmp_path / "empty")])
    begun = make_run(tmp_path, seed=1)
    (begun.path / "checkpoints" / STATE).unlink()
    with pytest.raises(FileNotFoundError, match=f"no checkpoint '{STATE}'"):
        collect.main([str(begun.path)])
    assert not collect.RESULTS.exists()
