"""Progress of a long script: stages that are done once, curves, and the state of the stage at work.

A killed run that is opened again skips what is finished, goes on inside the stage under way, and
writes the same curves as a run that was never killed. torch is imported when a run is made.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dexfw_envs.console import reporting
from dexfw_envs.files import atomic_write_json, read_json
from dexfw_envs.runs.checkpoints import dump, load_checkpoint
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.metrics import MetricsLog

STATE = "progress"
STAGES = "stages.json"  # of each finished stage: seconds, and size of the curves at its end


def read_stages(folder: Path) -> dict[str, dict[str, float]]:
    """Return what is kept of each finished stage of a run; {} if none has finished.

    Raises:
        ValueError: The file is damaged; the message names it.
    """
    path = folder / STAGES
    stages = read_json(path) if path.is_file() else {}
    whole = isinstance(stages, dict) and all(
        isinstance(end, dict) and end.keys() >= {"seconds", "metrics"} for end in stages.values()
    )
    if not whole:
        raise ValueError(f"damaged file {path}: it does not hold the stages of a run")
    return stages


def check_finished(folder: Path, stage: str) -> None:
    """Refuse a run that has not finished a stage yet.

    Raises:
        ValueError: It has not; the message says what it has finished.
    """
    done = list(read_stages(folder))
    if stage not in done:
        raise ValueError(f"{folder} has not finished {stage}, only {', '.join(done) or 'nothing'}; "
                         "go on with it by --resume first")  # fmt: skip


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
        self.folder = folder
        self.path = folder.path
        self.seed = seed
        self._run_seed = seed
        self.save_seconds = save_seconds
        saved = self.load(STATE) if STATE in folder.checkpoints() else {}
        self.done: dict[str, float] = saved.get("done", {})
        self._state: dict[str, Any] = saved.get("state", {})
        self._stage = saved.get("stage", "")
        self._seconds = saved.get("seconds", 0.0)
        self.ends: dict[str, dict[str, float]] = saved.get("ends", {})
        size = saved.get("metrics", 0)
        checksum = saved.get("metrics_checksum")
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
            self._stage = name
            self._seconds = 0.0
            self._state = {}
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
        self._stage = ""
        self._state = {}
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
        saved = {"done": self.done, "stage": self._stage, "seconds": seconds, "state": state}
        saved |= {"metrics": self.metrics.size, "metrics_checksum": self.metrics.checksum}
        self.store(STATE, saved | {"ends": self.ends})

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
