"""What a tracker tells of the objects: their poses with deviations, and at times nothing new.

Only what policies see is changed. Rewards, success and the scripted experts go by the true state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.observation import (
    OBJECT_ANGULAR_VELOCITY,
    OBJECT_LINEAR_VELOCITY,
    OBJECT_POSITION,
    OBJECT_QUATERNION,
    OBJECT_SIZE,
    POSITION_SIZE,
)
from dexfw_envs.scenario import Scenario
from dexfw_envs.world import WorldState

ROTVEC_SIZE = 3
_STREAM = 0x7472  # keeps these draws apart from what else a scenario's seed decides


class Tracker:
    """Objects as tracked in N worlds, by each scenario's `tracker_...` values.

    Positions deviate by a normal draw per coordinate and turns by a normal draw per component of
    the rotation vector, anew at every control step. A dropped step shows the object as it was seen
    last. Velocities are the true ones. A draw depends on the scenario's seed and the step alone, so
    looking twice shows the same.

    Attributes:
        deviation: Standard deviations of every world, of positions [m] and turns [rad], (N, 2).
        dropped: Share of steps without tracking, (N,).
    """

    def __init__(self, num_worlds: int, objects: int) -> None:
        self.deviation = np.zeros((num_worlds, 2))
        self.dropped = np.zeros(num_worlds)
        self._seeds = [0] * num_worlds
        self._seen = np.zeros((num_worlds, objects, OBJECT_SIZE))

    def reset(self, mask: np.ndarray, scenarios: Sequence[Scenario], world: WorldState) -> None:
        """Begin episodes in the worlds of `mask` (N,), one scenario per world of the mask."""
        for index, scenario in zip(np.flatnonzero(mask), scenarios, strict=True):
            self._take(int(index), scenario)
        self._seen[mask] = _states(world)[mask]

    def _take(self, index: int, scenario: Scenario) -> None:
        self.deviation[index, 0] = scenario.value("tracker_position")
        self.deviation[index, 1] = scenario.value("tracker_rotation")
        self.dropped[index] = scenario.value("tracker_dropped")
        self._seeds[index] = scenario.seed

    def look(self, world: WorldState, elapsed: np.ndarray) -> WorldState:
        """Return the worlds with their objects as tracked.

        Args:
            world: The true state.
            elapsed: Control steps since each world's reset, (N,).
        """
        now = _states(world)
        for index in range(len(now)):
            now[index] = self._look_at(index, now[index], int(elapsed[index]))
        self._seen[:] = now

        return dataclasses.replace(
            world,
            object_position=now[..., OBJECT_POSITION],
            object_quaternion=now[..., OBJECT_QUATERNION],
            object_linear_velocity=now[..., OBJECT_LINEAR_VELOCITY],
            object_angular_velocity=now[..., OBJECT_ANGULAR_VELOCITY],
        )

    def _look_at(self, index: int, objects: np.ndarray, step: int) -> np.ndarray:
        """Return the objects (O, 13) of one world as tracked at a step."""
        if not self.deviation[index].any() and self.dropped[index] == 0.0:
            return objects

        rng = np.random.default_rng((self._seeds[index], _STREAM, step))
        is_dropped = rng.random() < self.dropped[index]
        moved = rng.normal(size=(len(objects), POSITION_SIZE)) * self.deviation[index, 0]
        turned = rng.normal(size=(len(objects), ROTVEC_SIZE)) * self.deviation[index, 1]
        if is_dropped and step > 0:
            return self._seen[index]

        tracked = objects.copy()
        tracked[:, OBJECT_POSITION] += moved
        true_turn = objects[:, OBJECT_QUATERNION]
        tracked[:, OBJECT_QUATERNION] = tf.quat_multiply(tf.quat_from_rotvec(turned), true_turn)
        return tracked

    def get_state(self) -> np.ndarray:
        """Read what was seen last as rows, (N, 13 O)."""
        return self._seen.reshape(len(self._seen), -1).copy()

    def set_state(self, mask: np.ndarray, rows: np.ndarray, scenarios: Sequence[Scenario]) -> None:
        """Restore the worlds of `mask` from rows of `get_state`, with the scenario of each."""
        for index, scenario in zip(np.flatnonzero(mask), scenarios, strict=True):
            self._take(int(index), scenario)
        self._seen[mask] = rows.reshape(-1, *self._seen.shape[1:])


def _states(world: WorldState) -> np.ndarray:
    """Return position, quaternion and velocities of all objects, (N, O, 13)."""
    parts = (
        world.object_position,
        world.object_quaternion,
        world.object_linear_velocity,
        world.object_angular_velocity,
    )
    return np.concatenate(parts, axis=2)
