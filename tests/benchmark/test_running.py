"""`benchmark run` against kills of workers and of itself, and what it shares, skips and retries."""

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cells import STUB, cell

from benchmark.grid.cells import Cell
from benchmark.grid.variants import PARENT, RETRIES, Variant
from benchmark.kept.summaries import read_summary, status, summary_path
from benchmark.running.cell_runner import locked, run_cell
from benchmark.running.forking import changed_settings, fork
from benchmark.running.site import CellFailed, Site, fill_in, script_command
from benchmark.running.worker_pool import cells_to_run, run_cells
from benchmark.studies import endurance
from benchmark.studies.endurance import strike
from dexfw_envs.files import atomic_write_bytes
from dexfw_envs.runs.checkpoints import load
from dexfw_envs.runs.progress import STATE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills need Linux's processes")
STAGES = [f"{name}_{i}" for i in (1, 2, 3) for name in ("data", "eval")]


@pytest.fixture
def site(tmp_path):
    (tmp_path / "baselines").mkdir()
    shutil.copy(STUB, tmp_path / "baselines" / "dexflywheel.py")
    return Site(Path("results"), Path("runs"), root=tmp_path, threads=1)


def trace(site, one) -> list[str]:
    path = site.cell_folder(one) / "trace.txt"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def stages(site, one) -> list[str]:
    return [line.split()[0] for line in trace(site, one)]


def summary(site, one) -> dict:
    found = read_summary(summary_path(one, site.results_of(one)))
    assert found is not None
    return found


def test_missing_cells_run_and_done_ones_are_skipped(site):
    lines, cells = [], [cell(seed=1), cell(seed=2)]
    outcome = run_cells(cells, site, workers=2, report=lines.append)
    assert (sorted(c.seed for c in outcome.done), outcome.failed) == ([1, 2], {})
    assert [status(c, site.results_of(c), site.root) for c in cells] == ["done", "done"]
    assert cells_to_run([*cells, cell(seed=3)], site.results_of, site.root) == [cell(seed=3)]
    found = summary(site, cells[0])
    assert found["seconds"] == dict.fromkeys(STAGES, 60.0)
    assert (found["method_version"], found["commit"], found["threads"]) == (7, "c0ffee", 1)
    assert [row["success"] for row in found["success"]] == [0.2, 0.3, 0.4]
    assert list(found["curves"]) == ["charts/base_success"]
    manifest = json.loads((site.root / "results/revision-2/manifest.json").read_text())
    assert list(manifest) == [f"dexflywheel/main/Grasp/seed{s}" for s in (1, 2)]
    assert manifest["dexflywheel/main/Grasp/seed1"]["minutes"] == 6.0
    run_cell(cells[0], site)  # a finished run that is called again does no stage twice
    assert stages(site, cells[0]) == STAGES


def kill_at(worker: int, trace: Path, lines: int) -> None:
    """Let a process of its own kill a worker once its script has begun so many stages."""
    program = (
        "import os, sys, time\n"
        "while sum(1 for _ in open(sys.argv[1])) < int(sys.argv[2]): time.sleep(0.005)\n"
        "os.kill(int(sys.argv[3]), 9)"
    )
    trace.parent.mkdir(parents=True, exist_ok=True)
    trace.touch()
    subprocess.Popen([sys.executable, "-c", program, str(trace), str(lines), str(worker)])


def test_a_killed_worker_is_replaced_and_loses_one_stage_at_most(site, monkeypatch):
    rng, one, told_lines = random.Random(0), cell(), []
    first = rng.randint(1, 3)
    halts = [first, first + rng.randint(1, 3)]
    monkeypatch.setenv("STUB_HALTS", " ".join(map(str, halts)))  # it waits there to be killed

    def report(line):
        told_lines.append(line)
        if line.startswith("begins") and halts:
            (worker,) = multiprocessing.active_children()
            kill_at(worker.pid, site.cell_folder(one) / "trace.txt", halts.pop(0))

    outcome = run_cells([one], site, report=report)
    assert outcome.done == [one]
    assert sum(line.startswith("killed") for line in told_lines) == 2
    assert list(dict.fromkeys(stages(site, one))) == STAGES
    assert len(stages(site, one)) <= len(STAGES) + 2
    assert len({line.split()[1] for line in trace(site, one)}) == 3  # three processes


