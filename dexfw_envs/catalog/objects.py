"""The objects: shape, size, mass and surface of each, with the source of the figures.

Sizes and masses are those of real things (sport rules, packaging, produce grades). Friction
between hand and object is not published for such pairs: it is set by surface, smooth and hard
low, rough or soft high, within 0.8-1.0 as for a rubber-tipped hand.
"""

from __future__ import annotations

from dataclasses import dataclass

from dexfw_envs.catalog.lookup import find
from dexfw_envs.catalog.shapes import (
    Part,
    Quat,
    Vec3,
    centred,
    diagonal_inertia,
    height_at_rest,
    lying_quaternion,
)

# Geoms a scene keeps for each grasped object; it fills unused ones with inactive geoms.
PART_SLOTS = 3

UPRIGHT: Quat = (1.0, 0.0, 0.0, 0.0)

# (sliding friction, rolling friction [m]) of each surface against the hand.
SURFACES: dict[str, tuple[float, float]] = {
    "phenolic": (0.80, 0.0006),
    "steel": (0.82, 0.0006),
    "glass": (0.83, 0.0006),
    "aluminium": (0.84, 0.0006),
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


def _make(
    object_id: str,
    category: str,
    parts: tuple[Part, ...],
    mass: float,
    surface: str,
    rgb: Vec3,
    source: str,
    lying: bool = False,
) -> ObjectSpec:
    """Centre the parts on their mass and derive balance, inertia and resting pose."""
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
    )


def _sphere(radius: float, z: float = 0.0) -> Part:
    return Part("sphere", (radius, 0.0, 0.0), (0.0, 0.0, z))


def _cylinder(diameter: float, height: float, bottom: float = 0.0) -> Part:
    return Part("cylinder", (diameter / 2, height / 2, 0.0), (0.0, 0.0, bottom + height / 2))


def _capsule(radius: float, half_length: float, z: float) -> Part:
    return Part("capsule", (radius, half_length, 0.0), (0.0, 0.0, z))


def _box(x: float, y: float, z: float) -> Part:
    return Part("box", (x / 2, y / 2, z / 2))


def _spheroid(width: float, length: float) -> Part:
    """An ellipsoid of revolution about z."""
    return Part("ellipsoid", (width / 2, width / 2, length / 2))


_BALLS = (
    _make("baseball", "ball", (_sphere(0.0370),), 0.145, "leather", (0.93, 0.92, 0.88),
          "Official Baseball Rules 3.01: 9-9.25 in around, 5-5.25 oz"),
    _make("tennis_ball", "ball", (_sphere(0.0335),), 0.058, "felt", (0.80, 0.90, 0.20),
          "ITF Rules of Tennis, appendix I, type 2: 65.4-68.6 mm, 56.0-59.4 g"),
    _make("billiard_ball", "ball", (_sphere(0.0286),), 0.163, "phenolic", (0.75, 0.10, 0.12),
          "WPA equipment specifications: 57.15 mm, 156-170 g"),
    _make("lacrosse_ball", "ball", (_sphere(0.0318),), 0.146, "rubber", (0.95, 0.55, 0.10),
          "World Lacrosse and NCAA rules: 7.75-8 in around, 5-5.25 oz"),
    _make("petanque_boule", "ball", (_sphere(0.0365),), 0.700, "steel", (0.60, 0.62, 0.65),
          "FIPJP rules, article 2: 70.5-80 mm, 650-800 g"),
    _make("softball", "ball", (_sphere(0.0445),), 0.170, "synthetic leather", (0.85, 0.95, 0.30),
          "11-inch fastpitch softball: 10.875-11.125 in around, 5.875-6.125 oz"),
)  # fmt: skip

