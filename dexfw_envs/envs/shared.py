"""What Gymnasium's vector environments of single ones have: attributes, world by world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dexfw_envs import checks
from dexfw_envs.backends.layout import CAMERAS
from dexfw_envs.tasks.base import Task

REWARD_MODES = ("dense", "sparse")
SETTABLE = ("sampler", "max_episode_steps", "reward_mode", "camera")
# Where `call` finds what differs between worlds, and what a single environment names otherwise.
WORLD_ATTRIBUTES = {
    "np_random": "generators",
    "np_random_seed": "np_random_seed",
    "scenario": "scenarios",
}
SHARED_NAMES = {
    "action_space": "single_action_space",
    "observation_space": "single_observation_space",
}


class SharedAttributes:
    """A vector environment whose worlds share its attributes but for those of their own.

    It stands beside `gymnasium.vector.VectorEnv` among the bases, as other libraries look for that
    one there.
    """

    task: Task
    num_envs: int
    render: Callable[..., Any]

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Read an attribute of every world, or draw every world by `call("render")`.

        Args:
            name: One of `WORLD_ATTRIBUTES`, which differ between worlds, or any attribute of this
                environment, which all worlds share.
            args: None: worlds are stepped and reset together, not one by one.
            kwargs: None.

        Raises:
            AttributeError: There is no such attribute, or it is another method.
        """
        if name == "render":
            pictures = self.render(*args, **kwargs)
            return pictures or self._for_each_world(None)
        if name in WORLD_ATTRIBUTES:
            return tuple(getattr(self, WORLD_ATTRIBUTES[name]))
        value = getattr(self, SHARED_NAMES.get(name, name))
        if callable(value) and name in dir(type(self)):
            raise AttributeError(
                f"worlds of {type(self).__name__} have no method {name!r} of their own; call "
                f"{name!r} of the whole, 'render' or an attribute such as {list(WORLD_ATTRIBUTES)}"
            )
        return self._for_each_world(value)

    def _for_each_world(self, value: Any) -> tuple[Any, ...]:
        return tuple(value for _ in range(self.num_envs))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Read an attribute of every world; see `call`."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute that all worlds share.

        Args:
            name: One of `SETTABLE`.
            values: The value, or a list or tuple with the same value for each world.

        Raises:
            AttributeError: The attribute cannot be set; the message names those that can.
            ValueError: There is not one value per world, they differ, or it is not valid.
        """
        if name not in SETTABLE:
            raise AttributeError(f"cannot set {name!r} of the worlds; choose one of {SETTABLE}")
        if not isinstance(values, list | tuple):
            values = [values]
        elif len(values) != self.num_envs:
            raise ValueError(f"{len(values)} values of {name!r} given for {self.num_envs} worlds")
        if any(value != values[0] for value in values):
            raise ValueError(f"all worlds share {name!r}; got different values {list(values)}")
        self._check_settable(name, values[0])
        setattr(self, name, values[0])

    def _check_settable(self, name: str, value: Any) -> None:
        if name == "max_episode_steps":
            checks.count(name, value)
        if name == "reward_mode":
            checks.choice(name, value, REWARD_MODES)
        if name == "camera":
            checks.choice(name, value, tuple(CAMERAS[self.task.needs.robot.arms]))
        if name == "sampler" and not callable(value):
            raise ValueError(f"sampler must be a function of a generator, got {value!r}")
