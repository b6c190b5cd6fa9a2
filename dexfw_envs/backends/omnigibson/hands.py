"""Hands that are not ours: their palm frame, fingertips and joint ranges, measured when loaded.

OmniGibson's robots are files that this project cannot ship or read beforehand. What tasks need of a
hand follows from where its links are while the fingers are straight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.robots import inspire as hand_geometry
from dexfw_envs.robots.spec import HandSpec

# From the origin of the distal link to the tip, thumb first [m].
TIP_LENGTHS = (hand_geometry.THUMB_LENGTHS[2], *(hand_geometry.FINGER_LENGTHS[1],) * 4)


@dataclass(frozen=True)
class JointMap:
    """Turns the suite's hand angles into another hand's, joint by joint, by share of the range.

    Both hands have the same joints in the same order; 0 of the share is the straight finger.
    """

    lower: np.ndarray  # of the suite's hand [rad], (12,)
    upper: np.ndarray
    other_lower: np.ndarray  # of the other [rad], (12,)
    other_upper: np.ndarray

    def to_other(self, angles: np.ndarray) -> np.ndarray:
        """Map angles of the suite's hand (..., 12) to the other's [rad]."""
        share = (angles - self.lower) / (self.upper - self.lower)
        return self.other_lower + share * (self.other_upper - self.other_lower)

    def from_other(self, angles: np.ndarray) -> np.ndarray:
        """Map the other's angles (..., 12) back [rad]."""
        share = (angles - self.other_lower) / (self.other_upper - self.other_lower)
        return self.lower + share * (self.upper - self.lower)

    def rates_from_other(self, rates: np.ndarray) -> np.ndarray:
        """Map the other's joint velocities (..., 12) back [rad/s]."""
        return rates * (self.upper - self.lower) / (self.other_upper - self.other_lower)

    def to_other_rates(self, rates: np.ndarray) -> np.ndarray:
        """Map joint velocities of the suite's hand (..., 12) to the other's [rad/s]."""
        return rates * (self.other_upper - self.other_lower) / (self.upper - self.lower)


def joint_map(hand: HandSpec, lower: np.ndarray, upper: np.ndarray) -> JointMap:
    """Return the map to a hand with these limits [rad], (12,) each.

    Raises:
        ValueError: A joint of the other hand has no finite range.
    """
    span = upper - lower
    if lower.shape != (len(hand.joint_names),) or not (np.isfinite(span) & (span > 1e-3)).all():
        raise ValueError(
            f"the hand needs {len(hand.joint_names)} joints with finite ranges; its limits are "
            f"{np.round(lower, 3).tolist()} to {np.round(upper, 3).tolist()} rad"
        )
    return JointMap(np.array(hand.lower), np.array(hand.upper), lower, upper)


@dataclass(frozen=True)
class HandFrames:
    """Where a hand's links are with straight fingers, in any one frame.

    Attributes:
        proximal: Origins of the proximal links, thumb first [m], (5, 3).
        distal: Origins of the distal links [m], (5, 3).
        distal_quaternion: Their orientations, wxyz, (5, 4).
        right_handed: Whether it is a right hand.
    """

    proximal: np.ndarray
    distal: np.ndarray
    distal_quaternion: np.ndarray
    right_handed: bool

    def palm(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the palm's centre (3,) [m] and orientation (4,), as `Mount` defines the frame.

        Raises:
            ValueError: The fingers do not lie as in a hand: names or order are not as assumed.
        """
        knuckles = self.proximal[1:]
        ahead = self.distal[1:]
        self._check_order()
        x = _unit((ahead - knuckles).mean(axis=0))
        across = knuckles[3] - knuckles[0] if self.right_handed else knuckles[0] - knuckles[3]
        y = _unit(across - (across @ x) * x)
        z = np.cross(x, y)
        centre = knuckles.mean(axis=0)
        centre = centre - hand_geometry.FINGER_ROOT_X * x - hand_geometry.FINGER_ROOT_Z * z
        return centre, tf.quat_from_matrix(np.stack([x, y, z], axis=1))

    def _check_order(self) -> None:
        gaps = np.linalg.norm(np.diff(self.proximal[1:], axis=0), axis=1)
        thumb = np.linalg.norm(self.proximal[1:] - self.proximal[0], axis=1)
        if (gaps < 0.005).any() or thumb[0] >= thumb[3]:
            raise ValueError(
                "the hand's links are not ordered thumb, index, middle, ring, little: knuckles are "
                f"{np.round(gaps, 4).tolist()} m apart, and the thumb is "
                f"{np.round(thumb, 4).tolist()} m from them"
            )

    def tips(self) -> np.ndarray:
        """Return the fingertips in the frames of their distal links [m], (5, 3)."""
        along = self.distal - self.proximal
        along = along / np.linalg.norm(along, axis=1, keepdims=True)
        back = tf.quat_conjugate(self.distal_quaternion)
        return tf.quat_rotate(back, along) * np.array(TIP_LENGTHS)[:, None]


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
