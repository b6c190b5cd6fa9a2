"""Progress of a long script: stages that are done once, curves, and the state of the stage at work.

A killed run that is opened again skips what is finished, goes on inside the stage under way, and
writes the same curves as a run that was never killed. Needs no torch: the script says how its
state becomes bytes and back.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from dexfw_envs.runs import RunFolder

METRICS = "metrics.jsonl"
STATE = "progress"


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

    Args:
        folder: The run's folder.
        size: How many bytes of an older file to keep; what a killed process wrote after its last
            save is cut off, since it will come again.
        tracked: Also send the curves to Weights & Biases.
        config: Settings shown there.
    """

    def __init__(
        self,
        folder: str | Path,
        size: int = 0,
        tracked: bool = False,
        config: Mapping[str, Any] | None = None,
    ):
        self.path, self.size = Path(folder) / METRICS, size
        self._board = _tensorboard(self.path.parent / "tensorboard")
        self._wandb = _wandb(self.path.parent.name, config or {}) if tracked else None
        with open(self.path, "ab") as file:
            file.truncate(size)
        for line in self.path.read_text().splitlines():
            row = json.loads(line)
            self._show(row.pop("step"), row)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row; names are tags such as ``"losses/base"``."""
        row = {"step": int(step), **{name: float(values[name]) for name in sorted(values)}}
        with open(self.path, "ab") as file:
            file.write(json.dumps(row).encode() + b"\n")
            self.size = file.tell()
        self._show(row.pop("step"), row)

    def _show(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log({**values, "global_step": step})

    def close(self) -> None:
        """Write out what is still in memory."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


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
    try:
        import wandb
    except ImportError as error:
        raise ImportError("--track needs wandb: pip install wandb (the extra track)") from error
    return wandb.init(project="dexfw", id=name, name=name, resume="allow", config=dict(config))


class Progress:
    """What is done, kept in the run's folder as the checkpoint ``progress``.

        if progress.begin("base_1"):
            state = progress.state            # {} at first, else what was saved last
            for step in progress.bar("base 1", state.get("step", 0), steps):
                ...
                progress.save(step=step + 1, model=model.state_dict)
            progress.finish()

    Args:
        folder: The run's folder, new or opened for resuming.
        dump: Turns a dict with the script's state into bytes.
        load: Turns such bytes back; must run no code from them.
        save_seconds: Least wall time between two saves inside a stage [s]; 0 saves every time.
        tracked: See `MetricsLog`.

    Attributes:
        done: Finished stages and the seconds each took, time before a kill included.
        state: What the stage under way saved last.
        metrics: The curves.
    """

    def __init__(
        self,
        folder: RunFolder,
        dump: Callable[[dict], bytes],
        load: Callable[[bytes], dict],
        save_seconds: float = 60.0,
        tracked: bool = False,
    ):
        self.folder, self.path = folder, folder.path
        self.save_seconds, self._dump, self._load = save_seconds, dump, load
        kept = self.load(STATE) if STATE in folder.checkpoints() else {}
        self.done: dict[str, float] = kept.get("done", {})
        self.state: dict[str, Any] = kept.get("state", {})
        self._stage, self._seconds = kept.get("stage", ""), kept.get("seconds", 0.0)
        self.metrics = MetricsLog(self.path, kept.get("metrics", 0), tracked, folder.config)
        self._saved = time.monotonic()

    def begin(self, stage: str) -> bool:
        """Start or go on with a stage; False if it is done already."""
        if stage in self.done:
            return False
        if stage != self._stage:
            self._stage, self._seconds, self.state = stage, 0.0, {}
        self._began = time.monotonic() - self._seconds
        return True

    def finish(self) -> None:
        """Mark the stage under way as done. Its results must be on disk by now."""
        self.done[self._stage] = time.monotonic() - self._began
        self._stage, self.state = "", {}
        self._write({}, 0.0)

    def save(self, **state: Any) -> None:
        """Save this state of the stage, if the last save is long enough ago.

        Args:
            **state: Values; callables are called, only if it is time to save, for theirs.
        """
        now = time.monotonic()
        if now - self._saved >= self.save_seconds:
            values = {name: v() if callable(v) else v for name, v in state.items()}
            self._write(values, now - self._began)
            self._saved = time.monotonic()

    def bar(self, title: str, start: int, stop: int) -> Iterable[int]:
        """Return `range(start, stop)`, with a progress bar on stderr if that is a terminal."""
        steps, total, console = range(start, stop), stop - start, Console(stderr=True)
        if not console.is_terminal:
            return steps
        return track(steps, title, total=total, console=console, transient=True)

    def _write(self, state: dict, seconds: float) -> None:
        kept = {"done": self.done, "stage": self._stage, "seconds": seconds, "state": state}
        self.store(STATE, kept | {"metrics": self.metrics.size})

    def store(self, name: str, state: dict) -> None:
        """Write a checkpoint, whole or not at all."""
        self.folder.write_checkpoint(name, self._dump(state))

    def load(self, name: str) -> dict:
        """Read a checkpoint."""
        return self._load(self.folder.read_checkpoint(name))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row to the curves.

        Raises:
            FloatingPointError: A value is not finite: training has diverged.
        """
        if bad := [name for name, value in values.items() if not math.isfinite(value)]:
            raise FloatingPointError(f"{', '.join(bad)} not finite at step {step} of {self._stage}")
        self.metrics.log(step, values)
