"""What is kept and drawn of DexPIE's critic."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the critic's values are kept by torch")
pytest.importorskip("matplotlib", reason="plots need the extra report")
pytest.importorskip("pandas", reason="tables need the extra report")

from scenes import need_drawing
from test_tables import summary

from benchmark.figures.answers import answer
from benchmark.figures.results import Results
from benchmark.kept.critics import critic_curves
from benchmark.report import pie_layouts, pie_plots
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.files import atomic_write_bytes, atomic_write_json
from dexfw_envs.runs.checkpoints import dump
from dexfw_envs.runs.folder import RunFolder

SEED = load_seed("Grasp")


@pytest.fixture
def run(tmp_path):
    """A run of DexPIE with two rollouts, the first of which failed, and a critic's values."""
    atomic_write_json(tmp_path / "run" / "config.json", {"config": {}, "provenance": {}})
    store = EpisodeStore(tmp_path / "run" / "D_1", SEED.env_id, SEED.control_mode)
    lost = replace(SEED, success=False, failure="dropped")
    for index, episode in enumerate((lost, SEED)):
        store.add(episode, source="policy", seed=0, index=index)
    names = [row["id"] for row in store.manifest()]
    values = [torch.full((SEED.length + 1,), -0.25 * (k + 1)) for k in range(2)]
    kept = {"identifiers": names, "values": values}
    atomic_write_bytes(tmp_path / "run" / "checkpoints" / "critic_1.pt", dump(kept))
    return RunFolder.open(tmp_path / "run")


def test_the_critic_is_kept_along_a_success_and_a_failure(run):
    need_drawing()
    found = critic_curves(run)
    assert list(found) == ["failure", "success"]
    assert set(found["failure"]["values"]) == {-0.25}
    assert found["success"]["values"] == [-0.5] * (SEED.length + 1)
    steps = [step for step, _ in found["success"]["pictures"]]
    assert steps == [SEED.length // 3, SEED.length * 2 // 3]
    assert len({data for _, data in found["success"]["pictures"]}) == 2
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(critic_curves(run)))


def test_without_drawing_the_curves_are_kept_all_the_same(run, monkeypatch, capsys):
    def fails(*_):
        raise RuntimeError("no\ndisplay")

    monkeypatch.setattr("benchmark.kept.critics._draw", fails)
    assert critic_curves(run)["success"]["pictures"] == []
    assert "no pictures of" in (said := capsys.readouterr().err) and "no display" in said


def test_runs_without_a_critic_keep_nothing(run):
    (run.path / "checkpoints" / "critic_1.pt").unlink()
    assert critic_curves(run) == {}


def test_both_episodes_are_drawn(tmp_path):
    curve = {"values": np.linspace(-1, 0, 5).tolist(), "pictures": []}
    summary(tmp_path, critic={"success": curve}, method="dexpie", variant="dexpie")
    axes = pie_plots.critic(Results(tmp_path)).axes
    drawn = {one.get_title(): one for one in axes if one.get_title()}
    assert [line.get_label() for line in drawn["Grasp"].lines] == ["success"]
    assert "not run" not in [text.get_text() for text in drawn["Grasp"].texts]
    assert [text.get_text() for text in drawn["Pour"].texts] == ["not run"]


def collection(late, arm):
    """Part of what a collection of ten episodes tells, two of them from a later stage."""
    starts = {"reach": {"episodes": 8, "share": 0.8}, "grasp": {"episodes": 2, "share": 0.2}}
    steps = {"arm": arm, "hand": 0.1}
    return {
        "episodes": 10, "successes": 6, "retries": 4, "intervened_steps": 0.25, "late_steps": late,
        "steps": 1000, "starts": starts,
        "jumps": dict.fromkeys(("take_over", "blended", "policy"), steps),
    }  # fmt: skip


def test_collections_and_critics_are_in_the_tables(tmp_path):
    stages = {"grasp": {"explained_variance": 0.5, "auroc": None}}
    judged = {"explained_variance": 0.4, "auroc": 0.8, "stages": stages}
    for seed, arm in ((1, 0.02), (2, 0.04)):
        told = {"collection": {"1": collection(seed, arm)}}
        told |= {"critic_report": {"1": {"calibration": {"rollouts": judged}}}}
        summary(tmp_path, method="dexpie", variant="dexpie", seed=seed, **told)
    summary(tmp_path, method="dexpie", variant="dexpie-sync", seed=4, **told)
    summary(tmp_path, method="dexpie", variant="dexpie", seed=3)  # from before both were kept
    entries = [*pie_layouts.collection(3), *pie_layouts.stages(3)]
    found = {(*row, task): answer(Results(tmp_path), query) for row, task, query in entries}
    value = {key: measured and measured.value for key, measured in found.items()}
    assert value["starts from later stages %", "Grasp"] == pytest.approx(20.0)
    assert value["late steps", "Grasp"] == 1.5 and value["episodes", "Pour"] is None
    assert value["operator's steps, synchronous collection", "Grasp"] == 250
    assert value["operator's steps, ordinary starts", "Grasp"] is None
    assert value["step at a take-over, arm [rad]", "Grasp"] == 0.04, "the largest of all seeds"
    assert value["grasp", "starts %", "Grasp"] == 20.0 and value["lift", "starts %", "Grasp"] == 0
    assert value["all", "AUROC of success", "Grasp"] == 0.8
    assert value["grasp", "explained variance", "Grasp"] == 0.5
    assert value["grasp", "AUROC of success", "Grasp"] is None, "all of them succeeded"
    assert ("exchange", "starts %", "Grasp") not in value and found["episodes", "Grasp"].n == 2
