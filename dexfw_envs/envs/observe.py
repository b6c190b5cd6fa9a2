"""From a world's state to the observation groups of a task, or to one flat row of them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from dexfw_envs import checks
from dexfw_envs.tasks.base import Task
from dexfw_envs.world import WorldState

OBS_MODES = {  # mode: groups
    "state": ("proprio", "object"),
    "state+touch": ("proprio", "object", "touch"),
    "image": ("proprio", "object", "image"),
    "image+touch": ("proprio", "object", "touch", "image"),
}
FLAT = "/flat"  # ends the modes whose groups are one row, in the order of `flat_order`
LEAST_IMAGE_SIZE = 16  # side [px]
_PICTURES = tuple(mode for mode, groups in OBS_MODES.items() if "image" in groups)
MODES = (*OBS_MODES, *(mode + FLAT for mode in OBS_MODES if mode not in _PICTURES))


def flat_order(mode: str) -> tuple[str, ...]:
    """Return the groups of a flat mode in the order in which the row holds them.

    By name, which is the order of Gymnasium's `Dict` spaces: a flat observation equals what
    `gymnasium.wrappers.FlattenObservation` makes of the groups.
    """
    return tuple(sorted(OBS_MODES[mode.removesuffix(FLAT)]))


class Observer:
    """Builds clipped float32 observations, and the space they lie in.

    Attributes:
        mode: One of `MODES`.
        space: A `Dict` of the groups, or the `Box` (size,) of a flat mode.
    """

    def __init__(self, task: Task, mode: str, image_size: int) -> None:
        if mode in [name + FLAT for name in _PICTURES]:
            raise ValueError(
                f"obs_mode {mode!r}: pictures are not flattened; choose one of {MODES}"
            )
        checks.choice("obs_mode", mode, MODES)
        checks.count("image_size", image_size)
        if image_size < LEAST_IMAGE_SIZE:
            raise ValueError(f"image_size must be at least {LEAST_IMAGE_SIZE} px, got {image_size}")
        self.flat = mode.endswith(FLAT)
        grouped = mode.removesuffix(FLAT)

        self.mode = mode
        self.wants_image = "image" in OBS_MODES[grouped]
        order = flat_order(mode) if self.flat else OBS_MODES[grouped]
        self.names = tuple(name for name in order if name != "image")
        groups = {group.name: group for group in task.observation_groups}
        self._bounds = {name: groups[name].bounds() for name in self.names}
        self._nominal = np.array([mount.nominal_quaternion for mount in task.needs.robot.mounts])
        self.space = self._flat_space() if self.flat else self._grouped_space(image_size)

    def _grouped_space(self, image_size: int) -> gym.Space:
        spaces: dict[str, gym.Space] = {
            name: gym.spaces.Box(-bound.astype(np.float32), bound.astype(np.float32))
            for name, bound in self._bounds.items()
        }
        if self.wants_image:
            spaces["image"] = gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        return gym.spaces.Dict(spaces)

    def _flat_space(self) -> gym.Space:
        bound = np.concatenate(list(self._bounds.values())).astype(np.float32)
        self._length = len(bound)
        return gym.spaces.Box(-bound, bound)

    def observe(self, world: WorldState, images: np.ndarray | None) -> Any:
        """Return what is seen of every world; values are clipped to the bounds.

        Args:
            world: The state of N worlds.
            images: uint8 (N, size, size, 3) where the mode has images.

        Returns:
            A dictionary of the groups, (N, size) each, or of a flat mode one array (N, size).
        """
        if self.flat:
            return self._row(world)
        out = {name: self._clipped(name, world).astype(np.float32) for name in self.names}
        if images is not None:
            out["image"] = images
        return out

    def _row(self, world: WorldState) -> np.ndarray:
        """Write the groups side by side, (N, size)."""
        row = np.empty((world.worlds, self._length), dtype=np.float32)
        start = 0
        for name, bound in self._bounds.items():
            stop = start + len(bound)
            row[:, start:stop] = self._clipped(name, world)
            start = stop
        return row

    def _clipped(self, name: str, world: WorldState) -> np.ndarray:
        values = getattr(self, f"_{name}")(world)
        # A world that broke down may hold NaN; its episode ends with this step.
        if np.isnan(values.sum()):
            values = np.nan_to_num(values, nan=0.0)
        bound = self._bounds[name]
        return np.clip(values, -bound, bound)

    def _proprio(self, world: WorldState) -> np.ndarray:
        n = world.worlds
        # q and -q are one rotation; the sign nearer to the nominal grasp keeps the input smooth.
        quaternion = _aligned(world.end_effector_quaternion, self._nominal)
        joints = (
            np.concatenate([world.arm_position, world.hand_position], axis=2),
            np.concatenate([world.arm_velocity, world.hand_velocity], axis=2),
            world.hand_position,
            world.hand_velocity,
            world.end_effector_position,
            quaternion,
        )
        return np.concatenate([part.reshape(n, -1) for part in joints], axis=1)

    def _object(self, world: WorldState) -> np.ndarray:
        quaternion = _aligned(world.object_quaternion, np.array([1.0, 0.0, 0.0, 0.0]))
        parts = (
            world.object_position,
            quaternion,
            world.object_linear_velocity,
            world.object_angular_velocity,
        )
        return np.concatenate(parts, axis=2).reshape(world.worlds, -1)

    def _touch(self, world: WorldState) -> np.ndarray:
        return world.fingertip_force.reshape(world.worlds, -1)


def _aligned(quaternion: np.ndarray, reference: np.ndarray) -> np.ndarray:
    same = (quaternion * reference).sum(axis=-1, keepdims=True) >= 0
    return np.where(same, quaternion, -quaternion)
