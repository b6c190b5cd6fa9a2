"""What is kept of runs of the tests with other Pythons and other versions: `tests.tried`."""

import json
from types import SimpleNamespace

import extras

from tests import tried

LEFT = ("file.py", 7, "Skipped: needs the extra train")


def report(outcome, when="call", longrepr=None):
    flags = {name: outcome == name for name in ("passed", "failed", "skipped")}
    return SimpleNamespace(nodeid=f"test_{outcome}", when=when, longrepr=longrepr, **flags)


def test_outcomes_are_counted_and_kept_beside_others(tmp_path, monkeypatch):
    monkeypatch.setattr(tried, "ROOT", tmp_path)
    outcomes = tried.Outcomes()
    for when in ("setup", "call", "teardown"):
        outcomes.pytest_runtest_logreport(report("passed", when))
    outcomes.pytest_runtest_logreport(report("failed"))
    outcomes.pytest_runtest_logreport(report("skipped", "setup", LEFT))
    outcomes.pytest_collectreport(report("skipped", longrepr=LEFT))  # a whole module

    path = tmp_path / "install.json"
    for name in ("python 3.12", "lowest versions"):
        tried.record(name, 1.234, outcomes, path)
    found = json.loads(path.read_text())
    assert list(found) == ["lowest versions", "python 3.12"]
    row = found["python 3.12"]
    assert (row["passed"], row["failed"], row["load"]) == (1, ["test_failed"], 1.23)
    assert row["skipped"] == {"needs the extra train": 2}
    assert row["packages"]["numpy"] and row["commit"]


def test_only_an_extra_that_is_not_there_excuses_a_test(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    direct = ModuleNotFoundError("no module", name="torch.nn")
    told = ImportError("records need pyarrow")
    told.__cause__ = ModuleNotFoundError("no module", name="pyarrow")
    assert [extras.lacking(error) for error in (direct, told)] == ["torch", "pyarrow"]
    assert extras.lacking(ModuleNotFoundError("no module", name="dexfw_envs.lost")) is None

    monkeypatch.setattr(extras, "find_spec", lambda name: "there")
    assert extras.lacking(direct) is None, "what is installed must import"
