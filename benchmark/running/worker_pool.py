"""`python -m benchmark run`: run what is missing of the grid with N processes on this machine.

Every worker is a process of its own that works on one cell. A worker that is killed is replaced;
the harness itself may be killed at any moment: its workers go with it, and the next call skips
what is done and goes on with what was cut.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmark.grid.cells import Cell
from benchmark.kept.summaries import status, write_manifest
from benchmark.running.cell_runner import die_with_parent, run_cell
from benchmark.running.site import ScriptKilled, Site
from dexfw_envs.console.command import INTERRUPTED
from dexfw_envs.console.reporting import Report

TRIES = 3  # of a cell whose worker was killed
PAUSE = 1.0  # between two reports of how far the cells have come, also if none has ended [s]


@dataclass
class Outcome:
    """What became of the cells."""

    done: list[Cell] = field(default_factory=list)
    failed: dict[Cell, str] = field(default_factory=dict)


def _worker(cell: Cell, site: Site, harness: int) -> None:
    """Body of a worker process; its exit code is its only answer."""
    die_with_parent()
    if os.getppid() != harness:  # it was gone before the line above
        sys.exit(1)
    try:
        run_cell(cell, site)
    except KeyboardInterrupt:  # which the harness had as well, and tells
        sys.exit(INTERRUPTED)
    except ScriptKilled:  # as if it had been the worker
        os.kill(os.getpid(), signal.SIGKILL)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def run_cells(
    cells: Sequence[Cell],
    site: Site,
    workers: int = 1,
    report: Callable[[str], None] = print,
    progress: Report | None = None,
) -> Outcome:
    """Run cells in their order, several at once, each after the one that it depends on.

    Args:
        cells: What to run.
        site: Where.
        workers: Processes.
        report: Takes a line for every cell that begins or ends.
        progress: Told how many have ended.
    """
    pool = _Pool(cells, site, report)
    while pool.waiting or pool.active:
        for cell in pool.ready(workers):
            pool.start(cell)
        wait([process.sentinel for process in pool.active], timeout=PAUSE)
        for process in list(pool.active):
            if not process.is_alive():
                pool.end(process)

        if progress is not None:
            failed = len(pool.outcome.failed)
            ended = len(pool.outcome.done) + failed
            progress(ended, f"{len(pool.active)} under way, {failed} failed")
    return pool.outcome


class _Pool:
    """The cells that wait, those under way by their process, and what became of the others."""

    def __init__(self, cells: Sequence[Cell], site: Site, report: Callable[[str], None]) -> None:
        # A spawned worker would import everything again; a forked one starts at once.
        method = "fork" if sys.platform == "linux" else "spawn"
        self._context = multiprocessing.get_context(method)
        self._site = site
        self._report = report
        self._tries: Counter[Cell] = Counter()
        self.waiting = list(cells)
        self.active: dict[BaseProcess, Cell] = {}
        self.outcome = Outcome()

    def ready(self, workers: int) -> list[Cell]:
        """The next cells for the free workers, but none before the one that it depends on."""
        unfinished = {*self.waiting, *self.active.values()}
        free = [cell for cell in self.waiting if cell.parent not in unfinished]
        return free[: workers - len(self.active)]

    def start(self, cell: Cell) -> None:
        """Start a worker on a cell."""
        self.waiting.remove(cell)
        self._tries[cell] += 1
        process = self._context.Process(target=_worker, args=(cell, self._site, os.getpid()))
        process.start()
        self.active[process] = cell

        line = f"begins   {cell.name}"
        if self._tries[cell] > 1:
            line += f", try {self._tries[cell]}"
        self._report(line)

    def end(self, process: BaseProcess) -> None:
        """Take note of a worker that has ended; a cell whose worker was killed is tried again."""
        cell = self.active.pop(process)
        code = process.exitcode or 0
        was_killed = code < 0
        if was_killed and self._tries[cell] < TRIES:
            self._report(f"killed   {cell.name} by signal {-code}; it is tried again")
            self.waiting.insert(0, cell)
            return

        if code == 0:
            self.outcome.done.append(cell)
            self._report(f"done     {cell.name}")
        else:
            reason = f"killed by signal {-code}" if was_killed else f"exit code {code}"
            self.outcome.failed[cell] = reason
            self._report(f"failed   {cell.name}: {reason}")
        write_manifest(self._site.results_of(cell))


def cells_to_run(
    cells: Sequence[Cell], results_of: Callable[[Cell], Path], root: Path
) -> list[Cell]:
    """The cells that are not done and whose script is there."""
    finished = ("done", "no script")
    return [cell for cell in cells if status(cell, results_of(cell), root) not in finished]
