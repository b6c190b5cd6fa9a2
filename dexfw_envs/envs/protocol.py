"""What others may use of an environment: to run episodes in it, and to read its true state.

`DexVectorEnv` has both protocols. A wrapper or a stand-in of a test needs those that it is used by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from dexfw_envs.backends.base import Backend
from dexfw_envs.control.codec import PoseCodec
from dexfw_envs.control.controller import Controller
from dexfw_envs.scenario import Scenario
from dexfw_envs.tasks.base import EpisodeMemory, Task
from dexfw_envs.world import WorldState

# Observations, reward (N,), terminated (N,), truncated (N,), info.
StepResult = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


@runtime_checkable
class EpisodeEnv(Protocol):
    """N worlds in which episodes are run, evaluated and filmed."""

    @property
    def num_envs(self) -> int:
        """N."""

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What happens when an episode ends; `DISABLED` to run episodes by mask."""

    @property
    def single_action_space(self) -> gym.spaces.Box:
        """Of one world: (action,) in [-1, 1]."""

    @property
    def spec(self) -> EnvSpec | None:
        """What Gymnasium knows of the environment: its id and version."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Gymnasium's, with `render_fps` [1/s]."""

    @property
    def task(self) -> Task:
        """What is done."""

    @property
    def backend(self) -> Backend:
        """What it is done in."""

    @property
    def scenarios(self) -> list[Scenario | None]:
        """The scene of every world; None before its first reset."""

    def reset(self, *, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Start the `scenarios` of `options` in the worlds of its `reset_mask`, bool (N,)."""

    def step(self, actions: np.ndarray) -> StepResult:
        """Advance every world by one control period; actions (N, action)."""

    def state_vectors(self) -> np.ndarray:
        """Read the full state of every world, (N, S) float64."""

    def draw(self, worlds: Sequence[int] | range | np.ndarray) -> np.ndarray:
        """Draw some worlds: uint8 (k, height, width, 3)."""

    def close(self) -> None:
        """Release the backend."""


@runtime_checkable
class RobotEnv(EpisodeEnv, Protocol):
    """Worlds with a robot, for those who act on what is true: experts, executors, operators."""

    @property
    def codec(self) -> PoseCodec:
        """The map between `ee_pose` actions and end-effector targets."""

    @property
    def controller(self) -> Controller:
        """The commands in force."""

    @property
    def world(self) -> WorldState:
        """The state of all worlds."""

    @property
    def memory(self) -> EpisodeMemory:
        """What the episodes carry from step to step."""

    def set_state_vectors(
        self, states: np.ndarray, scenarios: Sequence[Scenario], mask: np.ndarray | None = None
    ) -> Any:
        """Restore worlds of `mask` from rows of `state_vectors`; return all observations."""
