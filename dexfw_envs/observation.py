"""The layout of an observation: what each number of the groups "proprio" and "object" is.

Every robot of the suite has arms of `ARM_JOINTS` joints and hands of `HAND_JOINTS` joints. For A
arms, the group "proprio" holds six blocks side by side, each arm by arm (right, then left):

    block             numbers of an arm   holds
    joint positions          19           the arm's 7 and the hand's 12 [rad]
    joint velocities         19           in the same order [rad/s]
    hand positions           12           the hand's again, as a block of its own [rad]
    hand velocities          12           the hand's again [rad/s]
    palm position             3           of the end effector in the table frame [m]
    palm quaternion           4           of the end effector in the table frame, wxyz

The group "object" holds 13 numbers of each object: position [m], quaternion wxyz, linear velocity
[m/s] and angular velocity [rad/s], all in the table frame.

Use `read_proprio` and `read_objects` instead of counting. The layout of an action is in
`dexfw_envs.control.codec`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ARM_JOINTS = 7
HAND_JOINTS = 12
FINGERTIPS = 5  # contact forces of a hand in the group "touch"

JOINTS_SIZE = ARM_JOINTS + HAND_JOINTS  # joints of an arm with its hand
POSITION_SIZE = 3
QUATERNION_SIZE = 4
VELOCITY_SIZE = 3
POSE_SIZE = POSITION_SIZE + QUATERNION_SIZE

PROPRIO_BLOCKS = (  # numbers of an arm in each block of "proprio"
    JOINTS_SIZE,
    JOINTS_SIZE,
    HAND_JOINTS,
    HAND_JOINTS,
    POSITION_SIZE,
    QUATERNION_SIZE,
)
PROPRIO_SIZE = sum(PROPRIO_BLOCKS)  # numbers of an arm in "proprio"
OBJECT_SIZE = POSE_SIZE + 2 * VELOCITY_SIZE  # numbers of an object in "object"

# The numbers of one object.
OBJECT_POSITION = slice(0, POSITION_SIZE)
OBJECT_QUATERNION = slice(POSITION_SIZE, POSE_SIZE)
OBJECT_POSE = slice(0, POSE_SIZE)
OBJECT_LINEAR_VELOCITY = slice(POSE_SIZE, POSE_SIZE + VELOCITY_SIZE)
OBJECT_ANGULAR_VELOCITY = slice(POSE_SIZE + VELOCITY_SIZE, OBJECT_SIZE)


@dataclass(frozen=True)
class Proprio:
    """What the group "proprio" says of A arms; views of the observation where possible."""

    arm_position: np.ndarray  # [rad], (..., A, 7)
    arm_velocity: np.ndarray  # [rad/s], (..., A, 7)
    hand_position: np.ndarray  # [rad], (..., A, 12)
    hand_velocity: np.ndarray  # [rad/s], (..., A, 12)
    palm_position: np.ndarray  # in the table frame [m], (..., A, 3)
    palm_quaternion: np.ndarray  # in the table frame, wxyz, (..., A, 4)

    @property
    def arms(self) -> int:
        """Number of arms A."""
        return self.palm_position.shape[-2]


@dataclass(frozen=True)
class Objects:
    """What the group "object" says of K objects; views of `rows`."""

    rows: np.ndarray  # all numbers of every object, (..., K, 13)

    @property
    def position(self) -> np.ndarray:
        """Positions in the table frame [m], (..., K, 3)."""
        return self.rows[..., OBJECT_POSITION]

    @property
    def quaternion(self) -> np.ndarray:
        """Orientations in the table frame, wxyz, (..., K, 4)."""
        return self.rows[..., OBJECT_QUATERNION]

    @property
    def pose(self) -> np.ndarray:
        """Positions and orientations, (..., K, 7)."""
        return self.rows[..., OBJECT_POSE]

    @property
    def linear_velocity(self) -> np.ndarray:
        """Velocities in the table frame [m/s], (..., K, 3)."""
        return self.rows[..., OBJECT_LINEAR_VELOCITY]

    @property
    def angular_velocity(self) -> np.ndarray:
        """Angular velocities in the table frame [rad/s], (..., K, 3)."""
        return self.rows[..., OBJECT_ANGULAR_VELOCITY]

    @property
    def quaternion_and_velocities(self) -> np.ndarray:
        """Everything but the position, (..., K, 10)."""
        return self.rows[..., POSITION_SIZE:]


def arm_count(proprio: np.ndarray) -> int:
    """Return how many arms the group "proprio" (..., 69 A) tells of."""
    return proprio.shape[-1] // PROPRIO_SIZE


def read_proprio(proprio: np.ndarray) -> Proprio:
    """Return what the group "proprio" (..., 69 A) says, by name."""
    arms = arm_count(proprio)
    ends = arms * np.cumsum(PROPRIO_BLOCKS)[:-1]
    blocks = np.split(proprio, ends, axis=-1)

    shape = (*proprio.shape[:-1], arms, -1)
    joints, velocities, hand, hand_velocity, position, quaternion = (
        block.reshape(shape) for block in blocks
    )
    return Proprio(
        arm_position=joints[..., :ARM_JOINTS],
        arm_velocity=velocities[..., :ARM_JOINTS],
        hand_position=hand,
        hand_velocity=hand_velocity,
        palm_position=position,
        palm_quaternion=quaternion,
    )


def read_objects(objects: np.ndarray) -> Objects:
    """Return what the group "object" (..., 13 K) says, by name."""
    count = objects.shape[-1] // OBJECT_SIZE
    return Objects(objects.reshape(*objects.shape[:-1], count, OBJECT_SIZE))
