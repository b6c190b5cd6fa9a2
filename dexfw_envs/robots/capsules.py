"""The capsules that an arm's links and its wrist are made of, for every simulator alike.

Link i reaches from its own joint to the next one; link 0 is the base. A capsule that ends at the
flange ends with its cap there, so that nothing of the arm reaches into the hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.robots import inspire as hand_geometry
from dexfw_envs.robots.spec import ArmSpec, Mount

FOREARM = 3  # the first link that is solid to objects and supports; those before stay away
SHORT = 1e-6  # a link shorter than this is a joint alone [m]


@dataclass(frozen=True)
class Capsule:
    """A capsule between two points of a link's frame."""

    start: np.ndarray  # centre of one cap [m], (3,)
    end: np.ndarray  # centre of the other [m], (3,)
    radius: float  # [m]


def joint_offset(row: tuple[float, float, float]) -> np.ndarray:
    """Return where the next joint is in a link's frame [m], (3,).

    Args:
        row: (a, alpha, d) of the next joint in [m], [rad], [m], by Craig's convention.
    """
    a, alpha, d = row
    return np.array([a, -np.sin(alpha) * d, np.cos(alpha) * d])


def link_capsules(arm: ArmSpec) -> list[Capsule | None]:
    """Return the capsule of every link from the base on, or None where two joints coincide."""
    tips = [joint_offset(row) for row in arm.dh]
    tips.append(np.array([0.0, 0.0, arm.flange]))
    radii = (*arm.radii, arm.radii[-1])
    capsules: list[Capsule | None] = [None] * len(tips)
    for link, (tip, radius) in enumerate(zip(tips, radii, strict=True)):
        if np.linalg.norm(tip) >= SHORT:
            capsules[link] = Capsule(np.zeros(3), tip, radius)

    last = max(link for link, capsule in enumerate(capsules) if capsule is not None)
    capsules[last] = _ending_at_its_tip(capsules[last])
    return capsules


def _ending_at_its_tip(capsule: Capsule | None) -> Capsule:
    """Return the capsule shortened by its end cap, at most to a ball at its start."""
    assert capsule is not None
    length = float(np.linalg.norm(capsule.end))
    kept = max(length - capsule.radius, 1e-3) / length
    return Capsule(capsule.start, kept * capsule.end, capsule.radius)


def wrist_capsule(mount: Mount) -> Capsule:
    """Return the wrist between flange and palm, in the flange's frame."""
    behind = np.array([hand_geometry.WRIST_END_X, 0.0, hand_geometry.WRIST_END_Z])
    turn = np.array(mount.palm_quaternion)
    end = np.array(mount.palm_offset) + tf.quat_rotate(turn, behind)
    return Capsule(np.zeros(3), end, hand_geometry.WRIST_RADIUS)
