"""Policies that are given the object's id."""

import json

import pytest

torch = pytest.importorskip("torch", reason="policies need torch")
pytest.importorskip("diffusers", reason="the scripts need the extra train")

from script_calls import call

from benchmark.grid.scripts import load_script
from benchmark.studies import object_identity

SMALL = {"demonstrations": 2, "num_envs": 2, "threads": 1, "base_steps": 3, "base_batch": 8,
         "width": 32, "layers": 1, "sampling_steps": 2, "eval_episodes": 2, "eval_splits": "T_OEP",
         "variant": "enhanced-tiny"}  # fmt: skip
OBJECTS = 22  # of Grasp


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    words = [word for name, value in {**SMALL, "runs": runs}.items()
             for word in ("--" + name.replace("_", "-"), str(value))]  # fmt: skip
    script = load_script("human_demo")
    measure = script.evaluate_policies
    script.evaluate_policies = lambda *given, films, **known: measure(*given, **known)
    assert call(script, words) == 0
    (made,) = runs.iterdir()
    return made


def test_the_policy_sees_a_column_per_object_and_is_tested_in_the_same_scenes(run, monkeypatch):
    seen, usual = [], object_identity.load_script

    def watched(method):
        script = usual(method)
        learn = script.train_base

        def train_base(again):
            episodes = list(again.data())
            assert [len(e.observations[object_identity.OBJECT_ID]) for e in episodes] == [
                len(e.actions) + 1 for e in episodes
            ]
            learn(again)
            seen.append(len(again.load("policy_1.pt")["base"]["mean"]))

        script.train_base = train_base
        return script

    monkeypatch.setattr(object_identity, "load_script", watched)
    found = object_identity.compare(run, threads=1)
    before = object_identity.load_checkpoint(object_identity.RunFolder(run), "policy_1.pt")
    assert seen == [len(before["base"]["mean"]) + OBJECTS]
    assert found["as it is"]["n"] == found["told"]["n"] == 2
    assert {name: row["n"] for name, row in found["told"]["per_object"].items()} == {
        name: row["n"] for name, row in found["as it is"]["per_object"].items()
    }
    assert (found["method"], found["task"], found["split"]) == ("human_demo", "Grasp", "T_OEP")
    assert found["command"] == f"python -m benchmark.told {run} --record"


def test_what_is_no_finished_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        object_identity.main(object_identity.Args(tmp_path / "none"))
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "config.json").write_text(json.dumps({"config": {}, "provenance": {}}))
    with pytest.raises(ValueError, match=r"no eval_1\.json"):
        object_identity.main(object_identity.Args(cut))


def test_the_table_says_what_was_recorded(tmp_path):
    assert object_identity.table(tmp_path) == "Not run.\n"
    figures = {"success": 0.5, "low": 0.25, "high": 0.75, "n": 200}
    found = {"method": "dexmimicgen", "variant": "default", "task": "Lift", "seed": 3}
    found |= {"commit": "c" * 40, "as it is": figures, "told": figures | {"success": 0.625}}
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "a.json").write_text(json.dumps(found))
    text = object_identity.table(tmp_path)
    assert "| dexmimicgen default | Lift | 3 | 50.0 [25.0, 75.0] | 62.5 [25.0, 75.0] |\n" in text
    assert text.endswith(f"200 episodes of `T_OEP` each. Commits `{'c' * 12}`.\n")
