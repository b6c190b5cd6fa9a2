"""One cell as one function call, `work(cell, place)`: files are its only output.

The script runs in a folder of the cell's own. A run that was cut is gone on with; one that shares
its first stages with a finished cell starts from a copy of them; the summary is written last.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.cells import Cell, digest, method_version
from benchmark.protocol import ROOT, results_of
from benchmark.residuals import measure_run
from benchmark.summaries import status, summarise, summary_of_measurement, summary_path
from benchmark.variants import PARENT
from dexfw_envs.progress import METRICS, STAGES, STATE, dump
from dexfw_envs.runs import (
    TEMPORARY_SUFFIX,
    RunFolder,
    atomic_write_bytes,
    atomic_write_json,
    provenance,
)

PATIENCE = 10.0  # for the processes of a killed worker to be gone [s]
UNKNOWN = -1  # size of the curves after a stage that ended before scripts wrote it


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

    def home(self, cell: Cell) -> Path:
        """Folder in which a cell's script runs; another digest has another one."""
        return self.root / self.runs / f"{cell.name}-{digest(cell, self.root)}"


class CellFailed(RuntimeError):
    """The script ended with an error; its log says which."""


class ScriptKilled(RuntimeError):
    """The script was killed, such as for want of memory: it can be tried again."""


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
        if _run_in(home) is None and (source := shared_run(cell, place)) is not None:
            fork(source, cell, place)
        _call_script(cell, place, home, lock)
        run = RunFolder.open(_run_in(home) or home)
        keep(run, cell, place, made_by)


def _sweep(cell: Cell, results: Path) -> None:
    """Remove what killed processes left half-written of a cell's results; needs its lock."""
    records = results / "records" / cell.variant.method / cell.task
    first, seed = "-".join(filter(None, (cell.label, "i"))), f"-seed{cell.seed}."
    summary = summary_path(cell, results)
    for folder, name in (
        (summary.parent, f".{summary.name}.*"),
        (records, f".{first}[0-9]*{seed}parquet.*"),
        (results / "policies" / cell.kept_as, f".*{seed}safetensors.*"),
    ):
        for path in folder.glob(name + TEMPORARY_SUFFIX):
            path.unlink()


def keep(run: RunFolder, cell: Cell, place: Place, made_by: dict[str, Any]) -> None:
    """Measure the residuals of a finished run and put what is kept of it among the results.

    The summary comes last. Its records are there already.
    """
    results = place.results_of(cell)
    measure_run(run, place.root, place.threads)
    found = summarise(run, cell, made_by)
    checkpoints = run.path / "checkpoints"
    if cell.shown and any(checkpoints.glob("policy_*.pt")):
        from benchmark.kept import film_policies, keep_policies

        keep_policies(checkpoints, cell, results)
        film_policies(cell, results, place.root, place.threads)
    atomic_write_bytes(summary_path(cell, results), json.dumps(found).encode() + b"\n")


def command(cell: Cell, place: Place) -> list[str]:
    """The script's command line, without the interpreter."""
    words = [given(cell, place) if word == PARENT else word for word in cell.options]
    if cell.variant.measures is None:
        words += ["--runs", str(place.runs / place.home(cell).name)]
    records = results_of(place.results, cell.preset) / "records"
    return [str(cell.script), *words, "--threads", str(place.threads), "--records", str(records)]


def given(cell: Cell, place: Place) -> str:
    """Folder of the finished run that a cell starts from, or its policy that is to be measured.

    Raises:
        CellFailed: It is not finished.
    """
    parent = cell.parent
    assert parent is not None
    run = _run_in(place.home(parent))
    if run is None or status(parent, place.results_of(parent), place.root) != "done":
        raise CellFailed(f"{cell.name} needs the run of {parent.name}, which is not done here")
    turn = cell.variant.measures
    path = run if turn is None else run / "checkpoints" / f"policy_{turn}.pt"
    return os.path.relpath(path, place.root)


def _run_in(home: Path) -> Path | None:
    """The run in a cell's folder; the last one if a start was cut before its folder was whole."""
    found = sorted(path.parent for path in home.glob("[!.]*/config.json"))
    return found[-1] if found else None


