"""Actions in [-1, 1] and the palm and hand targets that they mean.

An `ee_pose` action holds `ARM_ACTIONS` numbers of each arm, right before left: the palm's
displacement (`PALM_POSITION`) and rotation vector (`PALM_ROTATION`) from its nominal pose, then one
number of each driven hand joint (`HAND`). `per_arm(action)` gives one row of each arm, on whose
last axis these slices are used: `per_arm(action)[..., HAND]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.robots.spec import RobotSpec

POSITION_UNIT = 0.25  # palm displacement of action one [m]
POSITION_SLEW = 0.02  # per control step [m]: 0.4 m/s
ROTATION_SLEW = 0.10  # per control step [rad]: 2 rad/s
HAND_SLEW = 0.15  # per control step [rad]: 3 rad/s
CONTROL_PERIOD = 0.05  # [s], 20 Hz

# The numbers of one arm in an `ee_pose` action.
PALM_ACTIONS = 6
HAND_ACTIONS = 6
ARM_ACTIONS = PALM_ACTIONS + HAND_ACTIONS
PALM_POSITION = slice(0, 3)  # in `POSITION_UNIT`
PALM_ROTATION = slice(3, PALM_ACTIONS)  # rotation vector, in `Mount.rotation_unit`
PALM = slice(0, PALM_ACTIONS)
HAND = slice(PALM_ACTIONS, ARM_ACTIONS)  # -1 and 1: the limits of a driven joint


@dataclass(frozen=True)
class Targets:
    """Palm targets: position (..., A, 3) [m], quaternion (..., A, 4), hand (..., A, 6) [rad]."""

    position: np.ndarray
    quaternion: np.ndarray
    hand: np.ndarray


class PoseCodec:
    """Convert between `ee_pose` actions (..., 12 A) and targets in the table frame."""

    def __init__(self, robot: RobotSpec) -> None:
        self.arms = robot.arms
        self.centre = np.array([mount.nominal_position for mount in robot.mounts])
        self.nominal = np.array([mount.nominal_quaternion for mount in robot.mounts])
        self._turn = np.array([[mount.rotation_unit] for mount in robot.mounts])  # (A, 1)
        lower, upper = robot.hand.driven_limits()
        self._middle = (upper + lower) / 2
        self._half = (upper - lower) / 2

    @property
    def size(self) -> int:
        """Length of an action."""
        return ARM_ACTIONS * self.arms

    def decode(self, action: np.ndarray) -> Targets:
        """Return the targets that an action asks for.

        Raises:
            ValueError: The action is of another number of arms, or of another control mode.
        """
        a = np.asarray(action, dtype=float)
        if a.shape[-1:] != (self.size,):
            raise ValueError(
                f"an ee_pose action of {self.arms} arm(s) has {self.size} numbers, "
                f"got shape {a.shape}"
            )

        a = per_arm(a)
        turn = tf.quat_from_rotvec(a[..., PALM_ROTATION] * self._turn)
        return Targets(
            position=self.centre + a[..., PALM_POSITION] * POSITION_UNIT,
            quaternion=tf.quat_multiply(turn, self.nominal),
            hand=self._middle + a[..., HAND] * self._half,
        )

    def encode(self, targets: Targets) -> np.ndarray:
        """Return the action that asks for targets; not clipped to [-1, 1]."""
        turn = tf.quat_multiply(targets.quaternion, tf.quat_conjugate(self.nominal))
        parts = (
            (targets.position - self.centre) / POSITION_UNIT,
            tf.rotvec_from_quat(turn) / self._turn,
            (targets.hand - self._middle) / self._half,
        )
        action = np.concatenate(parts, axis=-1)
        return action.reshape(*action.shape[:-2], self.size)


def per_arm(actions: np.ndarray) -> np.ndarray:
    """Return `ee_pose` actions (..., 12 A) with one row of each arm, (..., A, 12)."""
    arms = actions.shape[-1] // ARM_ACTIONS
    return actions.reshape(*actions.shape[:-1], arms, ARM_ACTIONS)


def advance(command: Targets, goal: Targets) -> Targets:
    """Return the commands of the next control step: towards `goal`, as far as slew limits allow."""
    turn = tf.quat_multiply(goal.quaternion, tf.quat_conjugate(command.quaternion))
    turn = tf.quat_from_rotvec(_limited(tf.rotvec_from_quat(turn), ROTATION_SLEW))
    step = _limited(goal.position - command.position, POSITION_SLEW)
    return Targets(
        position=command.position + step,
        quaternion=tf.quat_normalize(tf.quat_multiply(turn, command.quaternion)),
        hand=command.hand + np.clip(goal.hand - command.hand, -HAND_SLEW, HAND_SLEW),
    )


def _limited(step: np.ndarray, limit: float) -> np.ndarray:
    """Shorten vectors (..., 3) to at most `limit`."""
    length = np.sqrt((step * step).sum(axis=-1, keepdims=True))
    return step * np.minimum(1.0, limit / np.maximum(length, 1e-12))
