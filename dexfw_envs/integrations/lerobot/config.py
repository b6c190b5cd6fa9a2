"""The configuration of the tasks for LeRobot's programs, `--env.type=dexfw`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_STATE

from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.demos.export.lerobot import feature_name, picture_name
from dexfw_envs.integrations.lerobot.env import GROUPS, PICTURES, LeRobotEnv, gym_id

_TYPES = {OBS_STATE: FeatureType.STATE, OBS_ENV_STATE: FeatureType.ENV}


@EnvConfig.register_subclass("dexfw")
@dataclass
class DexFWEnv(EnvConfig):
    """A task as LeRobot's programs make it.

    Attributes:
        task: Name of the task.
        fps: Steps per second; fixed by the tasks.
        obs_mode: What is observed; everything that the policy was trained on must be in it.
        control_mode: What actions mean; as in the exported episodes.
        scenarios: What episodes are drawn from; see `DexVectorEnv`.
        image_size: Side of pictures [px].
        camera: Camera of pictures; the task's own by default.
        episode_length: Steps after which an episode is cut short, at most the task's own number.
    """

    task: str = "Grasp"
    fps: int = round(1 / CONTROL_PERIOD)
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)
    obs_mode: str = "state"
    control_mode: str = "ee_pose"
    scenarios: str = "train(3)"
    image_size: int = 224
    camera: str | None = None
    episode_length: int | None = None

    def __post_init__(self) -> None:
        """Describe what is observed and done, once for all programs."""
        env = LeRobotEnv(self.task, **self._options())
        self._describe("action", env.action_space, ACTION, FeatureType.ACTION)
        assert isinstance(env.observation_space, gym.spaces.Dict)
        seen = env.observation_space.spaces

        for group, name in GROUPS.items():
            if name in seen:
                target = feature_name(group)
                self._describe(name, seen[name], target, _TYPES.get(target, FeatureType.STATE))

        pictures = seen.get(PICTURES)
        if isinstance(pictures, gym.spaces.Dict):
            name = f"{PICTURES}/{env.camera}"
            target = picture_name(env.camera)
            self._describe(name, pictures[env.camera], target, FeatureType.VISUAL)

        env.close()

    def _describe(self, name: str, space: gym.Space, target: str, kind: FeatureType) -> None:
        self.features[name] = PolicyFeature(type=kind, shape=space.shape)
        self.features_map[name] = target

    def _options(self) -> dict[str, Any]:
        return {
            "obs_mode": self.obs_mode,
            "control_mode": self.control_mode,
            "scenarios": self.scenarios,
            "image_size": self.image_size,
            "camera": self.camera,
        }

    @property
    def gym_id(self) -> str:
        """Id of the env in Gymnasium's registry."""
        return gym_id(self.task)

    @property
    def package_name(self) -> str:
        """The module that registers the id."""
        return "dexfw_envs.integrations.lerobot"

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """What the env is made with."""
        limit = {} if self.episode_length is None else {"max_episode_steps": self.episode_length}
        return {**self._options(), **limit, "threads": 1, "render_mode": "rgb_array"}
