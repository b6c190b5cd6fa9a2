"""Measuring policies for records and films, and the curves of a resumed run."""

import errno
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from stub_env import GoPolicy, StubVectorEnv, make_scenarios

from dexfw_envs.evaluation.records import read_records
from dexfw_envs.runs import report
from dexfw_envs.runs.settings import ScriptArgs


@pytest.fixture
def measured(tmp_path, monkeypatch):
    draw = lambda task, split, episodes, seed: make_scenarios(episodes)  # noqa: E731
    monkeypatch.setattr("dexfw_envs.evaluation.evaluator._draw", draw)
    args = ScriptArgs(eval_episodes=6, records=str(tmp_path / "records"))

    def measure(**options):
        env = StubVectorEnv(2)
        env.spec = SimpleNamespace(id="DexFW/Grasp-v0")
        policies = {"base": GoPolicy(0.0), "combined": GoPolicy()}
        return report.evaluate_policies(policies, env, args, method="x", iteration=1, **options)

    return measure


def test_records_carry_the_commit_of_the_runs_start(measured, tmp_path):
    start = {"commit": "abc", "command": "python x.py --seed 1", "versions": {}, "machine": {}}
    measured(provenance=start)
    rows = read_records(tmp_path / "records")
    assert {(row["commit"], row["command"]) for row in rows} == {("abc", "python x.py --seed 1")}
    assert len(rows) == 12


def test_the_table_shows_measures_where_there_are_any(measured):
    rows, text = measured(), io.StringIO()
    assert all(0 < row["measures"]["distance"] < 1.5 for row in rows)
    old = {name: value for name, value in rows[0].items() if name != "measures"}
    report.print_success([*rows, old], Console(file=text, width=200))
    lines = [line for line in text.getvalue().splitlines() if "base" in line or "combined" in line]
    assert "distance" in text.getvalue()
    assert f"{rows[0]['measures']['distance']:.2f}" in lines[0]
    report.print_success([old, old], Console(file=(bare := io.StringIO()), width=200))
    assert "distance" not in bare.getvalue()


def test_the_wheel_is_spoken_of_only_where_there_is_one(measured):
    rows = measured()
    for shown, wheel in ((rows, True), ([r for r in rows if r["policy"] == "base"], False)):
        report.print_success(shown, Console(file=(text := io.StringIO()), width=200))
        assert ("the wheel" in text.getvalue()) == wheel


def test_a_method_without_iterations_has_all_rounds():
    rounds = ("T_O(1)", "T_O(2)", "T_O(3)")
    assert report.all_rounds(("T_O", "T_OEP"), "Lift") == ("T_OEP", *rounds)
    assert report.all_rounds(("T_VAL",), "Lift") == ("T_VAL",)


def test_films_that_fail_lose_nothing(measured, tmp_path, monkeypatch, capsys):
    expected = measured()

    def no_display(self, worlds):
        raise RuntimeError("no EGL\nhere")

    monkeypatch.setattr(StubVectorEnv, "draw", no_display)
    assert str(measured(films=tmp_path / "videos")) == str(expected)
    warning = "warning: no videos of iteration 1: RuntimeError: no EGL here\n"
    assert capsys.readouterr().err.endswith(warning)
    assert len(read_records(tmp_path / "records")) == 12
    monkeypatch.undo()


def test_a_failing_policy_is_no_matter_of_films(measured, tmp_path, monkeypatch):
    monkeypatch.setattr(GoPolicy, "act", lambda self, observation: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measured(films=tmp_path / "videos")


def test_a_plot_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    row = {"iteration": 1, "split": "T_VAL", "policy": "base", "success": 0.5, "low": 0.4,
           "high": 0.6}  # fmt: skip
    path = report.plot_success([row], tmp_path / "new" / "success.png")
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"cannot write {path}: the disk is full"):
        report.plot_success([row, {**row, "iteration": 2}], path)
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == ["success.png"]


def test_success_reaches_the_curves_by_split_and_policy(measured):
    rows = measured()
    curves = report.success_curves([*rows, {**rows[0], "split": "T_O(2)"}])
    assert curves == {
        "charts/success_T_VAL_base": rows[0]["success"],
        "charts/success_T_VAL_combined": rows[1]["success"],
        "charts/success_T_O2_base": rows[0]["success"],
    }


def test_tests_during_training_have_their_older_name_too():
    records = [{"object": "egg", "success": True}, {"object": "can", "success": False}]
    assert report.curves("residual", records) == {
        "charts/success_residual": 0.5,
        "charts/residual_success": 0.5,
        "charts/residual_success/egg": 1.0,
        "charts/residual_success/can": 0.0,
    }
    assert report.curves("residual", []) == {}


@pytest.mark.parametrize("known", [True, False])
def test_old_curves_are_sent_once(tmp_path, monkeypatch, known):
    pytest.importorskip("torch")
    from dexfw_envs.runs.metrics import MetricsLog

    sent = []
    fake = SimpleNamespace(log=sent.append, finish=lambda: None, resumed=known)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **_: fake))
    log = MetricsLog(tmp_path)
    log.log(1, {"a": 0.5})
    log.close()
    again = MetricsLog(tmp_path, log.size, tracked=True)
    again.log(2, {"a": 0.7})
    again.close()
    assert [row["global_step"] for row in sent] == ([2] if known else [1, 2])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_curves_on_a_full_disk(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from dexfw_envs.runs.metrics import MetricsLog

    log, real = MetricsLog(tmp_path), open
    log.log(1, {"a": 0.5})
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", lambda path, mode: real("/dev/full", mode))
        with pytest.raises(OSError, match=r"cannot write .*metrics\.jsonl: the disk is full"):
            log.log(2, {"a": 0.7})
    log.close()
    again = MetricsLog(tmp_path, log.size)
    again.close()
    assert again.path.read_text() == '{"step": 1, "a": 0.5}\n'


def test_checkpoints_are_read_to_the_cpu_without_cuda(monkeypatch):
    torch = pytest.importorskip("torch")
    from dexfw_envs.runs.checkpoints import dump, load

    seen, real = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: seen.append(k["map_location"]) or real(*a))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load(dump({"a": 1})) == {"a": 1}
    assert seen == ["cpu"]