_CANS = (
    _make("slim_can", "can", (_cylinder(0.0530, 0.1110),), 0.215, "aluminium",
          (0.20, 0.40, 0.85), "200 ml slim beverage can, 53 mm body, full", lying=True),
    _make("drink_can", "can", (_cylinder(0.0662, 0.1152),), 0.357, "printed aluminium",
          (0.80, 0.12, 0.12),
          "330 ml beverage can, 66.2 x 115.2 mm, 13 g, full", lying=True),
    _make("food_can", "can", (_cylinder(0.0762, 0.1127),), 0.480, "tinplate",
          (0.72, 0.70, 0.62), "can 300 x 407 (3 x 4 7/16 in), 425 g net and 55 g of tinplate",
          lying=True),
    _make("spice_jar", "can", (_cylinder(0.0500, 0.0950),), 0.140, "glass",
          (0.55, 0.28, 0.10), "100 ml round glass spice jar: 90 g of glass, 50 g of spice",
          lying=True),
    _make("vitamin_jar", "can", (_cylinder(0.0600, 0.1030),), 0.100, "plastic",
          (0.95, 0.95, 0.98), "150 ml round packer jar with cap: 25 g of plastic, 75 g of tablets",
          lying=True),
)  # fmt: skip

_APPLE_SOURCE = "USDA FoodData Central, apple with skin: {} ({} in across), {} g"

_FRUIT = (
    _make("apple_tiny", "fruit", (_spheroid(0.0635, 0.0600),), 0.101, "waxy peel",
          (0.85, 0.75, 0.25), _APPLE_SOURCE.format("extra small", "2.5", 101)),
    _make("apple_small", "fruit", (_spheroid(0.0699, 0.0625),), 0.149, "rough peel",
          (0.60, 0.45, 0.20), _APPLE_SOURCE.format("small", "2.75", 149)),
    _make("apple_medium", "fruit", (_spheroid(0.0762, 0.0690),), 0.182, "waxy peel",
          (0.45, 0.75, 0.20), _APPLE_SOURCE.format("medium", "3", 182)),
    _make("apple_large", "fruit", (_spheroid(0.0826, 0.0710),), 0.223, "waxy peel",
          (0.75, 0.10, 0.15), _APPLE_SOURCE.format("large", "3.25", 223)),
    _make("pear", "fruit", (_spheroid(0.0640, 0.0780), _sphere(0.0180, 0.0400)), 0.178,
          "rough peel", (0.70, 0.75, 0.25), "USDA FoodData Central, pear: medium, 178 g",
          lying=True),
    _make("egg", "egg", (_spheroid(0.0464, 0.0600),), 0.071, "eggshell", (0.90, 0.78, 0.65),
          "USDA egg sizes: jumbo, 30 oz per dozen; density 1.05", lying=True),
    _make("painted_egg", "egg", (_spheroid(0.0580, 0.0860),), 0.098, "lacquered wood",
          (0.20, 0.55, 0.80), "wooden craft egg of goose-egg size; wood of density 0.65",
          lying=True),
    _make("eggplant", "fruit", (_spheroid(0.0620, 0.1100), _capsule(0.0200, 0.0150, 0.0400)),
          0.190, "waxy peel", (0.28, 0.10, 0.32),
          "small Italian type, 13 cm long and 6 cm across; density of the fruit 0.65",
          lying=True),
)  # fmt: skip

_PACKAGES = (
    _make("bottle", "bottle",
          (_cylinder(0.0650, 0.1500), _cylinder(0.0440, 0.0250, 0.1500),
           _cylinder(0.0280, 0.0300, 0.1750)),
          0.520, "plastic", (0.45, 0.75, 0.90), "0.5 l PET water bottle, 65 x 205 mm, full",
          lying=True),
    _make("cube", "box", (_box(0.060, 0.060, 0.060),), 0.151, "bare wood", (0.85, 0.65, 0.40),
          "60 mm beech block; density 0.70"),
    _make("small_carton", "box", (_box(0.063, 0.040, 0.105),), 0.270, "coated paperboard",
          (0.95, 0.60, 0.15), "250 ml drink carton, 63 x 40 x 105 mm, full",
          lying=True),
)  # fmt: skip

GRASP_OBJECTS: tuple[ObjectSpec, ...] = _BALLS + _CANS + _FRUIT + _PACKAGES

OBJECTS: dict[str, ObjectSpec] = {spec.id: spec for spec in GRASP_OBJECTS}


def get_object(object_id: str) -> ObjectSpec:
    """The object of this id.

    Raises:
        ValueError: If there is none; names the valid ids.
    """
    return find(OBJECTS, object_id, "object")
