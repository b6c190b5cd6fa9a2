"""One cell as one function call, `run_cell(cell, site)`: files are its only output.

The script runs in a folder of the cell's own. A run that was cut is gone on with; one that shares
its first stages with a finished cell starts from a copy of them; the summary is written last.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.grid.cells import Cell, digest, method_version
from benchmark.kept.residuals import measure_run
from benchmark.kept.summaries import Summary, summarise, summary_of_evaluation, summary_path
from benchmark.running.forking import fork, run_to_fork
from benchmark.running.site import CellFailed, ScriptKilled, Site, latest_run, script_command
from dexfw_envs.console.command import INTERRUPTED
from dexfw_envs.files import atomic_write_bytes, sweep
from dexfw_envs.provenance import provenance
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.locks import Lock
from dexfw_envs.runs.progress import read_stages

PATIENCE = 10.0  # for the processes of a killed worker to be gone [s]


def run_cell(cell: Cell, site: Site) -> None:
    """Run what is missing of a cell.

    Raises:
        FileNotFoundError: There is no such script.
        BlockingIOError: Another process is at work on the cell.
        CellFailed: The script ended with an error.
        ScriptKilled: It was killed.
    """
    wanted = digest(cell, site.root)
    if wanted is None:
        raise FileNotFoundError(f"no script {cell.script}")

    folder = site.cell_folder(cell)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock") as lock:
        _sweep(cell, site.results_of(cell))
        made_by = {"digest": wanted, "method_version": method_version(site.root / cell.script)}
        if cell.variant.evaluates_turn is not None:
            _evaluate_policy(cell, site, lock, made_by)
        else:
            _train(cell, site, lock, made_by)


def _train(cell: Cell, site: Site, lock: int, made_by: dict[str, Any]) -> None:
    """Begin the run of a cell or go on with it, and put what is kept of it among the results."""
    folder = site.cell_folder(cell)
    if latest_run(folder) is None:
        source = run_to_fork(cell, site)
        if source is not None:
            fork(source, cell, site)

    _call_script(cell, site, folder, lock)
    run = RunFolder(latest_run(folder) or folder)
    store_results(run, cell, site, made_by)


def _sweep(cell: Cell, results: Path) -> None:
    """Remove what killed processes left half-written of a cell's results; needs its lock."""
    records = results / "records" / cell.variant.method / cell.task
    first = "-".join(filter(None, (cell.label, "i")))
    seed = f"-seed{cell.seed}."
    summary = summary_path(cell, results)
    for folder, name in (
        (summary.parent, f"{summary.name}.*"),
        (records, f"{first}[0-9]*{seed}parquet.*"),
        (results / "policies" / cell.kept_folder, f"*{seed}safetensors.*"),
    ):
        sweep(folder, name)


def store_results(run: RunFolder, cell: Cell, site: Site, made_by: dict[str, Any]) -> None:
    """Measure the residuals of a finished run and put what is kept of it among the results.

    The summary comes last. Its records are there already.
    """
    results = site.results_of(cell)
    measure_run(run, site.root, site.threads)
    summary = summarise(run, cell, made_by)
    checkpoints = run.path / "checkpoints"
    if cell.keeps_policies and any(checkpoints.glob("policy_*.pt")):
        from benchmark.kept.policies import film_policies, keep_policies

        keep_policies(checkpoints, cell, results, run.provenance)
        film_policies(cell, results, site.root, site.threads)
    _write_summary(summary, cell, results)


def _write_summary(summary: Summary, cell: Cell, results: Path) -> None:
    atomic_write_bytes(summary_path(cell, results), json.dumps(summary).encode() + b"\n")


def _call_script(cell: Cell, site: Site, folder: Path, lock: int) -> None:
    """Run the script of a cell, from the start or on from where its run was cut."""
    words = script_command(cell, site)
    run = latest_run(folder)
    if run is not None:
        resumed = os.path.relpath(run, site.root)
        words = [str(cell.script), "--resume", resumed, "--threads", str(site.threads)]

    try:
        _call(words, cell, site, lock)
    except CellFailed:  # a demonstration's exit code also says whether the wheel turned
        run = latest_run(folder)
        if run is None or not finished(run, cell):
            raise


def finished(run: Path, cell: Cell) -> bool:
    """Whether a run has tested the last policy of its cell."""
    last = cell.variant.last_turn(cell.preset)
    return f"eval_{last}" in read_stages(run)


def _evaluate_policy(cell: Cell, site: Site, lock: int, made_by: dict[str, Any]) -> None:
    """Evaluate a policy of another cell's run; its records are all that comes of it."""
    words = script_command(cell, site)
    start = time.perf_counter()
    _call(words, cell, site, lock)
    seconds = {"evaluate": time.perf_counter() - start}

    made_by |= provenance() | {"command": shlex.join(["python", *words])}
    summary = summary_of_evaluation(cell, made_by, seconds, site.threads)
    _write_summary(summary, cell, site.results_of(cell))


def _call(words: Sequence[str], cell: Cell, site: Site, lock: int) -> None:
    """Run a script; what it prints goes to the cell's log."""
    log = site.cell_folder(cell) / "log.txt"
    with open(log, "ab") as output:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=site.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,
            pass_fds=[lock],
            check=False,
        )

    if done.returncode < 0:
        raise ScriptKilled(f"{cell.name}: killed by signal {-done.returncode}")
    if done.returncode == INTERRUPTED:
        raise ScriptKilled(f"{cell.name}: interrupted")
    if done.returncode:
        last = " ".join(log.read_text(errors="replace").splitlines()[-1:])
        raise CellFailed(f"{cell.name}: exit code {done.returncode}, see {log}: {last}")


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent is gone; elsewhere only the lock protects."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold a file's lock, which the script inherits: it is free when the last of them is gone.

    Raises:
        BlockingIOError: It is held by another process for longer than a killed one takes to go.
    """
    lock = Lock(path, PATIENCE)
    try:
        yield lock.fileno()
    finally:
        lock.release()
