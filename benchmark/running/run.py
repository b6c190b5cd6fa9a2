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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmark.grid.cells import Cell
from benchmark.kept.summaries import status, write_manifest
from benchmark.running.place import Place, ScriptKilled
from benchmark.running.work import die_with_parent, work
from dexfw_envs.console.command import INTERRUPTED
from dexfw_envs.console.reporting import Report

TRIES = 3  # of a cell whose worker was killed
PAUSE = 1.0  # after which it is told how far the cells have come, also if none has ended [s]


@dataclass
class Outcome:
    """What became of the cells."""

    done: list[Cell] = field(default_factory=list)
    failed: dict[Cell, str] = field(default_factory=dict)


def _worker(cell: Cell, place: Place, harness: int) -> None:
    """Body of a worker process; its exit code is its only answer."""
    die_with_parent()
    if os.getppid() != harness:  # it was gone before the line above
        sys.exit(1)
    try:
        work(cell, place)
    except KeyboardInterrupt:  # which the harness had as well, and tells
        sys.exit(INTERRUPTED)
    except ScriptKilled:  # as if it had been the worker
        os.kill(os.getpid(), signal.SIGKILL)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def run_cells(
    cells: Sequence[Cell],
    place: Place,
    workers: int = 1,
    report: Callable[[str], None] = print,
    progress: Report | None = None,
) -> Outcome:
    """Run cells in their order, several at once, each after the one it shares stages with.

    Args:
        cells: What to run.
        place: Where.
        workers: Processes.
        report: Takes a line for every cell that begins or ends.
        progress: Told how many have ended.
    """
    # A spawned worker would import everything again; a forked one starts at once.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    waiting, tries, outcome = list(cells), dict.fromkeys(cells, 0), Outcome()
    active: dict[BaseProcess, Cell] = {}
    while waiting or active:
        for cell in _startable(waiting, active, workers):
            waiting.remove(cell)
            tries[cell] += 1
            process = context.Process(target=_worker, args=(cell, place, os.getpid()))
            process.start()
            active[process] = cell
            report(f"begins   {cell.name}" + f", try {tries[cell]}" * (tries[cell] > 1))
        wait([process.sentinel for process in active], timeout=PAUSE)
        for process in [process for process in active if not process.is_alive()]:
            cell, code = active.pop(process), process.exitcode or 0
            if code < 0 and tries[cell] < TRIES:
                report(f"killed   {cell.name} by signal {-code}; it is tried again")
                waiting.insert(0, cell)
                continue
            _end(cell, code, outcome, report)
            write_manifest(place.results_of(cell))
        if progress is not None:
            ended = len(outcome.done) + len(outcome.failed)
            progress(ended, f"{len(active)} under way, {len(outcome.failed)} failed")
    return outcome


def _startable(waiting: list[Cell], active: dict[BaseProcess, Cell], workers: int) -> list[Cell]:
    """The next cells for the free workers, but none before the one it shares stages with."""
    busy = {*waiting, *active.values()}
    ready = [cell for cell in waiting if cell.parent not in busy]
    return ready[: workers - len(active)]


def _end(cell: Cell, code: int, outcome: Outcome, report: Callable[[str], None]) -> None:
    if code == 0:
        outcome.done.append(cell)
        report(f"done     {cell.name}")
        return
    reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    outcome.failed[cell] = reason
    report(f"failed   {cell.name}: {reason}")


def todo(cells: Sequence[Cell], results_of: Callable[[Cell], Path], root: Path) -> list[Cell]:
    """The cells that are not done and whose script is there."""
    return [
        cell for cell in cells if status(cell, results_of(cell), root) not in ("done", "no script")
    ]
