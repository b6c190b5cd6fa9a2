"""What tasks ask of an object: how far it rose, how fast it is, how it stands, whether it is gone.

Each takes the object's place in the scene, 0 where there is only one.
"""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.tasks.base import EpisodeMemory
from dexfw_envs.world import WorldState

TABLE_EDGE = -0.05  # an object below this has left the table [m]


def rise(world: WorldState, memory: EpisodeMemory, index: int = 0) -> np.ndarray:
    """Height of an object above its start [m], (N,)."""
    return world.object_position[:, index, 2] - memory.start_position[:, index, 2]


def speed(world: WorldState, index: int = 0) -> np.ndarray:
    """Speed of an object [m/s], (N,)."""
    velocity = world.object_linear_velocity[:, index]
    return np.sqrt((velocity * velocity).sum(axis=1))


def upward(world: WorldState, index: int = 0) -> np.ndarray:
    """Upward part of an object's z axis, 1 as it stands at the start, (N,)."""
    x = world.object_quaternion[:, index, 1]
    y = world.object_quaternion[:, index, 2]
    return 1.0 - 2.0 * (x * x + y * y)


def tilt(world: WorldState, index: int = 0) -> np.ndarray:
    """Angle between an object's z axis and the vertical [deg], (N,)."""
    return np.degrees(np.arccos(np.clip(upward(world, index), -1.0, 1.0)))


def away(world: WorldState, memory: EpisodeMemory, reach: float) -> np.ndarray:
    """Say which objects are off the table or `reach` [m] from their start in the plane, (N, O)."""
    moved = (world.object_position - memory.start_position)[..., :2]
    gone = (moved * moved).sum(axis=-1) > reach**2
    return gone | (world.object_position[..., 2] < TABLE_EDGE)


def free(world: WorldState, index: int = 0) -> np.ndarray:
    """Say where an object rests on no support and on no link of an arm, bool (N,)."""
    on_link = world.arm_object_contact[:, :, index].any(axis=1)
    return ~world.object_support_contact[:, index] & ~on_link


def from_axis(world: WorldState, points: np.ndarray, index: int = 0) -> np.ndarray:
    """Distance of points to an object's axis [m], (N, A).

    The axis goes through the centre of mass along the object's z axis, from its lowest to its
    highest point.

    Args:
        world: The worlds.
        points: In the table frame [m], (N, A, 3).
        index: The object's place in the scene.
    """
    back = tf.quat_conjugate(world.object_quaternion[:, index])[:, None]
    inside = tf.quat_rotate(back, points - world.object_position[:, index, None])
    lowest = world.object_extent[:, index, None, 0]
    highest = world.object_extent[:, index, None, 1]
    beyond = inside[..., 2] - np.clip(inside[..., 2], lowest, highest)
    across = (inside[..., :2] ** 2).sum(axis=-1)
    return np.sqrt(across + beyond**2)