def test_twenty_kills_at_random_moments_change_nothing(site, monkeypatch):
    """Harness, worker or script: a kill costs the stage under way at most, the results never."""
    cells = [cell(name, seed=s) for name in ("", "sac", "touch", "image") for s in (1, 2)]
    monkeypatch.setenv("STUB_SECONDS", "0.05")
    rng = random.Random(1)

    def run():
        left = cells_to_run(cells, site.results_of, site.root)
        sys.exit(bool(run_cells(left, site, workers=2).failed))

    leash = site.root / "leash"
    monkeypatch.setenv("STUB_LEASH", str(leash))
    done_kills, kill = [], os.kill

    def begun():
        return sum(len(trace(site, one)) for one in cells)

    def allow(stages):
        atomic_write_bytes(leash, str(stages).encode())

    def counted_kill(pid, number):
        kill(pid, number)
        done_kills.append(pid)
        if len(done_kills) == 20:
            leash.unlink()

    def wait(harness):
        """Let one more stage begin, so that the work cannot end before the twentieth kill."""
        before = begun()
        allow(before + 1)
        after = before + rng.randint(0, 1)
        while begun() < after and harness.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 0.05))

    allow(0)
    monkeypatch.setattr("benchmark.studies.endurance.os.kill", counted_kill)
    struck = strike(lambda: Forked(run), wait, 20, rng)
    monkeypatch.undo()
    assert struck.total() == 20 and len(struck) == 3
    done = [stages(site, one) for one in cells]
    assert all(list(dict.fromkeys(found)) == STAGES for found in done)
    lost = sum(map(len, done)) - len(cells) * len(STAGES)
    assert lost <= 2 * struck["harness"] + struck["worker"] + struck["script"]
    twin = Site(site.results, site.runs, root=site.root.parent / "twin")
    shutil.copytree(site.root / "baselines", twin.root / "baselines")
    assert not run_cells(cells, twin, workers=2).failed
    assert contents(site) == contents(twin)


class Forked:
    """A harness in a process that need not import everything anew, with `Popen`'s methods."""

    def __init__(self, body):
        self.process = multiprocessing.get_context("fork").Process(target=body)
        self.process.start()
        self.pid, self.kill = self.process.pid, self.process.kill

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.process.exitcode


def contents(site) -> dict[str, bytes]:
    """All results by name, without a manifest that was cut, which git ignores."""
    folder = site.root / "results"
    files = [p for p in folder.rglob("*") if p.is_file() and not p.match(".manifest.json.*.tmp")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_script_that_fails_is_named_and_the_others_go_on(site, monkeypatch, capfd):
    monkeypatch.setenv("STUB_FAILS", "1")
    absent, one = cell("default", "human_demo"), cell()
    outcome = run_cells([absent, one], site)
    assert outcome.done == []
    assert set(outcome.failed.values()) == {"exit code 1"}
    err = capfd.readouterr().err
    assert "no script baselines/human_demo.py" in err
    assert "the stub was asked to fail" in err and "log.txt" in err
    assert status(one, site.results_of(one), site.root) == "missing"
    monkeypatch.delenv("STUB_FAILS")
    assert run_cells([one], site).done == [one]


def test_a_run_that_measured_everything_is_done_whatever_its_exit_code(site, monkeypatch):
    monkeypatch.setenv("STUB_EXIT", "1")  # as of a demonstration whose wheel did not turn
    one = cell(preset="quick")
    assert run_cells([one], site).done == [one]
    assert summary(site, one)["success"][-1]["iteration"] == 2


def test_a_cell_is_worked_on_by_one_process_at_a_time(site, monkeypatch):
    monkeypatch.setattr("benchmark.running.cell_runner.PATIENCE", 0.2)
    home = site.cell_folder(cell())
    home.mkdir(parents=True)
    with (
        locked(home / "lock"),
        pytest.raises(BlockingIOError, match="is at work in process"),
    ):
        run_cell(cell(), site)
    run_cell(cell(), site)


def test_a_run_starts_from_the_stages_it_shares(site):
    pytest.importorskip("torch", reason="a run's progress is kept by torch")
    whole, five, no_aep = cell(), cell("five-turns"), cell("no-aep")
    lines = []
    outcome = run_cells([five, whole], site, workers=2, report=lines.append)
    assert outcome.done == [whole, five]  # the parent first, whatever the order
    assert stages(site, five) == ["data_4", "eval_4", "data_5", "eval_5"]
    found = summary(site, five)
    assert list(found["seconds"]) == [*STAGES, "data_4", "eval_4", "data_5", "eval_5"]
    assert found["variant"] == "five-turns" and "--iterations 5" in found["command"]
    run_cells([no_aep], site)
    assert stages(site, no_aep) == STAGES[2:]
    (run,) = site.cell_folder(no_aep).glob("DexFW*")
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["aep"], config["variant"], config["iterations"]) == (False, "no-aep", 3)
    state = load((run / "checkpoints" / STATE).read_bytes())
    assert list(state["done"]) == ["data_1", "eval_1"]
    assert state["metrics"] == 2 * len((run / "metrics.jsonl").read_bytes().splitlines()[0]) + 2
    assert len((run / "metrics.jsonl").read_bytes().splitlines()) == 6


