"""Action spaces of chunk policies: palm targets seen from the palm, or from the table.

Relative means relative to one pose for a whole chunk, the palm pose measured when the chunk was
planned, and not from step to step: errors do not add up. Commands of the hand are absolute. A
target that was planned from one pose can be seen from another: decode it, and encode it again.
"""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import HAND, HAND_ACTIONS, PoseCodec, Targets, per_arm
from dexfw_envs.observation import read_proprio

_TINY = 1e-9  # shorter columns of a rotation have no direction

# The numbers of one arm in a relative action.
RELATIVE_SIZE = 15
_POSITION = slice(0, 3)
_X_AXIS = slice(3, 6)
_Y_AXIS = slice(6, 9)
_HAND = slice(9, RELATIVE_SIZE)


class RelativeActions:
    """Per arm 15 numbers: place of the palm target [m], two columns of its turn, hand command.

    Place and turn are seen from the measured palm; the turn is the x and the y axis of the target
    (six numbers without a jump), the hand command is that of the `ee_pose` action. After DexPIE
    (arXiv 2606.09615).

    Args:
        codec: The map of `ee_pose` actions of the environment.
    """

    def __init__(self, codec: PoseCodec) -> None:
        self.codec = codec
        self.size = RELATIVE_SIZE * codec.arms

    def encode(self, actions: np.ndarray, palms: tf.Pose) -> np.ndarray:
        """Return chunks of `ee_pose` actions as seen from measured palms.

        Args:
            actions: (..., H, 12 A).
            palms: Position [m] (..., A, 3) and quaternion (..., A, 4) of the palms, table frame.

        Returns:
            (..., H, 15 A).
        """
        position, quaternion = (np.asarray(part)[..., None, :, :] for part in palms)
        targets = self.codec.decode(actions)
        offset, turn = tf.relative(position, quaternion, targets.position, targets.quaternion)
        axes = tf.matrix_from_quat(tf.quat_normalize(turn))  # nominal turns are rounded numbers
        hand = per_arm(np.asarray(actions, dtype=float))[..., HAND]
        parts = np.concatenate([offset, axes[..., 0], axes[..., 1], hand], axis=-1)
        return parts.reshape(*parts.shape[:-2], self.size)

    def decode(self, relative: np.ndarray, palms: tf.Pose) -> np.ndarray:
        """Return the `ee_pose` actions (..., H, 12 A) of what `encode` gives; not clipped.

        The two columns need not be unit vectors, or at a right angle.
        """
        position, quaternion = (np.asarray(part)[..., None, :, :] for part in palms)
        r = np.asarray(relative, dtype=float)
        r = r.reshape(*r.shape[:-1], self.codec.arms, RELATIVE_SIZE)
        turn = tf.quat_from_matrix(_rotation(r[..., _X_AXIS], r[..., _Y_AXIS]))
        offset, turn = tf.compose(position, quaternion, r[..., _POSITION], turn)

        # The hand's commands are copied: through radians and back they would be rounded.
        hand = np.zeros((*offset.shape[:-1], HAND_ACTIONS))
        actions = per_arm(self.codec.encode(Targets(offset, turn, hand)))
        actions[..., HAND] = r[..., _HAND]
        return actions.reshape(*actions.shape[:-2], self.codec.size)


class AbsoluteActions:
    """The `ee_pose` actions as they are; `RelativeActions` tells the arguments."""

    def __init__(self, codec: PoseCodec) -> None:
        self.size = codec.size

    def encode(self, actions: np.ndarray, palms: tf.Pose) -> np.ndarray:
        """Return the actions (..., H, 12 A)."""
        return np.asarray(actions, dtype=float)

    def decode(self, relative: np.ndarray, palms: tf.Pose) -> np.ndarray:
        """Return the actions (..., H, 12 A)."""
        return np.asarray(relative, dtype=float)


ACTION_SPACES = {"relative": RelativeActions, "absolute": AbsoluteActions}


def measured_palms(proprio: np.ndarray) -> tf.Pose:
    """Return the palms' positions [m] (N, A, 3) and quaternions (N, A, 4) of an observation.

    Args:
        proprio: The group "proprio", (N, 69 A).
    """
    measured = read_proprio(np.asarray(proprio, dtype=float))
    return measured.palm_position, tf.quat_normalize(measured.palm_quaternion)


def _rotation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the rotation matrix (..., 3, 3) whose first axes are nearest to x and y (..., 3)."""
    x = _unit(x, np.array([1.0, 0.0, 0.0]))
    beside = y - (x * y).sum(axis=-1, keepdims=True) * x
    least = np.eye(3)[np.abs(x).argmin(axis=-1)]  # the axis of the frame that x is farthest from
    y = _unit(beside, np.cross(least, x))
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def _unit(v: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Scale vectors (..., 3) to length one; where there is no direction, take the other one."""
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    other = otherwise / np.linalg.norm(otherwise, axis=-1, keepdims=True)
    return np.where(length > _TINY, v / np.maximum(length, _TINY), other)
