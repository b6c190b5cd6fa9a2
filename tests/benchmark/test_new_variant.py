"""A variant is added in one file: a row of `benchmark/grid/variants.py`."""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("pandas", reason="tables need the extra report")
pytest.importorskip("pyarrow", reason="records need pyarrow")

from benchmark.protocol import ROOT, SEEDS, TASKS

ROW = '    _ablation("wide", "wider noise of the residual", 30.0, ("--log-std", "-0.5")),\n'
BEFORE = '    _setting("sac",'
PAGE = "from pathlib import Path\nfrom tables import harness_table\n"
PAGE += "print(harness_table(Path('results/tables/ablations.md')))\n"


@pytest.fixture
def clone(tmp_path):
    """A clone without results, and with one more row in the grid."""
    for name in ("benchmark", "baselines", "docs"):
        skipped = shutil.ignore_patterns("__pycache__", "videos", "pictures")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=skipped)
    (tmp_path / "dexfw_envs").symlink_to(ROOT / "dexfw_envs", target_is_directory=True)
    path = tmp_path / "benchmark" / "grid" / "variants.py"
    text = path.read_text()
    assert text.count(BEFORE) == 1
    path.write_text(text.replace(BEFORE, ROW + BEFORE))
    return tmp_path


def run(clone, *words: str) -> str:
    paths = os.pathsep.join([str(clone), str(clone / "docs")])
    done = subprocess.run(
        [sys.executable, *words],
        cwd=clone,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_row_is_seen_in_cells_tables_and_pages(clone):
    listed = run(clone, "-m", "benchmark", "cells", "--variant", "wide", "--json")
    cells = [json.loads(line) for line in listed.splitlines()]
    assert {(cell["task"], cell["seed"]) for cell in cells} == {
        (task, seed) for task in TASKS for seed in SEEDS
    }
    assert {cell["status"] for cell in cells} == {"missing"}

    run(clone, "-m", "benchmark", "tables")
    name = "wider noise of the residual"
    for suffix in ("md", "tex", "csv"):
        assert name in (clone / "results" / "tables" / f"ablations.{suffix}").read_text()
    assert f"| {name} | not run" in run(clone, "-c", PAGE)