def test_a_run_is_given_the_finished_run_of_another(site):
    row = Variant(
        "dexflywheel", "later", "later", (), "d", 1.0, ("--seed-from", PARENT), uses_run_of=""
    )
    later = Cell(row, "Grasp", 1, "laptop")
    with pytest.raises(CellFailed, match="needs the run of dexflywheel-Grasp-seed1-laptop"):
        script_command(later, site)
    assert run_cells([later, cell()], site, workers=2).done == [cell(), later]
    (run,) = site.cell_folder(cell()).glob("DexFW*")
    words = script_command(later, site)
    assert words[words.index("--seed-from") + 1] == os.path.relpath(run, site.root)
    assert stages(site, later) == STAGES
    assert PARENT in later.options  # so that the digest does not hang on a folder


def test_a_run_is_told_how_many_second_tries_another_had(site):
    row = Variant(
        "dexflywheel", "later", "later", (), "d", 1.0, ("--retries", RETRIES), uses_run_of=""
    )
    later = Cell(row, "Grasp", 1, "laptop")
    with pytest.raises(CellFailed, match="needs the run of dexflywheel-Grasp-seed1-laptop"):
        script_command(later, site)
    run_cells([cell()], site)
    (run,) = site.cell_folder(cell()).glob("DexFW*")
    (run / "collection_1.json").write_text('{"episodes": 60, "retries": 7}')
    words = script_command(later, site)
    assert words[words.index("--retries") + 1] == "7" and RETRIES in later.options
    settings = changed_settings(later, fill_in(later, site, row.options), {"retries": None})
    assert settings["retries"] == 7


def test_a_policy_of_another_run_is_measured(site):
    row = Variant("dexflywheel", "slow", "slow", (), "d", 1.0, ("--timestep-scale", "2"),
                  uses_run_of="",
                  evaluates_turn=2)  # fmt: skip
    slow = Cell(row, "Grasp", 1, "laptop")
    assert run_cells([cell(), slow], site).done == [cell(), slow]
    (run,) = site.cell_folder(cell()).glob("DexFW*")
    policy = os.path.relpath(run / "checkpoints" / "policy_2.pt", site.root)
    assert (site.cell_folder(slow) / "log.txt").read_text() == f"measured {policy}\n"
    found = summary(site, slow)
    assert list(found["seconds"]) == ["evaluate"] and policy in found["command"]
    assert cells_to_run([slow], site.results_of, site.root) == []
    assert "dexflywheel/slow/Grasp/seed1" in json.loads(
        (site.root / "results/revision-2/manifest.json").read_text()
    )


