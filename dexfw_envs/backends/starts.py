"""What every simulated backend draws alike at a reset, from the scenario's seed alone."""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.robots.spec import RobotSpec

START_NOISE = 0.02  # uniform half-width on every arm joint at reset [rad]
BALL_RADIUS = 0.007  # of a vessel's contents [m]
BALL_MASS = 0.0015  # [kg]: plastic of density 1050
SPREAD = 0.0105  # distance of the balls of a layer from the vessel's axis [m]


def arm_starts(robot: RobotSpec, rng: np.random.Generator) -> np.ndarray:
    """Draw the arm joints at the start [rad], (A, 7): the first numbers that a reset draws."""
    return np.array(
        [
            np.array(mount.home) + rng.uniform(-START_NOISE, START_NOISE, robot.arm.joints)
            for mount in robot.mounts
        ]
    )


def start_places(
    floor: float, pose: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Stack balls in layers of four just above the floor of a vessel, (count, 3) [m].

    Args:
        floor: Height of the floor in the vessel's frame [m].
        pose: Of the vessel, (7,).
        count: How many balls.
        rng: Turns the stack.
    """
    layer, corner = np.divmod(np.arange(count), 4)
    angle = rng.uniform(0.0, np.pi) + np.pi / 2 * corner + np.pi / 4 * layer
    positions = np.stack(
        [
            SPREAD * np.cos(angle),
            SPREAD * np.sin(angle),
            floor + BALL_RADIUS + 2.0 * BALL_RADIUS * layer,
        ],
        axis=1,
    )
    return pose[:3] + tf.quat_rotate(pose[3:], positions)
