"""Runs made by hand are taken over as cells, if they are just what the harness would have run."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from test_running import site, stages  # noqa: F401

from benchmark.grid.cells import Cell, earlier_digest
from benchmark.grid.variants import PARENT, Variant, find_variant
from benchmark.kept.summaries import read_summary, status, summary_path
from benchmark.running import import_run as adopting
from benchmark.running.import_run import cell_of, import_run, options_of
from benchmark.running.site import script_command
from benchmark.running.worker_pool import run_cells
from dexfw_envs.catalog.splits import split
from dexfw_envs.evaluation.records import COLUMNS, OLDER, read_record_file, write_records
from dexfw_envs.runs.checkpoints import dump
from dexfw_envs.runs.folder import RunFolder, write_config
from dexfw_envs.runs.progress import STATE
from dexfw_envs.runs.settings import ScriptArgs

SCRIPT = "baselines/dexflywheel.py"
WORDS = "--preset laptop --threads 1 --eval-splits T_OEP T_O --records results/records"


@dataclass(frozen=True)
class Args(ScriptArgs):
    preset: str = "laptop"
    iterations: int = 3
    aep: bool = True
    alpha: tuple[float, float] = (0.1, 0.4)

    SAME: ClassVar[tuple[str, ...]] = ("preset",)


@pytest.fixture(autouse=True)
def script(monkeypatch):
    """Settings of the script, which is a stub and has none."""
    known = SimpleNamespace(Args=Args, PRESETS={"laptop": {}}, TASKS={"Grasp": {}})
    monkeypatch.setattr(adopting, "load_script", lambda *_: known)
    return known


def finished(site, options=WORDS, seed=2, commit=None, **config) -> Path:  # noqa: F811
    """A run of three turns in another clone; older ones have no `stages.json`."""
    known = {"task": "Grasp", "seed": seed, "preset": "laptop", "threads": 1, "iterations": 3}
    known |= {"variant": "", "aep": True, "alpha": [0.1, 0.4], "precision": "fp32"}
    known |= {"runs": "runs", "records": "results/records"} | config
    other = site.root / "other" / "runs"
    run = RunFolder.create(other, "DexFW/Grasp-v0", "dexflywheel", seed, known)
    document = json.loads((run.path / "config.json").read_text())
    document["provenance"]["command"] = f"python {SCRIPT} {options} --seed {seed}"
    document["provenance"]["commit"] = commit or head(site)
    write_config(run.path, document["config"], document["provenance"])
    names = [f"{name}_{i}" for i in (1, 2, 3) for name in ("data", "eval")]
    run.write_checkpoint(STATE, dump({"done": dict.fromkeys(names, 30.0)}))
    (run.path / "metrics.jsonl").write_text('{"step": 1, "charts/base_success": 0.5}\n')
    return run.path


def write(run: Path, commit=None, iteration=3, **labels) -> None:
    """Records as older commits left them, with whole scenarios."""
    scenes = split("Grasp", labels.get("split", "T_OEP"), 3, 2)
    rows = []
    for k, scene in enumerate(scenes):
        row = {name: kind() for name, (kind, _) in COLUMNS.items()} | OLDER
        row |= {"task": "Grasp", "split": "T_OEP", "seed": 2, "episode": k} | labels
        rows.append(row | {"scenario": scene.to_json()})
    made = {"commit": commit or RunFolder(run).provenance["commit"], "command": "x"}
    known = {"method": "dexflywheel", "task": "Grasp", "iteration": iteration}
    write_records(rows, run.parents[1] / "results/records", **known, **made)


def head(site) -> str:  # noqa: F811
    git = ["git", "-C", str(site.root), "-c", "user.name=a", "-c", "user.email=a@b"]
    if not (site.root / ".git").exists():
        for words in (["init", "-q"], ["add", SCRIPT], ["commit", "-qm", "one"]):
            subprocess.run([*git, *words], check=True)
    found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_a_run_made_by_hand_counts_as_its_cell(site):  # noqa: F811
    pytest.importorskip("torch", reason="a run's progress is kept by torch")
    path, cell = finished(site), Cell(find_variant("dexflywheel"), "Grasp", 2, "laptop")
    with pytest.raises(ValueError, match=r"no records of .*/other/results/records/dex"):
        import_run(path, site)
    write(path)
    write(path, iteration=2, split="T_O(3)")
    write(path, iteration=3, split="T_VAL")
    assert import_run(path, site) == cell
    copied = sorted((site.root / "results/revision-2/records/dexflywheel/Grasp").iterdir())
    assert [one.stem for one in copied] == ["i2-combined-T_O3-seed2", "i3-combined-T_OEP-seed2"]
    assert [row["scenario"][:10] for row in read_record_file(copied[1])] == [
        f"T_OEP 2 {k} " for k in range(3)
    ]
    assert status(cell, site.results_of(cell), site.root) == "done"
    found = read_summary(summary_path(cell, site.results_of(cell)))
    assert (found["method_version"], sum(found["seconds"].values())) == (7, 180.0)
    five, no_aep = (
        Cell(find_variant("dexflywheel", name), "Grasp", 2, "laptop")
        for name in ("five-turns", "no-aep")
    )
    assert len(run_cells([five, no_aep], site, workers=2).done) == 2
    assert stages(site, five) == ["data_4", "eval_4", "data_5", "eval_5"]
    assert len(stages(site, no_aep)) == 6  # where its curves ended after turn 1 is not known


def test_a_run_from_before_precision_counts_under_the_digest_of_then(site):  # noqa: F811
    pytest.importorskip("torch", reason="a run's progress is kept by torch")
    path = finished(site)
    document = json.loads((path / "config.json").read_text())
    del document["config"]["precision"]
    document["config"]["bf16"] = True
    write_config(path, document["config"], document["provenance"])
    write(path)
    cell = import_run(path, site)
    found = read_summary(summary_path(cell, site.results_of(cell)))
    assert (found["digest"], found["precision"]) == (earlier_digest(cell, site.root), "bf16")
    assert status(cell, site.results_of(cell), site.root) == "done"
    row = Variant("dexflywheel", "later", "later", (), "d", 1.0, ("--from", PARENT), uses_run_of="")
    later = Cell(row, "Grasp", 2, "laptop")
    assert path.name in " ".join(script_command(later, site)), "its run is found under that digest"


def test_a_run_in_another_precision_is_no_cell(site):  # noqa: F811
    with pytest.raises(ValueError, match="has --precision bf16, cells have fp32"):
        cell_of(RunFolder(finished(site, precision="bf16")))
    named = finished(site, WORDS + " --precision fp32")
    assert cell_of(RunFolder(named)) == cell_of(RunFolder(finished(site)))


def test_other_runs_are_refused(site):  # noqa: F811
    pytest.importorskip("torch", reason="a run's progress is kept by torch")
    with pytest.raises(ValueError, match=r"no run of the grid; its command: .*--gamma 0.9"):
        cell_of(RunFolder(finished(site, WORDS + " --gamma 0.9")))
    with pytest.raises(ValueError, match="cannot tell the METHOD_VERSION of 0123"):
        import_run(finished(site, commit="0123"), site)
    older, script = finished(site), site.root / SCRIPT
    script.write_text(script.read_text().replace("= 7,", "= 8,"))
    with pytest.raises(ValueError, match="is of METHOD_VERSION 7, the script's is another"):
        import_run(older, site)
    script.write_text(script.read_text().replace("= 8,", "= 7,"))
    (older / "stages.json").write_text('{"eval_2": {"seconds": 1.0, "metrics": 1}}')
    with pytest.raises(ValueError, match="is not finished: no eval_3 yet"):
        import_run(older, site)


def test_settings_that_have_changed_since_are_noticed(site, script):  # noqa: F811
    pytest.importorskip("torch", reason="a run's progress is kept by torch")
    path = finished(site, runs="runs", threads=7)  # threads change nothing
    script.TASKS["Grasp"] = {"alpha": (0.1, 0.2)}
    with pytest.raises(ValueError, match="has other settings than the script has now: alpha"):
        import_run(path, site)
    script.TASKS["Grasp"] = {}
    write(path)
    import_run(path, site)


def test_records_are_those_of_the_run(site):  # noqa: F811
    pytest.importorskip("torch", reason="a run's progress is kept by torch")
    path = finished(site)
    write(path, commit="0123")
    with pytest.raises(ValueError, match=r"i3-combined-T_OEP-seed2.parquet is of another run"):
        import_run(path, site)
    moved = finished(site, runs="elsewhere")
    with pytest.raises(ValueError, match=r"cannot tell where .* left its records: name --records"):
        import_run(moved, site)
    write(path)
    assert import_run(moved, site, path.parents[1] / "results/records").seed == 2


def test_more_splits_than_needed_do_no_harm(site):  # noqa: F811
    words = WORDS.replace("T_OEP T_O", "T_VAL T_OEP") + " --no-aep --variant no-aep"
    assert cell_of(RunFolder(finished(site, words))).variant.name == "no-aep"
    with pytest.raises(ValueError, match="is no run of the grid"):
        cell_of(RunFolder(finished(site, WORDS.replace("T_OEP T_O", "T_OEP"))))


def test_options_that_change_nothing_do_not_count():
    words = "x.py --threads 2 --records r --seed 3 --no-aep --capture-video"
    first = options_of(words.split())
    assert first == options_of(["x.py", "--preset", "laptop", "--no-aep", "--seed", "3"])
    assert options_of(["--alpha", "0.1", "0.2"])["--alpha"] == ("0.1", "0.2")
