"""What every robot of the suite is described by: plain numbers with their unit and source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDES = ("right", "left")
FINGERS = ("thumb", "index", "middle", "ring", "little")
ARM_RADII = (0.06, 0.06, 0.055, 0.055, 0.05, 0.05, 0.045)  # of most arms' capsules [m]


@dataclass(frozen=True)
class ArmSpec:
    """A serial arm given by its modified Denavit-Hartenberg table (Craig's convention).

    Row i of the table is (a, alpha, d) of joint i in [m], [rad], [m]; the transform from link i-1
    to link i is RotX(alpha) TransX(a) RotZ(q) TransZ(d).
    """

    name: str
    dh: tuple[tuple[float, float, float], ...]
    flange: float  # distance from the last joint frame to the flange along its z axis [m]
    lower: tuple[float, ...]  # joint limits [rad]
    upper: tuple[float, ...]
    velocity: tuple[float, ...]  # [rad/s]
    effort: tuple[float, ...]  # [Nm]
    stiffness: tuple[float, ...]  # position gain [Nm/rad]
    damping: tuple[float, ...]  # velocity gain [Nms/rad]
    masses: tuple[float, ...]  # [kg], one per link
    centres: tuple[tuple[float, float, float], ...]  # centre of mass in the link frame [m]
    # xx yy zz xy xz yz in the link frame, about the centre of mass [kg m^2]
    inertias: tuple[tuple[float, float, float, float, float, float], ...]
    source: str
    radii: tuple[float, ...] = ARM_RADII  # of the capsules, one per joint [m]

    @property
    def joints(self) -> int:
        """Number of joints."""
        return len(self.dh)


@dataclass(frozen=True)
class HandSpec:
    """A five-finger hand: driven joints, and passive joints that follow them.

    Joint order: the `joint_names`; `driven[k]` is the index of driven joint k, in action order.
    A passive joint follows `offset + ratio * leader`; `couplings` holds (follower, leader, offset,
    ratio).
    """

    name: str
    joint_names: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    driven: tuple[int, ...]
    couplings: tuple[tuple[int, int, float, float], ...]
    stiffness: float  # [Nm/rad]
    damping: float  # [Nms/rad]
    effort: float  # [Nm]
    source: str

    @property
    def joints(self) -> int:
        """Number of joints, driven and passive."""
        return len(self.joint_names)

    @property
    def driven_joints(self) -> int:
        """Number of driven joints."""
        return len(self.driven)

    def driven_limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper limits of the driven joints [rad], each (6,)."""
        index = list(self.driven)
        return np.array(self.lower)[index], np.array(self.upper)[index]

    def full_positions(self, driven: np.ndarray) -> np.ndarray:
        """Complete driven joint positions by the couplings: (..., 6) to (..., 12) [rad]."""
        full = np.zeros((*driven.shape[:-1], self.joints))
        full[..., list(self.driven)] = driven
        for follower, leader, offset, ratio in self.couplings:
            value = offset + ratio * full[..., leader]
            full[..., follower] = np.clip(value, self.lower[follower], self.upper[follower])
        return full


@dataclass(frozen=True)
class Mount:
    """Where one arm stands and how its hand is mounted.

    The end-effector frame sits on the palm's surface: x along the straight fingers, z out of the
    palm, y completing a right-handed frame.

    Raises:
        ValueError: The side is neither "right" nor "left".
    """

    side: str  # "right" or "left"
    base_position: tuple[float, float, float]  # in the table frame [m]
    base_quaternion: tuple[float, float, float, float]  # wxyz
    palm_offset: tuple[float, float, float]  # flange to palm centre, in the flange frame [m]
    palm_quaternion: tuple[float, float, float, float]  # flange to palm, wxyz
    home: tuple[float, ...]  # arm joints at reset [rad]
    nominal_position: tuple[float, float, float]  # palm position of action zero [m]
    nominal_quaternion: tuple[float, float, float, float]  # palm orientation of action zero, wxyz
    rotation_unit: float = 0.8  # palm rotation of action one [rad]

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise ValueError(f"unknown side of a hand {self.side!r}; choose one of {SIDES}")


@dataclass(frozen=True)
class RobotSpec:
    """One or two equal arms, each with a hand."""

    name: str
    arm: ArmSpec
    hand: HandSpec
    mounts: tuple[Mount, ...]
    home_hand: tuple[float, ...]  # driven hand joints at reset [rad], (6,)

    @property
    def arms(self) -> int:
        """Number of arms."""
        return len(self.mounts)

    @property
    def joints(self) -> int:
        """Number of joints of one arm with its hand."""
        return self.arm.joints + self.hand.joints

    @property
    def commanded_joints(self) -> int:
        """Number of joints of one arm with its hand that are driven: what targets are given of."""
        return self.arm.joints + self.hand.driven_joints
