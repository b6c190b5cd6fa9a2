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
class Place:
    """Where cells run and leave their files; relative paths start at the clone."""

    results: Path = Path("results")
    runs: Path = Path("runs/cells")
    root: Path = ROOT
    threads: int = 1

    def results_of(self, cell: Cell) -> Path:
        """Folder of the results of a cell's preset."""
        return results_of(self.root / self.results, cell.preset)

    def home(self, cell: Cell, of: str | None = None) -> Path:
        """Folder in which a cell's script runs; another digest, such as an earlier, has another."""
        return self.root / self.runs / f"{cell.name}-{of or digest(cell, self.root)}"


class CellFailed(RuntimeError):
    """The script ended with an error; its log says which."""


class ScriptKilled(RuntimeError):
    """The script was killed, such as for want of memory: it can be tried again."""


def command(cell: Cell, place: Place) -> list[str]:
    """The script's command line, without the interpreter."""
    words = told(cell, place, cell.options)
    if cell.variant.measures is None:
        words += ["--runs", str(place.runs / place.home(cell).name)]
    records = results_of(place.results, cell.preset) / "records"
    return [str(cell.script), *words, "--threads", str(place.threads), "--records", str(records)]


def told(cell: Cell, place: Place, options: Iterable[str]) -> list[str]:
    """Options with what the finished run of a cell's parent tells in place of words for it.

    Raises:
        CellFailed: It is not finished.
    """
    tells = {PARENT: _given, RETRIES: _retries}
    return [tells[word](cell, place) if word in tells else word for word in options]


def _given(cell: Cell, place: Place) -> str:
    """Folder of the parent's run, or its policy that is to be measured."""
    run, turn = _parent_run(cell, place), cell.variant.measures
    path = run if turn is None else run / "checkpoints" / f"policy_{turn}.pt"
    return os.path.relpath(path, place.root)


def _retries(cell: Cell, place: Place) -> str:
    """How many second tries the first collection of the parent's run had."""
    report = read_json(_parent_run(cell, place) / "collection_1.json")
    return str(report["retries"])


def _parent_run(cell: Cell, place: Place) -> Path:
    parent = cell.parent
    assert parent is not None
    results = place.results_of(parent)
    found = read_summary(summary_path(parent, results)) or {}
    run = run_in(place.home(parent, found.get("digest")))
    if run is None or status(parent, results, place.root) != "done":
        raise CellFailed(f"{cell.name} needs the run of {parent.name}, which is not done here")
    return run


def run_in(home: Path) -> Path | None:
    """The run in a cell's folder; the last one if a start was cut before its folder was whole."""
    found = sorted(path.parent for path in home.glob("[!.]*/config.json"))
    return found[-1] if found else None
