"""Runs made by hand are taken over as cells, if they are just what the harness would have run."""

import json
import subprocess
from pathlib import Path

import pytest
from test_harness import place, stages  # noqa: F401

from benchmark.adopting import adopt, cell_of, options_of
from benchmark.cells import Cell
from benchmark.run import run_cells
from benchmark.summaries import read_summary, status, summary_path
from benchmark.variants import variant
from dexfw_envs.progress import STATE, dump
from dexfw_envs.runs import RunFolder

SCRIPT = "baselines/dexflywheel.py"
WORDS = "--preset laptop --threads 1 --eval-splits T_OEP T_O --records results/records"


def finished(place, options=WORDS, seed=2, commit=None, **config) -> Path:  # noqa: F811
    """A run of three turns as the script leaves it; older ones have no `stages.json`."""
    known = {"task": "Grasp", "seed": seed, "preset": "laptop", "threads": 1, "iterations": 3}
    known |= {"variant": "", "aep": True, "runs": "runs"} | config
    run = RunFolder.create(place.root / "by_hand", "DexFW/Grasp-v0", "dexflywheel", seed, known)
    document = json.loads((run.path / "config.json").read_text())
    document["provenance"]["command"] = f"python {SCRIPT} {options} --seed {seed}"
    document["provenance"]["commit"] = commit or head(place)
    (run.path / "config.json").write_text(json.dumps(document))
    names = [f"{name}_{i}" for i in (1, 2, 3) for name in ("data", "eval")]
    run.write_checkpoint(STATE, dump({"done": dict.fromkeys(names, 30.0)}))
    (run.path / "metrics.jsonl").write_text('{"step": 1, "charts/base_success": 0.5}\n')
    return run.path


def write_record(place, name="i3-combined-T_OEP-seed2") -> None:  # noqa: F811
    path = place.root / "results/records/dexflywheel/Grasp" / f"{name}.parquet"
    path.parent.mkdir(parents=True)
    path.touch()


def head(place) -> str:  # noqa: F811
    git = ["git", "-C", str(place.root), "-c", "user.name=a", "-c", "user.email=a@b"]
    if not (place.root / ".git").exists():
        for words in (["init", "-q"], ["add", SCRIPT], ["commit", "-qm", "one"]):
            subprocess.run([*git, *words], check=True)
    found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_a_run_made_by_hand_counts_as_its_cell(place):  # noqa: F811
    pytest.importorskip("torch", reason="a run's progress is kept by torch")
    path, cell = finished(place), Cell(variant("dexflywheel"), "Grasp", 2, "laptop")
    with pytest.raises(ValueError, match="no records of"):
        adopt(path, place)
    write_record(place)
    assert adopt(path, place) == cell
    assert status(cell, place.results_of(cell), place.root) == "done"
    found = read_summary(summary_path(cell, place.results_of(cell)))
    assert (found["method_version"], sum(found["seconds"].values())) == (7, 180.0)
    five, no_aep = (
        Cell(variant("dexflywheel", name), "Grasp", 2, "laptop")
        for name in ("five-turns", "no-aep")
    )
    assert len(run_cells([five, no_aep], place, workers=2).done) == 2
    assert stages(place, five) == ["data_4", "eval_4", "data_5", "eval_5"]
    assert len(stages(place, no_aep)) == 6  # where its curves ended after turn 1 is not known


def test_other_runs_are_refused(place):  # noqa: F811
    pytest.importorskip("torch", reason="a run's progress is kept by torch")
    with pytest.raises(ValueError, match=r"no run of the grid; its command: .*--gamma 0.9"):
        cell_of(RunFolder(finished(place, WORDS + " --gamma 0.9")))
    with pytest.raises(ValueError, match="cannot tell the METHOD_VERSION of 0123"):
        adopt(finished(place, commit="0123"), place)
    older, script = finished(place), place.root / SCRIPT
    script.write_text(script.read_text().replace("= 7,", "= 8,"))
    with pytest.raises(ValueError, match="is of METHOD_VERSION 7, the script's is another"):
        adopt(older, place)
    script.write_text(script.read_text().replace("= 8,", "= 7,"))
    (older / "stages.json").write_text('{"eval_2": {"seconds": 1.0, "metrics": 1}}')
    with pytest.raises(ValueError, match="is not finished: no eval_3 yet"):
        adopt(older, place)


def test_options_that_change_nothing_do_not_count():
    words = "x.py --threads 2 --records r --seed 3 --no-aep --capture-video"
    first = options_of(words.split())
    assert first == options_of(["x.py", "--preset", "laptop", "--no-aep", "--seed", "3"])
    assert options_of(["--alpha", "0.1", "0.2"])["--alpha"] == ("0.1", "0.2")
