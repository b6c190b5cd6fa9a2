"""One cell as one function call, `work(cell, place)`: files are its only output.

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
from benchmark.kept.summaries import summarise, summary_of_measurement, summary_path
from benchmark.running.place import CellFailed, Place, ScriptKilled, command, run_in
from benchmark.running.sharing import fork, shared_run
from dexfw_envs.console.command import INTERRUPTED
from dexfw_envs.files import atomic_write_bytes, sweep
from dexfw_envs.provenance import provenance
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.locks import Lock
from dexfw_envs.runs.progress import read_stages

PATIENCE = 10.0  # for the processes of a killed worker to be gone [s]


def work(cell: Cell, place: Place) -> None:
    """Run what is missing of a cell.

    Raises:
        FileNotFoundError: There is no such script.
        BlockingIOError: Another process is at work on the cell.
        CellFailed: The script ended with an error.
        ScriptKilled: It was killed.
    """
    if (wanted := digest(cell, place.root)) is None:
        raise FileNotFoundError(f"no script {cell.script}")
    (home := place.home(cell)).mkdir(parents=True, exist_ok=True)
    with locked(home / "lock") as lock:
        _sweep(cell, place.results_of(cell))
        made_by = {"digest": wanted, "method_version": method_version(place.root / cell.script)}
        if cell.variant.measures is not None:
            _measure_policy(cell, place, lock, made_by)
            return
        if run_in(home) is None and (source := shared_run(cell, place)) is not None:
            fork(source, cell, place)
        _call_script(cell, place, home, lock)
        run = RunFolder(run_in(home) or home)
        keep(run, cell, place, made_by)


def _sweep(cell: Cell, results: Path) -> None:
    """Remove what killed processes left half-written of a cell's results; needs its lock."""
    records = results / "records" / cell.variant.method / cell.task
    first, seed = "-".join(filter(None, (cell.label, "i"))), f"-seed{cell.seed}."
    summary = summary_path(cell, results)
    for folder, name in (
        (summary.parent, f"{summary.name}.*"),
        (records, f"{first}[0-9]*{seed}parquet.*"),
        (results / "policies" / cell.kept_as, f"*{seed}safetensors.*"),
    ):
        sweep(folder, name)


def keep(run: RunFolder, cell: Cell, place: Place, made_by: dict[str, Any]) -> None:
    """Measure the residuals of a finished run and put what is kept of it among the results.

    The summary comes last. Its records are there already.
    """
    results = place.results_of(cell)
    measure_run(run, place.root, place.threads)
    found = summarise(run, cell, made_by)
    checkpoints = run.path / "checkpoints"
    if cell.shown and any(checkpoints.glob("policy_*.pt")):
        from benchmark.kept.policies import film_policies, keep_policies

        keep_policies(checkpoints, cell, results)
        film_policies(cell, results, place.root, place.threads)
    atomic_write_bytes(summary_path(cell, results), json.dumps(found).encode() + b"\n")


def _call_script(cell: Cell, place: Place, home: Path, lock: int) -> None:
    words = command(cell, place)
    if (run := run_in(home)) is not None:
        resumed = os.path.relpath(run, place.root)
        words = [str(cell.script), "--resume", resumed, "--threads", str(place.threads)]
    try:
        _call(words, cell, place, lock)
    except CellFailed:  # a demonstration's exit code also says whether the wheel turned
        if (run := run_in(home)) is None or not finished(run, cell):
            raise


def finished(run: Path, cell: Cell) -> bool:
    """Whether a run has measured the last policy of its cell."""
    last = cell.variant.last_turn(cell.preset)
    return f"eval_{last}" in read_stages(run)


def _measure_policy(cell: Cell, place: Place, lock: int, made_by: dict[str, Any]) -> None:
    """Measure a policy of another cell's run; its records are all that comes of it."""
    words, start = command(cell, place), time.perf_counter()
    _call(words, cell, place, lock)
    made_by |= provenance() | {"command": shlex.join(["python", *words])}
    took = {"evaluate": time.perf_counter() - start}
    found = summary_of_measurement(cell, made_by, took, place.threads)
    target = summary_path(cell, place.results_of(cell))
    atomic_write_bytes(target, json.dumps(found).encode() + b"\n")


def _call(words: Sequence[str], cell: Cell, place: Place, lock: int) -> None:
    """Run a script; what it prints goes to the cell's log."""
    log = place.home(cell) / "log.txt"
    with open(log, "ab") as output:
        done = subprocess.run(
            [sys.executable, *words], cwd=place.root, stdout=output, stderr=output, check=False,
            stdin=subprocess.DEVNULL, preexec_fn=die_with_parent, pass_fds=[lock],
        )  # fmt: skip
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
