"""The commands of the harness: the grid, what it costs, getting it done, and what comes of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.grid.cells import Cell, grid
from benchmark.grid.variants import GRID
from benchmark.kept.summaries import read_summary, status, summary_path, write_manifest
from benchmark.protocol import ROOT, SEEDS, TASKS, USUAL_PRESET, check_preset, results_of
from benchmark.running import adopting
from benchmark.running.place import Place
from benchmark.running.run import Outcome, run_cells, todo
from dexfw_envs.catalog.lookup import find
from dexfw_envs.console.reporting import Lines


@dataclass(frozen=True)
class Choice:
    """Which cells of the grid; what is left open means all."""

    preset: str = USUAL_PRESET
    """quick, laptop or paper."""
    table: tuple[str, ...] = ()
    """Only what these tables need, e.g. baselines ablations."""
    method: tuple[str, ...] = ()
    """Only these methods."""
    variant: tuple[str, ...] = ()
    """Only these variants; "" is a method itself."""
    task: tuple[str, ...] = ()
    """Only these tasks."""
    seed: tuple[int, ...] = ()
    """Only these seeds."""
    results: Path = Path("results")
    """Folder of records, summaries, tables."""

    def cells(self) -> list[Cell]:
        """Return the chosen cells in the order in which they run.

        Raises:
            ValueError: A name that the grid does not have, or nothing is left.
        """
        check_preset(self.preset)
        there = {
            "table": {name for row in GRID for name in row.tables},
            "method": {row.method for row in GRID},
            "variant": {row.name for row in GRID},
            "task": TASKS,
            "seed": SEEDS,
        }
        for name, valid in there.items():
            for value in getattr(self, name):
                find({str(one): one for one in sorted(valid, key=str)}, str(value), name)
        found = grid(
            self.preset, self.table, self.method, self.variant, self.task or TASKS, self.seed
        )
        if not found:
            raise ValueError("no cell of the grid is all of what is asked for")
        return found

    def folder(self, cell: Cell) -> Path:
        """Folder of the results of a cell."""
        return results_of(ROOT / self.results, cell.preset)


@dataclass(frozen=True)
class Cells(Choice):
    """List the grid: what is done, what is not, and what that would cost.

    A cell is one run of a script; it gives the figures of its turns ("iterations", without those
    that it shares with another cell), of all policies and splits. The order says what runs first:
    a main results and comparison, first seed; b their other seeds; c ablations; d other settings
    and seeds; e DexPIE and others on its data; f what is asked about it.
    Partial are cells of whose run only the figures were kept: they run again, or are adopted.
    Minutes are those of the run itself where it is done, of another seed where one is done, else a
    rough guess for one core ("~").
    """

    json: bool = False
    """One JSON line per cell instead of a table."""


@dataclass(frozen=True)
class Run(Choice):
    """Run what is missing, go on with what was cut, skip what is done.

    Done is what has the same digest: of options, environment version and METHOD_VERSION. To stop,
    press Ctrl-C or kill it; the next call goes on where it was.
    """

    workers: int = 1
    """Cells at a time, each a process."""
    threads: int = 0
    """Threads of each; 0: the cores of the machine, shared out."""
    runs: Path = Path("runs/cells")
    """Folder for the runs' own files."""


def minutes(cell: Cell, folder: Path) -> tuple[float, bool]:
    """Wall time of a cell [min], and whether it was measured (on it, or on another seed)."""
    seeds = (cell.seed, *(seed for seed in cell.variant.seeds if seed != cell.seed))
    for seed in seeds:
        like = Cell(cell.variant, cell.task, seed, cell.preset)
        if found := read_summary(summary_path(like, folder)):
            return sum(found["seconds"].values()) / 60, True
    return cell.estimate(), False


def _row(cell: Cell, options: Choice) -> dict:
    cost, measured = minutes(cell, options.folder(cell))
    return {
        "order": cell.order,
        "method": cell.variant.method,
        "variant": cell.variant.name,
        "task": cell.task,
        "seed": cell.seed,
        "preset": cell.preset,
        "iterations": list(cell.own_turns),
        "tables": list(cell.variant.tables),
        "status": status(cell, options.folder(cell)),
        "minutes": round(cost, 1),
        "measured": measured,
    }


