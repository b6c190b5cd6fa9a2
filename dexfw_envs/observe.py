"""From a world's state to the observation groups of a task."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from dexfw_envs.tasks.base import Task
from dexfw_envs.world import WorldState

OBS_MODES = {  # mode: groups
    "state": ("proprio", "object"),
    "state+touch": ("proprio", "object", "touch"),
    "image": ("proprio", "object", "image"),
    "image+touch": ("proprio", "object", "touch", "image"),
}


class Observer:
    """Builds clipped float32 observations, and the space they lie in."""

    def __init__(self, task: Task, mode: str, image_size: int) -> None:
        if mode not in OBS_MODES:
            raise ValueError(f"unknown obs_mode {mode!r}; choose one of {tuple(OBS_MODES)}")
        if image_size < 16:
            raise ValueError(f"image_size must be at least 16 px, got {image_size}")
        groups = {group.name: group for group in task.observation_groups}
        self.names = tuple(name for name in OBS_MODES[mode] if name != "image")
        self.wants_image = "image" in OBS_MODES[mode]
        self._bounds = {name: groups[name].bounds() for name in self.names}
        self._nominal = np.array([mount.nominal_quaternion for mount in task.needs.robot.mounts])
        spaces: dict[str, gym.Space] = {
            name: gym.spaces.Box(-bound.astype(np.float32), bound.astype(np.float32))
            for name, bound in self._bounds.items()
        }
        if self.wants_image:
            spaces["image"] = gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.space = gym.spaces.Dict(spaces)

    def observe(self, world: WorldState, images: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return the groups of every world, (N, size) each; values are clipped to the bounds."""
        out = {}
        for name in self.names:
            values = getattr(self, f"_{name}")(world)
            # A world that broke down may hold NaN; its episode ends with this step.
            if np.isnan(values.sum()):
                values = np.nan_to_num(values, nan=0.0)
            bound = self._bounds[name]
            out[name] = np.clip(values, -bound, bound).astype(np.float32)
        if images is not None:
            out["image"] = images
        return out

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