def test_without_a_finished_parent_a_cell_runs_from_the_start(site):
    assert run_cells([cell("cumulative")], site).done == [cell("cumulative")]
    assert stages(site, cell("cumulative")) == STAGES


def test_a_copy_that_was_cut_is_made_anew(site):
    pytest.importorskip("torch", reason="a run's progress is kept by torch")
    run_cells([cell()], site)
    (source,) = site.cell_folder(cell()).glob("DexFW*")
    home = site.cell_folder(cell("no-aep"))
    (home / ".fork" / "D_1").mkdir(parents=True)
    (home / ".fork" / "config.json").write_text("{}")
    run = fork(source, cell("no-aep"), site)
    assert run == home / source.name
    assert not (home / ".fork").exists() and not (run / "D_1").exists()
    assert [p.name for p in run.glob("eval_*")] == ["eval_1.json"]


def test_an_ablation_starts_from_the_demonstrations_and_the_reference(site, monkeypatch):
    monkeypatch.setattr("benchmark.running.site.status", lambda *_: "done")
    pytest.importorskip("torch", reason="a run's progress is kept by torch")
    shutil.copy(STUB, site.root / "baselines" / "dexpie.py")
    sync = cell("dexpie-sync", "dexpie")
    source = site.cell_folder(sync.parent) / "DexFW-run"
    shared = {"demos/0.h5", "checkpoints/policy_0.pt", "eval_0.json"}
    for name in (*shared, "D_1/0.h5", "checkpoints/policy_1.pt", "eval_1.json", "metrics.jsonl"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("")
    names = ("demos", "reference", "eval_0", "collect_1", "critic_1", "improve_1", "eval_1")
    ends = {name: {"seconds": 1.0, "metrics": 0} for name in names}
    (source / "stages.json").write_text(json.dumps(ends))
    (source / "collection_1.json").write_text('{"retries": 7}')
    config = {"inference": "async", "retries": None, "variant": "dexpie"}
    made = {"config": config, "provenance": {}}
    (source / "config.json").write_text(json.dumps(made))
    run = fork(source, sync, site)
    own = {"config.json", "metrics.jsonl", "stages.json", f"checkpoints/{STATE}"}
    assert {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()} == shared | own
    assert list(load((run / "checkpoints" / STATE).read_bytes())["done"]) == list(names[:3])
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["inference"], config["retries"]) == ("sync", 7)


def test_settings_follow_from_options():
    config = {"aep": True, "iterations": 3, "data": "fresh", "touch": False}
    usual = {"variant": "no-aep", "eval_splits": ["T_OEP"]}

    def changed(name):
        return changed_settings(cell(name), cell(name).variant.options, config)

    assert changed("no-aep") == {**usual, "aep": False}
    assert changed("five-turns")["iterations"] == 5
    assert changed("cumulative")["data"] == "cumulative"
    assert changed("touch")["touch"] is True
    with pytest.raises(ValueError, match="--obs is no setting"):
        changed("image")


def test_commands_name_no_absolute_path(site):
    words = script_command(cell("five-turns", seed=1), site)
    assert words[0] == "baselines/dexflywheel.py"
    assert words[words.index("--records") + 1] == "results/revision-2/records"
    assert not any(Path(word).is_absolute() for word in words)


def test_what_the_harness_was_put_through_is_told(tmp_path):
    assert endurance.table(tmp_path) == "- `kills`: not run.\n- `workers`: not run.\n"
    made = {"commit": "0123456789abcdef", "machine": {"cpus": 2}}
    known = {"kills": {**made, "kills": 3, "worker": 1, "script": 2, "same": False, "records": 9},
             "workers": {**made, "one": 20.0, "two": 10.4, "ratio": 1.92}}  # fmt: skip
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "harness.json").write_text(json.dumps(known))
    killed, shared = endurance.table(tmp_path).splitlines()
    assert "3 processes killed (worker 1, script 2): afterwards 9 records, NOT the same" in killed
    assert "one worker took 20 s, two 10 s: 1.92 times as fast. 2 cores" in shared
    assert "commit `0123456789ab`" in shared
