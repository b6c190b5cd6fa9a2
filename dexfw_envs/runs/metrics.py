"""Training curves: rows of JSON that survive a kill, shown in TensorBoard and Weights & Biases."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.console import extras
from dexfw_envs.files import atomic_write_bytes, explained, sync_folder

METRICS = "metrics.jsonl"
BOARD = "tensorboard"


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of every entry, for rows with the same entries; {} without rows."""
    if not rows:
        return {}
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


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
        counted_on = content[:size]
        rows = list(_whole_rows(counted_on))
        whole = b"".join(row + b"\n" for _, row in rows)

        is_sound = whole == counted_on and len(counted_on) == size
        if is_sound:
            self._truncate(size)
            return size

        atomic_write_bytes(self.path, whole)
        is_only_unended = len(whole) == size  # the last row's line end was missing, nothing else
        if not is_only_unended:
            self._note_loss(rows, lost=size - len(whole), size=size)
        return len(whole)

    def _note_loss(self, rows: Sequence[tuple[int, bytes]], lost: int, size: int) -> None:
        """Remember where the rows that are left were and are, and warn of the others.

        Args:
            rows: The whole rows, each with where it ended in the damaged file.
            lost: Bytes that are gone.
            size: Bytes that the last save counts on.
        """
        self._ends_before = [end for end, _ in rows]
        self._ends = [0]
        for _, row in rows:
            self._ends.append(self._ends[-1] + len(row) + 1)

        print(
            f"warning: {self.path} was cut or damaged: {len(rows)} whole rows are kept, "
            f"{lost} of {size} bytes are lost, and the curves have a gap there",
            file=sys.stderr,
        )

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
    for match in re.finditer(rb"[^\0\n]+", content):
        try:
            row = json.loads(match.group())
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            end = min(match.end() + 1, len(content))  # with its line end, if it has one
            yield end, match.group()


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
