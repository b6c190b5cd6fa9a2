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

from benchmark.grid.cells import Cell, select_cells
from benchmark.grid.variants import GRID
from benchmark.kept.summaries import read_summary, status, summary_path, write_manifest
from benchmark.protocol import ROOT, SEEDS, TASKS, USUAL_PRESET, check_preset, results_of
from benchmark.running.import_run import import_run
from benchmark.running.site import Site
from benchmark.running.worker_pool import Outcome, cells_to_run, run_cells
from dexfw_envs.catalog.lookup import find
from dexfw_envs.console.reporting import Lines

WIDE = 240  # columns of a table that goes to a file


@dataclass(frozen=True)
class GridSelection:
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
        self._check_names()
        cells = select_cells(
            self.preset, self.table, self.method, self.variant, self.task or TASKS, self.seed
        )
        if not cells:
            raise ValueError("no cell of the grid is all of what is asked for")
        return cells

    def _check_names(self) -> None:
        valid = {
            "table": {name for row in GRID for name in row.tables},
            "method": {row.method for row in GRID},
            "variant": {row.name for row in GRID},
            "task": TASKS,
            "seed": SEEDS,
        }
        for option, names in valid.items():
            by_name = {str(name): name for name in sorted(names, key=str)}
            for value in getattr(self, option):
                find(by_name, str(value), option)

    def folder(self, cell: Cell) -> Path:
        """Folder of the results of a cell."""
        return results_of(ROOT / self.results, cell.preset)


@dataclass(frozen=True)
class CellsOptions(GridSelection):
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
class RunOptions(GridSelection):
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
    others = [seed for seed in cell.variant.seeds if seed != cell.seed]
    for seed in (cell.seed, *others):
        like = Cell(cell.variant, cell.task, seed, cell.preset)
        summary = read_summary(summary_path(like, folder))
        if summary:
            return sum(summary["seconds"].values()) / 60, True
    return cell.estimate(), False


def _row(cell: Cell, options: CellsOptions) -> dict:
    """What is listed of a cell, by the heads of the columns."""
    folder = options.folder(cell)
    cost, measured = minutes(cell, folder)
    return {
        "order": cell.order,
        "method": cell.variant.method,
        "variant": cell.variant.name,
        "task": cell.task,
        "seed": cell.seed,
        "preset": cell.preset,
        "iterations": list(cell.own_turns),
        "tables": list(cell.variant.tables),
        "status": status(cell, folder),
        "minutes": round(cost, 1),
        "measured": measured,
    }


def list_cells(options: CellsOptions) -> int:
    """Print the grid and return the exit code."""
    rows = [_row(cell, options) for cell in options.cells()]
    if options.json:
        for row in rows:
            print(json.dumps(row))
        return 0

    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(_table(rows), markup=False)
    done = [row for row in rows if row["status"] == "done"]
    hours = sum(row["minutes"] for row in rows if row["status"] != "done") / 60
    print(f"{len(done)} of {len(rows)} cells done; the others: about {hours:.1f} hours of one core")
    return 0


def _table(rows: Sequence[dict]) -> Table:
    """The listed cells as a table for people."""
    table = Table(box=box.MARKDOWN)
    names = [name for name in rows[0] if name != "measured"]
    for name in names:
        table.add_column(name, justify="right" if name in ("seed", "minutes") else "left")

    for row in rows:
        first = row["iterations"][0]
        last = row["iterations"][-1]
        guessed = "" if row["measured"] else "~"
        texts = {name: str(row[name]) for name in names}
        texts["iterations"] = str(first) if first == last else f"{first}-{last}"
        texts["tables"] = " ".join(row["tables"])
        texts["minutes"] = f"{guessed}{row['minutes']:.0f}"
        table.add_row(*texts.values())
    return table


