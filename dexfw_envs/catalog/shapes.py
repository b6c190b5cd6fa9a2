"""Parts that objects are built from, and what follows from them: mass, balance, resting height.

Sizes follow MuJoCo: sphere (radius), capsule and cylinder (radius, half length along z),
box (half sizes), ellipsoid (half axes); unused entries are 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dexfw_envs.transforms import Array, matrix_from_quat

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]

# How many of the three size entries each kind uses.
KINDS = {"sphere": 1, "capsule": 2, "cylinder": 2, "box": 3, "ellipsoid": 3}

# What a part is to others. A solid touches everything but the contents of vessels. A wall touches
# contents, hands and objects, but neither table nor floor. A lining touches contents alone, and
# goes with a hull around it: a hull is a solid that weighs nothing and is not drawn.
ROLES = ("solid", "wall", "lining", "hull")

# Products of inertia below this share of the largest moment count as zero.
_DIAGONAL_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Part:
    """One primitive of an object.

    Attributes:
        kind: One of `KINDS`.
        size: Half sizes in MuJoCo's convention, padded with 0 [m].
        position: Centre in the body frame [m].
        quaternion: Orientation in the body frame (w x y z).
        role: One of `ROLES`.

    Raises:
        ValueError: If the kind or the role is unknown or the sizes do not fit it.
    """

    kind: str
    size: Vec3
    position: Vec3 = (0.0, 0.0, 0.0)
    quaternion: Quat = (1.0, 0.0, 0.0, 0.0)
    role: str = "solid"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown part kind {self.kind!r}; valid kinds: {', '.join(KINDS)}")
        if self.role not in ROLES:
            raise ValueError(f"unknown part role {self.role!r}; valid roles: {', '.join(ROLES)}")
        used = KINDS[self.kind]
        if min(self.size[:used]) <= 0 or any(self.size[used:]):
            raise ValueError(
                f"a {self.kind} needs {used} positive sizes, padded with 0, got {self.size}"
            )


def volume(part: Part) -> float:
    """Volume of one part [m^3]; none for a hull, which has no mass."""
    if part.role == "hull":
        return 0.0
    a, b, c = part.size
    return {
        "sphere": 4 / 3 * math.pi * a**3,
        "capsule": math.pi * a**2 * (2 * b + 4 / 3 * a),
        "cylinder": math.pi * a**2 * 2 * b,
        "box": 8 * a * b * c,
        "ellipsoid": 4 / 3 * math.pi * a * b * c,
    }[part.kind]


def centre_of_mass(parts: tuple[Part, ...]) -> Array:
    """Centre of mass (3,) [m] at uniform density, overlaps counted twice as MuJoCo does."""
    weights = np.array([volume(part) for part in parts])
    return weights @ np.array([part.position for part in parts]) / weights.sum()


def centred(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The same parts with the body origin moved to their centre of mass."""
    centre = centre_of_mass(parts)
    return tuple(
        dataclasses.replace(part, position=tuple((np.array(part.position) - centre).tolist()))
        for part in parts
    )


def diagonal_inertia(parts: tuple[Part, ...], mass: float) -> Vec3:
    """Moments of inertia about the body axes [kg m^2] of parts centred on their mass.

    Args:
        parts: Parts whose centre of mass is the body origin.
        mass: Total mass, spread over the parts by volume [kg].

    Raises:
        ValueError: If the body axes are not principal axes: the object must be symmetric.
    """
    volumes = np.array([volume(part) for part in parts])
    total = np.zeros((3, 3))
    for part, share in zip(parts, mass * volumes / volumes.sum(), strict=True):
        turn = matrix_from_quat(part.quaternion)
        offset = np.array(part.position)
        total += turn @ np.diag(share * _unit_inertia(part)) @ turn.T
        total += share * (offset @ offset * np.eye(3) - np.outer(offset, offset))
    moments = np.diag(total)
    if np.abs(total - np.diag(moments)).max() > _DIAGONAL_TOLERANCE * moments.max():
        raise ValueError(f"the body axes are not principal axes; inertia is\n{total}")
    return (float(moments[0]), float(moments[1]), float(moments[2]))


def _unit_inertia(part: Part) -> Array:
    """Moments (3,) of one part about its own axes at a mass of 1 kg [m^2]."""
    a, b, c = part.size
    if part.kind == "sphere":
        return np.full(3, 0.4 * a**2)
    if part.kind == "box":
        return np.array([b * b + c * c, a * a + c * c, a * a + b * b]) / 3
    if part.kind == "ellipsoid":
        return np.array([b * b + c * c, a * a + c * c, a * a + b * b]) / 5
    if part.kind == "cylinder":
        across = a**2 / 4 + b**2 / 3
        return np.array([across, across, a**2 / 2])
    return _capsule_inertia(a, b)


def _capsule_inertia(radius: float, half: float) -> Array:
    """A cylinder and two half spheres, whose centres of mass lie 3/8 radius beyond its ends."""
    ends = (4 / 3 * radius) / (2 * half + 4 / 3 * radius)
    tube = 1 - ends
    along = tube * radius**2 / 2 + ends * 0.4 * radius**2
    across = tube * (radius**2 / 4 + half**2 / 3)
    across += ends * (0.4 * radius**2 + half**2 + 0.75 * half * radius)
    return np.array([across, across, along])


def reach(parts: tuple[Part, ...], direction: Array) -> float:
    """How far the object extends from the body origin along a unit body-frame direction [m]."""
    return max(
        float(np.dot(part.position, direction))
        + _part_reach(part, matrix_from_quat(part.quaternion).T @ direction)
        for part in parts
    )


def _part_reach(part: Part, direction: Array) -> float:
    a, b, c = part.size
    x, y, z = (abs(float(value)) for value in direction)
    if part.kind == "sphere":
        return a
    if part.kind == "capsule":
        return a + b * z
    if part.kind == "cylinder":
        return a * math.hypot(x, y) + b * z
    if part.kind == "box":
        return a * x + b * y + c * z
    return math.hypot(a * x, b * y, c * z)


def height_at_rest(parts: tuple[Part, ...], quaternion: Quat) -> float:
    """Height of the body origin above a flat support in the given orientation [m]."""
    return reach(parts, -matrix_from_quat(quaternion)[2])


def lying_quaternion(parts: tuple[Part, ...]) -> Quat:
    """Stable orientation of a body of revolution on its side, its long axis (z) along world y.

    The body tips about x until its centre of mass is lowest, within 30 degrees of level.
    """

    def height(tip: float) -> float:
        return height_at_rest(parts, _about_x(-math.pi / 2 - tip))

    tip = round(_minimum(height, -math.pi / 6, math.pi / 6), 6)
    return _about_x(-math.pi / 2 - tip)


def _about_x(angle: float) -> Quat:
    return (math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0)


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is lowest (golden-section search)."""
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-8:
        left = high - ratio * (high - low)
        right = low + ratio * (high - low)
        if function(left) < function(right):
            high = right
        else:
            low = left
    return (low + high) / 2
