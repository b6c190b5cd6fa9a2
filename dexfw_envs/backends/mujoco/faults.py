"""When a world has broken down, and what is kept of it: the states before, in memory or on disk."""

from __future__ import annotations

import collections
import io
import os
import warnings
from pathlib import Path

import mujoco
import numpy as np

from dexfw_envs.files import atomic_write_bytes
from dexfw_envs.scenario import Scenario

FAULT_HISTORY = 20  # control periods kept before a fault
SPEED_LIMIT = 50.0  # of objects [m/s] and joints [rad/s]


def speed_limits(model: mujoco.MjModel) -> np.ndarray:
    """Return the velocities from which a state counts as blown up by the solver, (nv,).

    The spin of an object may come to half a turn per physics step, as no step resolves more:
    1257 rad/s at 2.5 ms. A ball that rolls off the table and on along the floor has at most 5 m/s,
    which over its radius are 110 to 215 rad/s; fingers were seen to squeeze one out with 150. A
    state that diverges passes all limits within a few physics steps.
    """
    limits = np.full(model.nv, SPEED_LIMIT)
    free = model.jnt_type == mujoco.mjtJoint.mjJNT_FREE
    limits[model.jnt_dofadr[free][:, None] + np.arange(3, 6)] = np.pi / model.opt.timestep
    return limits


class FaultLog:
    """Remembers the last states of all worlds, and those of a world that breaks down for good.

    Args:
        folder: Where each fault is written as `fault-<process>-<number>.npz` with `states`
            (k, S), `world` and `scenario` (JSON); None keeps faults in memory only.

    Attributes:
        dumps: The states before the last fault of each world, (k, S).
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.dumps: dict[int, np.ndarray] = {}
        self._history: collections.deque[np.ndarray] = collections.deque(maxlen=FAULT_HISTORY)
        self._written = 0

    def remember(self, states: np.ndarray) -> None:
        """Keep the states of all worlds before a control period, (N, S)."""
        self._history.append(states)

    def dump(self, world: int, scenario: Scenario | None) -> None:
        """Keep what led to the fault of a world; a disk that refuses it costs only a warning."""
        states = self.dumps[world] = np.stack([state[world] for state in self._history])
        if self.folder is None:
            return
        text = scenario.to_json() if scenario else ""
        buffer = io.BytesIO()
        np.savez(buffer, states=states, world=world, scenario=text)
        self._written += 1
        try:
            name = f"fault-{os.getpid()}-{self._written:04d}.npz"
            atomic_write_bytes(self.folder / name, buffer.getbuffer())
        except OSError as error:
            warnings.warn(f"the states before a fault are not kept: {error}", stacklevel=2)
