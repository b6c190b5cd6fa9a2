"""Where a cell runs and leaves its files, and the command line that its script is called with."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmark.grid.cells import Cell, digest
from benchmark.grid.variants import PARENT, RETRIES
from benchmark.kept.summaries import read_summary, status, summary_path
from benchmark.protocol import ROOT, results_of
from dexfw_envs.files import read_json


@dataclass(frozen=True)
class Site:
    """The clone and the folders that cells work in; relative paths start at the clone.

    Attributes:
        results: Folder of records, summaries and tables.
        runs: Folder of the runs' own files.
        root: The clone.
        threads: Threads of each script.
    """

    results: Path = Path("results")
    runs: Path = Path("runs/cells")
    root: Path = ROOT
    threads: int = 1

    def results_of(self, cell: Cell) -> Path:
        """Folder of the results of a cell's preset."""
        return results_of(self.root / self.results, cell.preset)

    def cell_folder(self, cell: Cell, known_digest: str | None = None) -> Path:
        """Folder in which a cell's script runs; each digest has its own."""
        return self.root / self.runs / f"{cell.name}-{known_digest or digest(cell, self.root)}"


class CellFailed(RuntimeError):
    """The script ended with an error; its log says which."""


class ScriptKilled(RuntimeError):
    """The script was killed, such as for want of memory: it can be tried again."""


def script_command(cell: Cell, site: Site) -> list[str]:
    """The script's command line, without the interpreter."""
    words = [str(cell.script), *fill_in(cell, site, cell.options)]
    if cell.variant.evaluates_turn is None:
        words += ["--runs", str(site.runs / site.cell_folder(cell).name)]

    records = results_of(site.results, cell.preset) / "records"
    return [*words, "--threads", str(site.threads), "--records", str(records)]


def fill_in(cell: Cell, site: Site, options: Iterable[str]) -> list[str]:
    """Options with values from the finished run of the cell's parent in place of placeholders.

    Raises:
        CellFailed: That run is not finished.
    """
    values = {PARENT: _parent_run_or_policy, RETRIES: _parent_retries}
    return [values[word](cell, site) if word in values else word for word in options]


def _parent_run_or_policy(cell: Cell, site: Site) -> str:
    """Folder of the parent's run, or its policy that is to be evaluated."""
    path = _parent_run(cell, site)
    turn = cell.variant.evaluates_turn
    if turn is not None:
        path = path / "checkpoints" / f"policy_{turn}.pt"
    return os.path.relpath(path, site.root)


def _parent_retries(cell: Cell, site: Site) -> str:
    """How many second tries the first collection of the parent's run had."""
    report = read_json(_parent_run(cell, site) / "collection_1.json")
    return str(report["retries"])


def _parent_run(cell: Cell, site: Site) -> Path:
    parent = cell.parent
    assert parent is not None
    results = site.results_of(parent)
    summary = read_summary(summary_path(parent, results)) or {}
    run = latest_run(site.cell_folder(parent, summary.get("digest")))
    if run is None or status(parent, results, site.root) != "done":
        raise CellFailed(f"{cell.name} needs the run of {parent.name}, which is not done here")
    return run


def latest_run(cell_folder: Path) -> Path | None:
    """The run in a cell's folder; the last one if a start was cut before its folder was whole."""
    runs = sorted(path.parent for path in cell_folder.glob("[!.]*/config.json"))
    return runs[-1] if runs else None
