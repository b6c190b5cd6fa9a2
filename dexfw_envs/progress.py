"""Progress of a long script: stages that are done once, curves, and the state of the stage at work.

A killed run that is opened again skips what is finished, goes on inside the stage under way, and
writes the same curves as a run that was never killed. torch is imported when a run is made.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import shlex
import sys
import time
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs import extras, reporting
from dexfw_envs.runs import (
    RunFolder,
    atomic_write_bytes,
    atomic_write_json,
    explained,
    read_json,
    sync_folder,
)

METRICS = "metrics.jsonl"
BOARD = "tensorboard"
STATE = "progress"
_FOLDER = 0x10  # marks a part of a ZIP archive as a folder
STAGES = "stages.json"  # of each finished stage: seconds, and size of the curves at its end


def dump(state: Mapping[str, Any]) -> bytes:
    """Turn tensors, numbers, strings, bytes and containers of them into the bytes of a file."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def load(data: bytes) -> dict[str, Any]:
    """Turn the bytes of `dump` back; runs no code from them. Without CUDA all is on the CPU.

    Raises:
        ValueError: They are not what `dump` makes, were cut, or differ in any number.
    """
    import torch

    try:
        _check_archive(data)
        where = None if torch.cuda.is_available() else "cpu"
        return torch.load(io.BytesIO(data), map_location=where, weights_only=True)
    except Exception as error:  # of whatever kind: damaged bytes may mean anything
        reason = str(error).partition("\n")[0]
        raise ValueError(f"no checkpoint, or a damaged one: {reason}") from error


