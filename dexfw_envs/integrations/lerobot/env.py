"""A task that speaks as LeRobot expects of an env: its names of observations, its attributes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from dexfw_envs.demos.export.lerobot import instruction
from dexfw_envs.envs.single import DexEnv
from dexfw_envs.registry import TASKS, entry

NAMESPACE = "DexFW-LeRobot"
ENTRY_POINT = "dexfw_envs.integrations.lerobot.env:LeRobotEnv"

# An observation group, and what an env calls it so that LeRobot turns it into the export's name:
# agent_pos into observation.state, environment_state into observation.environment_state, other
# arrays into observation.<name>, and pixels/<camera> into observation.images.<camera>.
GROUPS = {"proprio": "agent_pos", "object": "environment_state", "touch": "touch"}
PICTURES = "pixels"


class LeRobotEnv(gym.Wrapper):
    """One world of a task under LeRobot's names; the arguments are those of `DexEnv`."""

    def __init__(self, task: str = "Grasp", **options: Any) -> None:
        self.world = DexEnv(task, **options)
        super().__init__(self.world)
        self.camera = self.world.batch.camera
        self.observation_space = self._space(self.env.observation_space)

    def _space(self, space: gym.Space) -> gym.spaces.Dict:
        assert isinstance(space, gym.spaces.Dict)
        groups: dict[str, gym.Space] = {}
        for group, name in GROUPS.items():
            if group in space.spaces:
                groups[name] = space[group]
        if "image" in space.spaces:
            groups[PICTURES] = gym.spaces.Dict({self.camera: space["image"]})
        return gym.spaces.Dict(groups)

    def _renamed(self, observation: dict[str, np.ndarray]) -> dict[str, Any]:
        groups: dict[str, Any] = {}
        for group, name in GROUPS.items():
            if group in observation:
                groups[name] = observation[group]
        if "image" in observation:
            groups[PICTURES] = {self.camera: observation["image"]}
        return groups

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; `options={"scenario": Scenario}` chooses its scene.

        What else LeRobot puts into `options` is for wrappers of its own, and passed over.
        """
        own = {key: value for key, value in (options or {}).items() if key == "scenario"}
        observation, info = self.env.reset(seed=seed, options=own)
        return self._renamed(observation), info

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Advance by one control period of 50 ms; see `DexEnv.step`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._renamed(observation), reward, terminated, truncated, info

    @property
    def task(self) -> str:
        """Name of the task, such as "Grasp"."""
        return self.world.batch.task.name

    @property
    def task_description(self) -> str:
        """The task in words, with the object of the scene, as exports have it."""
        scenario = self.world.scenario
        return "" if scenario is None else instruction(scenario)


def gym_id(task: str) -> str:
    """Return the id of a task's `LeRobotEnv`.

    Raises:
        ValueError: The task is unknown; the message names the known ones.
    """
    item = entry(task)
    return f"{NAMESPACE}/{item.name}-v{item.version}"


def register_all() -> None:
    """Register the `LeRobotEnv` of every task with Gymnasium."""
    for item in TASKS:
        gym.register(
            id=gym_id(item.name),
            entry_point=ENTRY_POINT,
            max_episode_steps=item.make().max_episode_steps,
            kwargs={"task": item.name},
        )