def _call_script(cell: Cell, place: Place, home: Path, lock: int) -> None:
    words = command(cell, place)
    if (run := _run_in(home)) is not None:
        resumed = os.path.relpath(run, place.root)
        words = [str(cell.script), "--resume", resumed, "--threads", str(place.threads)]
    try:
        _call(words, cell, place, lock)
    except CellFailed:  # a demonstration's exit code also says whether the wheel turned
        if (run := _run_in(home)) is None or not finished(run, cell):
            raise


def finished(run: Path, cell: Cell) -> bool:
    """Whether a run has measured the last policy of its cell."""
    path, last = run / STAGES, cell.variant.last_turn(cell.preset)
    return path.is_file() and f"eval_{last}" in json.loads(path.read_text())


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
    import fcntl

    until = time.monotonic() + PATIENCE
    with open(path, "ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    reason = f"another process is at work in {path.parent}"
                    raise BlockingIOError(error.errno, reason) from error
                time.sleep(0.1)
        yield file.fileno()


# --- runs that are the same up to a stage


def shared_run(cell: Cell, place: Place) -> Path | None:
    """The finished run whose first stages are this cell's too, if there is one."""
    parent = cell.parent
    if parent is None or cell.variant.shares is None:
        return None
    if status(parent, place.results_of(parent), place.root) != "done":
        return None
    run = _run_in(place.home(parent))
    last = cell.variant.shares[1]
    ends = json.loads((run / STAGES).read_text()) if run else {}
    return run if ends.get(last, {}).get("metrics", UNKNOWN) != UNKNOWN else None


def fork(source: Path, cell: Cell, place: Place) -> Path:
    """Copy a run as it was at the end of the last shared stage, with the settings of the cell.

    The copy is made under a name that no run has, then renamed, so it is there whole or not at all.
    """
    home, words = place.home(cell), command(cell, place)
    draft = home / ".fork"
    shutil.rmtree(draft, ignore_errors=True)
    assert cell.variant.shares is not None
    ends = json.loads((source / STAGES).read_text())
    names = list(ends)[: list(ends).index(cell.variant.shares[1]) + 1]
    kept = {name: ends[name] for name in names}
    (draft / "checkpoints").mkdir(parents=True)
    for path in _files_of(source, {name.rpartition("_")[2] for name in names}):
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, draft / path.relative_to(source))
    curves = (source / METRICS).read_bytes()[: int(ends[names[-1]]["metrics"])]
    atomic_write_bytes(draft / METRICS, curves)
    state = {"done": {name: kept[name]["seconds"] for name in names}, "ends": kept}
    state |= {"stage": "", "seconds": 0.0, "state": {}, "metrics": len(curves)}
    atomic_write_bytes(draft / "checkpoints" / STATE, dump(state))
    atomic_write_json(draft / STAGES, kept)
    old = RunFolder(source).config
    made = provenance() | {"command": shlex.join(["python", *words])}
    config = {**old, **changed_settings(cell, old), "runs": str(place.runs / home.name)}
    atomic_write_json(draft / "config.json", {"config": config, "provenance": made})
    return draft.rename(home / source.name)


def _files_of(source: Path, turns: set[str]) -> Iterator[Path]:
    """What a run's turns, and other stages, have left: data, policies and figures."""
    figures = ("data_{}.json", "eval_{}.json", "residual_{}.json")
    names = ("{}", "D_{}", *figures, "checkpoints/policy_{}.pt")
    for name in names:
        yield from (path for i in sorted(turns) if (path := source / name.format(i)).exists())


def changed_settings(cell: Cell, config: dict[str, Any]) -> dict[str, Any]:
    """What a cell's options change in the settings of the run it starts from.

    Raises:
        ValueError: An option is none of the settings.
    """
    changed: dict[str, Any] = {"variant": cell.label, "eval_splits": list(cell.variant.splits)}
    words: Sequence[str] = cell.variant.options
    for index, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, value = word[2:].replace("-", "_"), (*words, "")[index + 1]
        if name not in config and name.removeprefix("no_") in config:
            changed[name.removeprefix("no_")] = False
        elif name not in config:
            raise ValueError(f"{word} is no setting of {cell.script}")
        else:
            kind = type(config[name])
            changed[name] = True if kind is bool else kind(value)
    return changed
