"""What a task is: pure functions of the world's state and of what the episode remembers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np

from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.world import SUNK, WorldState

GIVEN_UP = "given up"  # reason of failure where the operator of a collection ended the episode
# Why an episode failed; `info["failure_code"]` is the index into it, the same for every task.
# 0: not failed. No environment says `GIVEN_UP`.
FAILURES = ("", "fault", "timeout", "dropped", "spilled", GIVEN_UP)


@dataclass
class EpisodeMemory:
    """What an episode carries from step to step, per world; part of the full state."""

    start_position: np.ndarray  # of every object [m], (N, O, 3)
    hold: np.ndarray  # consecutive steps in which all success ingredients held, (N,)
    elapsed: np.ndarray  # control steps since reset, (N,)
    marks: np.ndarray  # what the task remembers of the episode so far, 0 at its start, (N, K)
    penetration: np.ndarray  # the deepest so far, in the order of `world.SUNK` [m], (N, 3)

    @classmethod
    def empty(cls, worlds: int, objects: int, marks: int = 0) -> EpisodeMemory:
        """Return the memory of N worlds before their first reset."""
        start = np.zeros((worlds, objects, 3))
        remembered = np.zeros((worlds, marks))
        penetration = np.zeros((worlds, len(SUNK)))
        return cls(start, np.zeros(worlds), np.zeros(worlds), remembered, penetration)

    def begin(self, mask: np.ndarray, world: WorldState) -> None:
        """Start new episodes in the worlds of `mask`."""
        self.start_position[mask] = world.object_position[mask]
        for counted in (self.hold, self.elapsed, self.marks, self.penetration):
            counted[mask] = 0.0

    def step(self, world: WorldState) -> None:
        """Note that a control step has passed, before the task remembers its own."""
        self.elapsed += 1
        np.fmax(self.penetration, world.penetration, out=self.penetration)  # nan: not told

    def get_state(self) -> np.ndarray:
        """Read the memory as rows, (N, M)."""
        parts = [np.asarray(getattr(self, field.name)) for field in fields(self)]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def set_state(self, mask: np.ndarray, rows: np.ndarray) -> None:
        """Restore the memory of `mask` from rows of `get_state`."""
        start = 0
        for field in fields(self):
            part = getattr(self, field.name)
            width = int(np.prod(part.shape[1:]))
            part[mask] = rows[:, start : start + width].reshape(len(rows), *part.shape[1:])
            start += width


class Row(NamedTuple):
    """One line of an observation group's table in the task's page."""

    meaning: str
    size: int
    unit: str
    bound: float  # values are clipped to +-bound


@dataclass(frozen=True)
class ObservationGroup:
    """One named part of an observation; `dexfw_envs.observation` reads it by name."""

    name: str
    rows: tuple[Row, ...]

    @property
    def size(self) -> int:
        """Length of the group."""
        return sum(row.size for row in self.rows)

    def bounds(self) -> np.ndarray:
        """Return the symmetric bound of every element, (size,)."""
        return np.concatenate([np.full(row.size, row.bound) for row in self.rows])


class Task(Protocol):
    """A task on any backend."""

    name: str
    needs: SceneNeeds
    hold_steps: int
    max_episode_steps: int
    observation_groups: tuple[ObservationGroup, ...]
    reward_terms: tuple[str, ...]
    success_terms: tuple[str, ...]
    stages: tuple[str, ...]
    marks: int  # how many numbers the task remembers of an episode

    def remember(self, world: WorldState, memory: EpisodeMemory) -> None:
        """Write `memory.marks` after a step, before success is judged."""

    def reward(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return the named terms of the dense reward, each (N,); their sum is the reward."""

    def success(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return the named ingredients of success at this instant, each bool (N,)."""

    def measures(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Return what is reported beside success but not judged, each (N,)."""

    def lost(self, world: WorldState, memory: EpisodeMemory) -> dict[str, np.ndarray]:
        """Say for each reason where the task cannot be completed any more, bool (N,) each.

        The reasons are among `FAILURES`; where several hold, the first is given.
        """

    def stage(self, world: WorldState, memory: EpisodeMemory) -> np.ndarray:
        """Return the index into `stages` of every world, (N,)."""
