"""An environment around another one, for those that change what is observed or how it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from dexfw_envs.backends.base import Backend
from dexfw_envs.control.codec import PoseCodec
from dexfw_envs.control.controller import Controller
from dexfw_envs.envs.protocol import RobotEnv, StepResult
from dexfw_envs.scenario import Scenario
from dexfw_envs.tasks.base import EpisodeMemory, Task
from dexfw_envs.world import WorldState


class EnvWrapper:
    """Has all that a `RobotEnv` has, from the one inside; a subclass replaces what it changes.

    Args:
        env: The environment inside.
    """

    def __init__(self, env: RobotEnv) -> None:
        self.env = env

    @property
    def num_envs(self) -> int:
        """N."""
        return self.env.num_envs

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""
        return self.env.max_episode_steps

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What happens when an episode ends."""
        return self.env.autoreset_mode

    @property
    def single_action_space(self) -> gym.spaces.Box:
        """Of one world."""
        return self.env.single_action_space

    @property
    def spec(self) -> EnvSpec | None:
        """What Gymnasium knows of the environment inside."""
        return self.env.spec

    @property
    def metadata(self) -> dict[str, Any]:
        """Gymnasium's, of the environment inside."""
        return self.env.metadata

    @property
    def task(self) -> Task:
        """What is done."""
        return self.env.task

    @property
    def backend(self) -> Backend:
        """What it is done in."""
        return self.env.backend

    @property
    def scenarios(self) -> list[Scenario | None]:
        """The scene of every world."""
        return self.env.scenarios

    @property
    def codec(self) -> PoseCodec:
        """The map between `ee_pose` actions and end-effector targets."""
        return self.env.codec

    @property
    def controller(self) -> Controller:
        """The commands in force."""
        return self.env.controller

    @property
    def world(self) -> WorldState:
        """The state of all worlds."""
        return self.env.world

    @property
    def memory(self) -> EpisodeMemory:
        """What the episodes carry from step to step."""
        return self.env.memory

    def reset(self, *, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Start episodes as the environment inside does."""
        return self.env.reset(options=options)

    def step(self, actions: np.ndarray) -> StepResult:
        """Step as the environment inside does."""
        return self.env.step(actions)

    def state_vectors(self) -> np.ndarray:
        """Read the full state of every world, (N, S)."""
        return self.env.state_vectors()

    def set_state_vectors(
        self, states: np.ndarray, scenarios: Sequence[Scenario], mask: np.ndarray | None = None
    ) -> Any:
        """Restore worlds of `mask` from rows of `state_vectors`; return all observations."""
        return self.env.set_state_vectors(states, scenarios, mask)

    def draw(self, worlds: Sequence[int] | range | np.ndarray) -> np.ndarray:
        """Draw some worlds: uint8 (k, height, width, 3)."""
        return self.env.draw(worlds)

    def close(self) -> None:
        """Close the environment inside."""
        self.env.close()
