"""The single environment: the batch of one behind Gymnasium's ordinary interface."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dexfw_envs.envs import vector
from dexfw_envs.envs.vector import DexVectorEnv, check_keywords
from dexfw_envs.scenario import Scenario

# What a single environment takes: the rest belongs to `gymnasium.make_vec`.
OPTIONS = tuple(name for name in vector.OPTIONS if name not in ("num_envs", "autoreset_mode"))


class DexEnv(gym.Env):
    """One world of a task; the arguments are those of `DexVectorEnv`, which it is a batch of.

    Observations, rewards and info are the vector environment's without the leading axis.

    `gym.make(id, max_episode_steps=n)` can only shorten episodes: Gymnasium keeps the number for
    its own wrapper, and the task's limit stays. For longer ones use `DexEnv(task,
    max_episode_steps=n)`, or `gym.make_vec`, which hands the number on.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's own form)
        key: value for key, value in DexVectorEnv.metadata.items() if key != "autoreset_mode"
    }

    def __init__(self, task: str = "Grasp", **options: Any) -> None:
        check_keywords(type(self), OPTIONS, options.get("backend", "mujoco"), options)
        self.batch = DexVectorEnv(task, num_envs=1, autoreset_mode="disabled", **options)
        self.render_mode = self.batch.render_mode
        self.action_space = self.batch.single_action_space
        self.observation_space = self.batch.single_observation_space

    @property
    def spec(self) -> EnvSpec | None:
        """What Gymnasium knows of the environment; it may not name another task."""
        return self.batch.spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self.batch.spec = spec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; `options={"scenario": Scenario}` chooses its scene."""
        super().reset(seed=seed)
        options = dict(options or {})
        scenarios = [options.pop("scenario")] if "scenario" in options else None
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}; there is only 'scenario'")
        # Without a seed the environment's own stream goes on.
        self.batch.generators = [self.np_random]
        observation, info = self.batch.reset(options={"scenarios": scenarios})
        return _first(observation), _first(info)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by one control period of 50 ms; see `DexVectorEnv.step`."""
        action = np.asarray(action, dtype=float)
        if action.shape != self.action_space.shape:
            expected = self.action_space.shape
            raise ValueError(f"action has shape {action.shape}, expected {expected}")
        observation, reward, terminated, truncated, info = self.batch.step(action[None])
        return (
            _first(observation),
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            _first(info),
        )

    @property
    def scenario(self) -> Scenario | None:
        """The scenario of the episode in progress."""
        return self.batch.scenarios[0]

    def render(self) -> Any:
        """Draw the world: uint8 (size, size, 3), or the window in human mode."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def get_state(self) -> dict[str, Any]:
        """Read everything the continuation depends on: arrays and strings only."""
        self.batch.generators = [self.np_random]
        return self.batch.get_state()

    def set_state(self, state: dict[str, Any]) -> Any:
        """Restore what `get_state` returned, bit for bit; return the observation."""
        observation = _first(self.batch.set_state(state))
        self.np_random = self.batch.generators[0]
        return observation

    def __copy__(self) -> DexEnv:
        """A shallow copy would step the same world: copy all."""
        return copy.deepcopy(self)

    def close(self) -> None:
        """Release the backend and the window."""
        self.batch.close()


def _first(value: Any) -> Any:
    """Take the first world out of nested batches, as scalars where nothing else remains."""
    if isinstance(value, dict):
        return {key: _first(item) for key, item in value.items()}
    item = value[0]
    return item.item() if isinstance(item, np.generic) else item
