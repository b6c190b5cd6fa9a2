"""How often the scripted experts succeed: measured, written down, told."""

import json
from pathlib import Path

import pytest

from dexfw_envs.catalog import objects_for
from dexfw_envs.catalog.curricula import iterations
from dexfw_envs.experts import EXPERTS, SEED_STYLES, TEACHER_STYLES
from dexfw_envs.experts.measure import Args, main, run_expert, sentence
from dexfw_envs.registry import TASKS

RESULTS = Path(__file__).parents[2] / "results" / "experts"
LEAST = {"Grasp": 0.90, "Pour": 0.90, "Lift": 0.90, "Handover": 0.80}


def rate(wins, n):
    return {"success": wins / n, "n": n}


def test_every_task_has_an_expert_and_a_style_of_its_seed():
    names = {item.name for item in TASKS}
    assert set(EXPERTS) == set(SEED_STYLES) == set(TEACHER_STYLES) == set(LEAST) == names


def test_the_command_measures_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = []
    for worlds in (2, 3):
        main(Args("Lift", episodes=3, seed=4, num_envs=worlds, threads=1))
        found.append(json.loads((tmp_path / "results" / "experts" / "Lift.json").read_text()))
    assert found[0] == found[1], "it does not depend on the number of worlds"
    assert found[0]["n"] == 3 and list(found[0]["per_object"]) == list(objects_for("Lift", 3))[:3]
    assert found[0]["command"].endswith("experts.measure --task Lift --episodes 3 --seed 4")
    assert {"commit", "versions", "machine"} <= found[0].keys()
    assert "the expert solves" in capsys.readouterr().out
    with pytest.raises(ValueError, match="unknown task 'Juggle'"):
        main(Args("Juggle"))


def test_what_is_told_names_what_was_missed():
    found = {"success": 0.9, "low": 0.8, "high": 0.95, "n": 30}
    found |= {"shoved": [0.002, 0.05]}
    found |= {"per_object": {"pear": rate(10, 10), "egg": rate(9, 10), "cube": rate(8, 10)}}
    text = sentence(found | {"reasons": {"timeout": 2, "dropped": 1}})
    assert text.startswith("90.0 % [80.0, 95.0] of 30 episodes, evenly over all 3 objects")
    assert "; failed: `cube` 2 of 10, `egg` 1 of 10 (timeout 2, dropped 1); " in text
    assert text.endswith("; it pushes objects by 0.2 cm (median) before it lifts them")
    won = found | {"success": 1.0, "per_object": {"pear": rate(10, 10)}, "reasons": {}}
    assert "failed" not in sentence(won)


@pytest.mark.parametrize("task", LEAST)
def test_the_recorded_rates_are_high_enough_over_the_whole_catalogue(task):
    found = json.loads((RESULTS / f"{task}.json").read_text())
    assert found["n"] >= 200 and found["success"] >= LEAST[task]
    assert set(found["per_object"]) == set(objects_for(task, iterations(task)))


def test_a_teacher_leaves_things_where_they_are_until_it_lifts_them():
    shoved = {}
    for teacher in (False, True):
        found = run_expert(Args("Grasp", episodes=22, num_envs=22, threads=2, teacher=teacher))
        shoved[teacher] = found["shoved"][0]
        assert found["command"].endswith("--teacher") == teacher
        assert found["success"] >= 0.8, teacher
    assert shoved[True] < 0.03 < shoved[False]
