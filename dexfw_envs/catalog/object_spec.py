"""What an object of the catalogue is, and how one is put together from primitives.

Friction between hand and object is not published for such pairs: it is set by surface, smooth and
hard low, rough or soft high, within 0.8-1.0 as for a rubber-tipped hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dexfw_envs.catalog.shapes import (
    Part,
    Quat,
    Vec3,
    centre_of_mass,
    centred,
    diagonal_inertia,
    height_at_rest,
    lying_quaternion,
    reach,
)

UPRIGHT: Quat = (1.0, 0.0, 0.0, 0.0)

# (sliding friction, rolling friction [m]) of each surface against the hand.
SURFACES: dict[str, tuple[float, float]] = {
    "phenolic": (0.80, 0.0006),
    "steel": (0.82, 0.0006),
    "glass": (0.83, 0.0006),
    "aluminium": (0.84, 0.0006),
    "glazed stoneware": (0.85, 0.0006),
    "printed aluminium": (0.86, 0.0008),
    "tinplate": (0.87, 0.0006),
    "eggshell": (0.88, 0.0008),
    "waxy peel": (0.89, 0.0010),
    "plastic": (0.90, 0.0008),
    "lacquered wood": (0.91, 0.0008),
    "rough peel": (0.92, 0.0010),
    "coated paperboard": (0.93, 0.0008),
    "bare wood": (0.95, 0.0008),
    "leather": (0.96, 0.0008),
    "synthetic leather": (0.97, 0.0008),
    "rubber": (0.99, 0.0010),
    "felt": (1.00, 0.0012),
}


@dataclass(frozen=True)
class ObjectSpec:
    """One object. The body origin is its centre of mass, the body axes its principal axes.

    Attributes:
        id: Name in scenarios, results and file names.
        label: Name for people.
        category: Shape family, by which results may be grouped.
        parts: Primitives in the body frame.
        mass: Total mass [kg], spread evenly over the parts' volume.
        surface: Key of `SURFACES`.
        friction: Sliding friction between hand and object.
        rolling: Rolling friction [m].
        rgba: Colour.
        source: Where size and mass come from.
        inertia: Moments about the body axes [kg m^2].
        resting_quaternion: Stable orientation on a flat support at yaw 0 (w x y z). What lies
            on its side has its long axis along y.
        resting_height: Height of the body origin above the support in that orientation [m].
        opening: What a vessel encloses, in its body frame: distance of the walls' outer faces from
            the axis at the floor and at the rim, height of the floor and of the rim [m]; zeros for
            what holds nothing.
    """

    id: str
    label: str
    category: str
    parts: tuple[Part, ...]
    mass: float
    surface: str
    friction: float
    rolling: float
    rgba: tuple[float, float, float, float]
    source: str
    inertia: Vec3
    resting_quaternion: Quat
    resting_height: float
    opening: Quat = (0.0, 0.0, 0.0, 0.0)

    @property
    def extent(self) -> tuple[float, float]:
        """Lowest and highest point of the object along its own z axis [m]."""
        up = np.array([0.0, 0.0, 1.0])
        return -reach(self.parts, -up), reach(self.parts, up)


def make(
    object_id: str,
    category: str,
    parts: tuple[Part, ...],
    mass: float,
    surface: str,
    rgb: Vec3,
    source: str,
    lying: bool = False,
    opening: Quat = (0.0, 0.0, 0.0, 0.0),
) -> ObjectSpec:
    """Centre the parts on their mass and derive balance, inertia and resting pose.

    `opening` is given in the parts' own coordinates and moves along with them.
    """
    rise = float(centre_of_mass(parts)[2]) if any(opening) else 0.0
    parts = centred(parts)
    quaternion = lying_quaternion(parts) if lying else UPRIGHT
    friction, rolling = SURFACES[surface]

    return ObjectSpec(
        id=object_id,
        label=object_id.replace("_", " "),
        category=category,
        parts=parts,
        mass=mass,
        surface=surface,
        friction=friction,
        rolling=rolling,
        rgba=(*rgb, 1.0),
        source=source,
        inertia=diagonal_inertia(parts, mass),
        resting_quaternion=quaternion,
        resting_height=height_at_rest(parts, quaternion),
        opening=(*opening[:2], opening[2] - rise, opening[3] - rise),
    )


def sphere(radius: float, z: float = 0.0) -> Part:
    """A sphere at height z [m]."""
    return Part("sphere", (radius, 0.0, 0.0), (0.0, 0.0, z))


def cylinder(diameter: float, height: float, bottom: float = 0.0) -> Part:
    """An upright cylinder that stands at height `bottom` [m]."""
    return Part("cylinder", (diameter / 2, height / 2, 0.0), (0.0, 0.0, bottom + height / 2))


def capsule(radius: float, half_length: float, z: float) -> Part:
    """An upright capsule centred at height z [m]."""
    return Part("capsule", (radius, half_length, 0.0), (0.0, 0.0, z))


def box(x: float, y: float, z: float) -> Part:
    """A box of full sizes x, y, z [m]."""
    return Part("box", (x / 2, y / 2, z / 2))


def spheroid(width: float, length: float) -> Part:
    """An ellipsoid of revolution about z."""
    return Part("ellipsoid", (width / 2, width / 2, length / 2))