def run(options: RunOptions) -> int:
    """Run the chosen cells and return the exit code: 1 if one failed or has no script."""
    if options.workers < 1 or options.threads < 0:
        raise ValueError("--workers must be at least 1, --threads at least 0")
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.workers)
    site = Site(options.results, options.runs, threads=threads)

    chosen = options.cells()
    absent = _warn_of_absent_scripts(chosen)
    needed = cells_to_run(chosen, site.results_of, ROOT)
    hours = sum(minutes(cell, site.results_of(cell))[0] for cell in needed) / 60
    words = f"{len(needed)} of {len(chosen)} cells to run: about {hours:.1f} hours of one core"
    print(words, flush=True)

    outcome = _run_needed(needed, site, options.workers)
    write_manifest(site.results_of(chosen[0]))
    for cell, reason in outcome.failed.items():
        log = f"{site.cell_folder(cell)}/log.txt"
        print(f"error: {cell.name}: {reason}; log: {log}", file=sys.stderr)
    return 1 if outcome.failed or absent else 0


def _warn_of_absent_scripts(cells: Sequence[Cell]) -> set[Path]:
    """Name the scripts of cells that are not there, and return them."""
    absent = {cell.script for cell in cells if not (ROOT / cell.script).is_file()}
    for script in sorted(absent):
        print(f"no script {script}: its cells are left out", file=sys.stderr)
    return absent


def _run_needed(needed: Sequence[Cell], site: Site, workers: int) -> Outcome:
    """Run cells and tell how far they have come: in lines, since a bar's thread bears no fork."""
    far = Lines("cells", len(needed))
    try:
        return run_cells(needed, site, workers, _print_line, far)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("the same call goes on where it was") from stop


def _print_line(line: str) -> None:
    print(line, flush=True)


@dataclass(frozen=True)
class AdoptOptions:
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


def adopt(options: AdoptOptions) -> int:
    """Take over every run as its cell and return the exit code."""
    site = Site(options.results, options.runs)
    for path in options.paths:
        cell = import_run(path, site, options.records)
        print(f"done     {cell.name}")
        write_manifest(site.results_of(cell))
    return 0


@dataclass(frozen=True)
class OutputOptions:
    """What tables, plots and report are made from."""

    preset: str = USUAL_PRESET
    """quick, laptop or paper."""
    results: Path = Path("results")
    """Folder of records and summaries."""

    def read(self) -> Any:
        """Read all that is stored."""
        from benchmark.figures.results import Results

        return Results(ROOT / self.results, check_preset(self.preset))


@dataclass(frozen=True)
class TablesOptions(OutputOptions):
    """Write all tables below results/tables, in Markdown, LaTeX and CSV, from what is stored."""


@dataclass(frozen=True)
class PlotsOptions(OutputOptions):
    """Write all plots below results/plots, as PNG and SVG, from what is stored."""


@dataclass(frozen=True)
class ReportOptions(OutputOptions):
    """Write tables, plots and results/index.html, a page that opens from disk."""


def tables(options: TablesOptions) -> int:
    """Write the tables and return the exit code."""
    from benchmark.report.tables import write_tables

    results = options.read()
    _warn_of_precisions(results)
    return _print_paths(write_tables(results)[1])


def plots(options: PlotsOptions) -> int:
    """Write the plots and return the exit code."""
    from benchmark.report.plots import write_plots

    return _print_paths(write_plots(options.read()))


def report(options: ReportOptions) -> int:
    """Write the report and return the exit code."""
    from benchmark.report.page import write_report

    results = options.read()
    _warn_of_precisions(results)
    return _print_paths([write_report(results)])


def _warn_of_precisions(results: Any) -> None:
    """Name the runs that stand beside more runs of another precision."""
    groups = sorted(results.by_precision().items(), key=lambda group: len(group[1]))
    if not groups:
        return
    usual = groups[-1][0]
    for precision, names in groups[:-1]:
        print(f"warning: {precision}, all else {usual}: {', '.join(names)}", file=sys.stderr)


def _print_paths(paths: Sequence[Path]) -> int:
    for path in paths:
        print(os.path.relpath(path))
    return 0