def list_cells(options: Cells) -> int:
    """Print the grid and return the exit code."""
    rows = [_row(cell, options) for cell in options.cells()]
    if options.json:
        print("\n".join(map(json.dumps, rows)))
        return 0
    table = Table(box=box.MARKDOWN)
    names = [name for name in rows[0] if name != "measured"]
    for name in names:
        table.add_column(name, justify="right" if name in ("seed", "minutes") else "left")
    for row in rows:
        ends = dict.fromkeys((row["iterations"][0], row["iterations"][-1]))
        shown = {**row, "iterations": "-".join(map(str, ends))}
        shown["tables"] = " ".join(row["tables"])
        shown["minutes"] = "~" * (not row["measured"]) + f"{row['minutes']:.0f}"
        table.add_row(*(str(shown[name]) for name in names))
    Console(width=None if sys.stdout.isatty() else 240).print(table, markup=False)
    left = sum(row["minutes"] for row in rows if row["status"] != "done")
    done = sum(row["status"] == "done" for row in rows)
    print(f"{done} of {len(rows)} cells done; the others: about {left / 60:.1f} hours of one core")
    return 0


def run(options: Run) -> int:
    """Run the chosen cells and return the exit code: 1 if one failed or has no script."""
    if options.workers < 1 or options.threads < 0:
        raise ValueError("--workers must be at least 1, --threads at least 0")
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.workers)
    place = Place(options.results, options.runs, threads=threads)
    chosen = options.cells()
    absent = {cell.script for cell in chosen if not (ROOT / cell.script).is_file()}
    for script in sorted(absent):
        print(f"no script {script}: its cells are left out", file=sys.stderr)
    needed = todo(chosen, place.results_of, ROOT)
    hours = sum(minutes(cell, place.results_of(cell))[0] for cell in needed) / 60
    words = f"{len(needed)} of {len(chosen)} cells to run: about {hours:.1f} hours of one core"
    print(words, flush=True)
    outcome = _run_needed(needed, place, options.workers)
    for cell in chosen[:1]:
        write_manifest(place.results_of(cell))
    for cell, reason in outcome.failed.items():
        print(f"error: {cell.name}: {reason}; log: {place.home(cell)}/log.txt", file=sys.stderr)
    return int(bool(outcome.failed or absent))


def _run_needed(needed: Sequence[Cell], place: Place, workers: int) -> Outcome:
    """Run cells and tell how far they have come: in lines, since a bar's thread bears no fork."""
    far = Lines("cells", len(needed))
    try:
        return run_cells(needed, place, workers, _print_line, far)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("the same call goes on where it was") from stop


def _print_line(line: str) -> None:
    print(line, flush=True)


@dataclass(frozen=True)
class Adopt:
    """Count runs made by hand as cells of the grid: those called with just a cell's options.

    Their records are copied, their residuals measured, and of the first seed policies and films
    kept. `python docs/generate.py` then brings the pages up to date.
    """

    paths: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished runs."""
    records: Path | None = None
    """Folder of the runs' records; without it where each run left them, also in another clone."""
    results: Path = Path("results")
    """Folder of records, summaries, tables."""
    runs: Path = Path("runs/cells")
    """Folder for the cells' own files, which get links to the runs."""


def adopt(options: Adopt) -> int:
    """Adopt every run and return the exit code."""
    place = Place(options.results, options.runs)
    for path in options.paths:
        cell = adopting.adopt(path, place, options.records)
        print(f"done     {cell.name}")
        write_manifest(place.results_of(cell))
    return 0


@dataclass(frozen=True)
class Made:
    """What tables, plots and report are made from."""

    preset: str = USUAL_PRESET
    """quick, laptop or paper."""
    results: Path = Path("results")
    """Folder of records and summaries."""

    def read(self) -> Any:
        """Read all that is stored."""
        from benchmark.figures.stored import Results

        return Results(ROOT / self.results, check_preset(self.preset))


@dataclass(frozen=True)
class Tables(Made):
    """Write all tables below results/tables, in Markdown, LaTeX and CSV, from what is stored."""


@dataclass(frozen=True)
class Plots(Made):
    """Write all plots below results/plots, as PNG and SVG, from what is stored."""


@dataclass(frozen=True)
class Report(Made):
    """Write tables, plots and results/index.html, a page that opens from disk."""


def tables(options: Tables) -> int:
    """Write the tables and return the exit code."""
    from benchmark.report.tables import write_tables

    results = options.read()
    _warn_of_precisions(results)
    return _say(write_tables(results)[1])


def plots(options: Plots) -> int:
    """Write the plots and return the exit code."""
    from benchmark.report.plots import write_plots

    return _say(write_plots(options.read()))


def report(options: Report) -> int:
    """Write the report and return the exit code."""
    from benchmark.report.page import write_report

    results = options.read()
    _warn_of_precisions(results)
    return _say([write_report(results)])


def _warn_of_precisions(results: Any) -> None:
    """Name the runs that stand beside more runs of another precision."""
    groups = sorted(results.by_precision().items(), key=lambda group: len(group[1]))
    for precision, names in groups[:-1]:
        usual = groups[-1][0]
        print(f"warning: {precision}, all else {usual}: {', '.join(names)}", file=sys.stderr)


def _say(paths: Sequence[Path]) -> int:
    for path in paths:
        print(os.path.relpath(path))
    return 0