def load_file(path: str | Path) -> dict[str, Any]:
    """Read a file of `dump`; see `load`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged; the message names it.
    """
    data = Path(path).read_bytes()
    try:
        return load(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_checkpoint(run: RunFolder, name: str) -> dict[str, Any]:
    """Read a checkpoint of a run; see `load`.

    Raises:
        FileNotFoundError: There is none of that name; the message lists those there are.
        ValueError: It is damaged; the message names it.
    """
    run.check_there(name)
    return load_file(run.checkpoint_path(name))


def read_stages(folder: Path) -> dict[str, dict[str, float]]:
    """Return what is kept of each finished stage of a run; {} if none has finished.

    Raises:
        ValueError: The file is damaged; the message names it.
    """
    path = folder / STAGES
    found = read_json(path) if path.is_file() else {}
    whole = isinstance(found, dict) and all(
        isinstance(end, dict) and end.keys() >= {"seconds", "metrics"} for end in found.values()
    )
    if not whole:
        raise ValueError(f"damaged file {path}: it does not hold the stages of a run")
    return found


def _check_archive(data: bytes) -> None:
    """Compare a checkpoint, which is a ZIP archive, with its own checksums; torch does not.

    Raises:
        ValueError: A part of it is damaged.
        zipfile.BadZipFile: It is no such archive, or a cut one.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        damaged = archive.testzip()
        folders = [part for part in archive.infolist() if part.external_attr & _FOLDER]
    if folders:  # torch would give numbers of chance for them
        damaged = folders[0].filename
    if damaged is not None:
        raise ValueError(f"{damaged} in it has another checksum")


def check_header(state: Mapping[str, Any], needed: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that does not fit the code and the environment that want to use it.

    Raises:
        ValueError: An entry differs from what is needed.
    """
    for name, value in needed.items():
        if state.get(name) != value:
            raise ValueError(f"the checkpoint has {name} {state.get(name)!r}, needed is {value!r}")


def check_finished(folder: Path, stage: str) -> None:
    """Refuse a run that has not finished a stage yet.

    Raises:
        ValueError: It has not; the message says what it has finished.
    """
    done = list(read_stages(folder))
    if stage not in done:
        raise ValueError(f"{folder} has not finished {stage}, only {', '.join(done) or 'nothing'}; "
                         "go on with it by --resume first")  # fmt: skip


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of every entry, for rows with the same entries; {} without rows."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def pack(arrays: Mapping[str, Any]) -> bytes:
    """Turn a dict of arrays, numbers and strings, such as an env's state, into bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, Any]:
    """Turn the bytes of `pack` back; runs no code from them."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    return {name: v if v.ndim else v.item() for name, v in values.items()}


class MetricsLog:
    """Curves as lines of JSON, which hold nothing that differs between two equal runs.

    TensorBoard shows the same numbers; its files are written anew from the lines on resuming.
    Weights & Biases gets the older lines only if it does not know the run yet.

    Args:
        folder: The run's folder.
        size: How many bytes of an older file the last save counts on. What a killed process wrote
            after it is cut off, since it will come again. Where a part is missing or damaged, the
            rows that are whole are kept, and a line on stderr says so.
        tracked: Also send the curves to Weights & Biases.
        config: Settings shown there.
        checksum: CRC-32 of the rows that the last save counts on; where it differs though all of
            them are whole, a line on stderr says so.
    """

    def __init__(
        self,
        folder: str | Path,
        size: int = 0,
        tracked: bool = False,
        config: Mapping[str, Any] | None = None,
        checksum: int | None = None,
    ):
        self.path = Path(folder) / METRICS
        self._ends_before: list[int] = []  # of the kept rows of a damaged file
        self._ends: list[int] = []  # of the same rows now
        self.size = self._cut_back(size)
        self.checksum = zlib.crc32(self.path.read_bytes())
        if not self.mended and checksum not in (None, self.checksum):
            print(
                f"warning: {self.path} was altered: its rows are whole, but some differ from what "
                "was written",
                file=sys.stderr,
            )
        self._board = _tensorboard(self.path.parent / BOARD)
        self._wandb = _wandb(self.path.parent.name, config or {}) if tracked else None
        for _, line in _whole_rows(self.path.read_bytes()):
            row = json.loads(line)
            self._show(row.pop("step"), row, old=True)

    @property
    def mended(self) -> bool:
        """Whether rows that the last save counts on were lost."""
        return bool(self._ends)

    def now_at(self, size: int) -> int:
        """Return how many bytes of rows are left of the first `size` bytes of a mended file."""
        if not self.mended or size < 0:  # negative: not known
            return size
        return self._ends[bisect_right(self._ends_before, size)]

    def _cut_back(self, size: int) -> int:
        """Leave the whole rows among the first `size` bytes of the file, and return their size."""
        content = self.path.read_bytes() if self.path.is_file() else b""
        known = content[:size]
        rows = list(_whole_rows(known))
        whole = b"".join(row + b"\n" for _, row in rows)
        if whole == known and len(known) == size:
            self._truncate(size)
            return size
        atomic_write_bytes(self.path, whole)
        if len(whole) == size:  # the end of the last row was missing, nothing else
            return size

        self._ends_before = [end for end, _ in rows]
        self._ends = [0]
        for _, row in rows:
            self._ends.append(self._ends[-1] + len(row) + 1)
        print(
            f"warning: {self.path} was cut or damaged: {len(rows)} whole rows are kept, "
            f"{size - len(whole)} of {size} bytes are lost, and the curves have a gap there",
            file=sys.stderr,
        )
        return len(whole)

    def _truncate(self, size: int) -> None:
        """Cut the file, made if missing, to a size that it has at least."""
        try:
            is_new = not self.path.exists()
            with open(self.path, "ab") as file:
                file.truncate(size)
            if is_new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise explained(error, self.path) from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row; names are tags such as ``"losses/base"``.

        Raises:
            OSError: It cannot be written; the message says why.
        """
        row = {name: float(values[name]) for name in sorted(values)}
        line = json.dumps({"step": int(step), **row}).encode() + b"\n"
        try:
            with open(self.path, "ab") as file:
                file.write(line)
                file.flush()
                self.size = file.tell()
            self.checksum = zlib.crc32(line, self.checksum)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self.size)  # half a row
            raise explained(error, self.path) from error
        self._show(int(step), row)

    def sync(self) -> None:
        """Force the rows to disk, so that a save can count on them.

        Raises:
            OSError: They cannot be written; the message says why.
        """
        try:
            with open(self.path, "rb+") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise explained(error, self.path) from error

    def _show(self, step: int, values: Mapping[str, float], old: bool = False) -> None:
        if self._board is not None:
            try:
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)
            except OSError as error:
                raise explained(error, self.path.parent / BOARD) from error
        if self._wandb is not None and not (old and self._wandb.resumed):
            self._wandb.log({**values, "global_step": step})

    def close(self) -> None:
        """Write out what is still in memory."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the curves of a run, a dict per row.

    Raises:
        FileNotFoundError: There are none.
        ValueError: The file is damaged; the message names it.
    """
    content = path.read_bytes()
    rows = [row for _, row in _whole_rows(content)]
    if b"".join(row + b"\n" for row in rows) != content:
        raise ValueError(f"damaged file {path}: not all of its rows are whole")
    return [json.loads(row) for row in rows]


def _whole_rows(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the rows of the curves that are whole, each with where it ends.

    A power loss leaves NUL bytes and pieces of rows, which are passed over.
    """
    for found in re.finditer(rb"[^\0\n]+", content):
        try:
            row = json.loads(found.group())
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            yield min(found.end() + 1, len(content)), found.group()


def _tensorboard(folder: Path) -> Any:
    """Return a writer into an emptied folder; None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    return SummaryWriter(str(folder))


def _wandb(name: str, config: Mapping[str, Any]) -> Any:
    wandb = extras.load("wandb", "--track needs")
    return wandb.init(project="dexfw", id=name, name=name, resume="allow", config=dict(config))


class Progress:
    """What is done, kept in the run's folder as the checkpoint ``progress``.

        def train(run):
            state = run.restore()             # {} at first, else what was saved last
            for step in run.bar("training", state.get("step", 0), steps):
                ...
                run.save(step=step + 1, model=model.state_dict)

        run.stage("train", train)

    Args:
        folder: The run's folder, new or opened for resuming.
        seed: Seed of the run.
        save_seconds: Least wall time between two saves inside a stage [s]; 0 saves every time.
        tracked: See `MetricsLog`.

    Attributes:
        seed: Seed of the stage under way.
        done: Finished stages and the seconds each took, time before a kill included.
        metrics: The curves.
    """

    def __init__(self, folder: RunFolder, seed: int, save_seconds: float, tracked: bool):
        self.folder, self.path = folder, folder.path
        self.seed, self._run_seed, self.save_seconds = seed, seed, save_seconds
        kept = self.load(STATE) if STATE in folder.checkpoints() else {}
        self.done: dict[str, float] = kept.get("done", {})
        self._state: dict[str, Any] = kept.get("state", {})
        self._stage, self._seconds = kept.get("stage", ""), kept.get("seconds", 0.0)
        self.ends: dict[str, dict[str, float]] = kept.get("ends", {})
        size, checksum = kept.get("metrics", 0), kept.get("metrics_checksum")
        self.metrics = MetricsLog(self.path, size, tracked, folder.config, checksum)
        if self.metrics.mended:
            self._adopt_mended()
        self._saved = time.monotonic()

    def _adopt_mended(self) -> None:
        """Count on the rows that are left of damaged curves."""
        for end in self.ends.values():
            end["metrics"] = self.metrics.now_at(int(end["metrics"]))
        self._write(self._state, self._seconds)
        atomic_write_json(self.path / STAGES, self.ends)

    def stage(self, name: str, work: Callable[..., None], *inputs: Any) -> None:
        """Do `work(self, *inputs)` unless it is done; its results must be on disk when it returns.

        It is seeded by the run's seed and its name alone, whatever was skipped before it.

        Raises:
            KeyboardInterrupt: The work was interrupted; the message has the command to go on with.
        """
        name = "_".join([name, *map(str, inputs)])
        if name in self.done:
            return
        try:
            self._do(name, work, *inputs)
        except KeyboardInterrupt as stop:
            words = ["python", os.path.relpath(sys.argv[0]), "--resume", os.path.relpath(self.path)]
            raise KeyboardInterrupt(f"go on with: {shlex.join(words)}") from stop

    def _do(self, name: str, work: Callable[..., None], *inputs: Any) -> None:
        import torch

        if name != self._stage:
            self._stage, self._seconds, self._state = name, 0.0, {}
        self._began = time.monotonic() - self._seconds
        self.seed = zlib.crc32(f"{self._run_seed} {name}".encode())
        torch.manual_seed(self.seed)

        reporting.say(f"{name} {'goes on' if self._state else 'begins'}")
        work(self, *inputs)
        self.done[name] = time.monotonic() - self._began
        reporting.say(f"{name} is done after {reporting.duration(self.done[name])}")

        self.metrics.sync()
        self.ends[name] = {"seconds": self.done[name], "metrics": self.metrics.size}
        atomic_write_json(self.path / STAGES, self.ends)
        self._stage, self._state = "", {}
        self._write({}, 0.0)

    def restore(self) -> dict[str, Any]:
        """Return what the stage under way saved last, {} at its start.

        torch's random numbers go on from there too, so call this after networks are initialised.
        """
        import torch

        if self._state:
            torch.set_rng_state(self._state["generator"])
            if self._state["device_generators"]:
                torch.cuda.set_rng_state_all(self._state["device_generators"])
        return self._state

    def save(self, **state: Any) -> None:
        """Save this state of the stage, if the last save is long enough ago.

        Args:
            **state: Values; callables are called, only if it is time to save, for theirs.
        """
        import torch

        now = time.monotonic()
        if now - self._saved < self.save_seconds:
            return
        values = {name: value() if callable(value) else value for name, value in state.items()}
        values["generator"] = torch.get_rng_state()
        cuda = torch.cuda.is_initialized()
        values["device_generators"] = torch.cuda.get_rng_state_all() if cuda else []
        self._write(values, now - self._began)
        self._saved = time.monotonic()

    def _write(self, state: dict, seconds: float) -> None:
        self.metrics.sync()
        kept = {"done": self.done, "stage": self._stage, "seconds": seconds, "state": state}
        kept |= {"metrics": self.metrics.size, "metrics_checksum": self.metrics.checksum}
        self.store(STATE, kept | {"ends": self.ends})

    def store(self, name: str, state: Mapping[str, Any]) -> None:
        """Write a checkpoint, whole or not at all."""
        self.folder.write_checkpoint(name, dump(state))

    def load(self, name: str) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            FileNotFoundError: There is none of that name.
            ValueError: It is damaged.
        """
        return load_checkpoint(self.folder, name)

    def bar(self, title: str, start: int, stop: int) -> Iterator[int]:
        """Yield `range(start, stop)` and tell on stderr how far it has come."""
        with reporting.progress(title, stop, start) as report:
            for step in range(start, stop):
                yield step
                report(step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row to the curves.

        Raises:
            FloatingPointError: A value is not finite: training has diverged.
        """
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            raise FloatingPointError(f"{', '.join(bad)} not finite at step {step} of {self._stage}")
        self.metrics.log(step, values)
