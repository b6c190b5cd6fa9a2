"""The objects: shape, size, mass and surface of each, with the source of the figures.

Sizes and masses are those of real things (sport rules, packaging, produce grades).
"""

from __future__ import annotations

from dexfw_envs.catalog.handover_objects import HANDOVER_OBJECTS
from dexfw_envs.catalog.lift_objects import LIFT_OBJECTS
from dexfw_envs.catalog.lookup import find
from dexfw_envs.catalog.object_spec import (
    ObjectSpec,
    box,
    capsule,
    cylinder,
    make,
    sphere,
    spheroid,
)
from dexfw_envs.catalog.vessels import POUR_BOWLS, POUR_CUPS

_BALLS = (
    make("baseball", "ball", (sphere(0.0370),), 0.145, "leather", (0.93, 0.92, 0.88),
          "Official Baseball Rules 3.01: 9-9.25 in around, 5-5.25 oz"),
    make("tennis_ball", "ball", (sphere(0.0335),), 0.058, "felt", (0.80, 0.90, 0.20),
          "ITF Rules of Tennis, appendix I, type 2: 65.4-68.6 mm, 56.0-59.4 g"),
    make("billiard_ball", "ball", (sphere(0.0286),), 0.163, "phenolic", (0.75, 0.10, 0.12),
          "WPA equipment specifications: 57.15 mm, 156-170 g"),
    make("lacrosse_ball", "ball", (sphere(0.0318),), 0.146, "rubber", (0.95, 0.55, 0.10),
          "World Lacrosse and NCAA rules: 7.75-8 in around, 5-5.25 oz"),
    make("petanque_boule", "ball", (sphere(0.0365),), 0.700, "steel", (0.60, 0.62, 0.65),
          "FIPJP rules, article 2: 70.5-80 mm, 650-800 g"),
    make("softball", "ball", (sphere(0.0445),), 0.170, "synthetic leather", (0.85, 0.95, 0.30),
          "11-inch fastpitch softball: 10.875-11.125 in around, 5.875-6.125 oz"),
)  # fmt: skip

_CANS = (
    make("slim_can", "can", (cylinder(0.0530, 0.1110),), 0.215, "aluminium",
          (0.20, 0.40, 0.85), "200 ml slim beverage can, 53 mm body, full", lying=True),
    make("drink_can", "can", (cylinder(0.0662, 0.1152),), 0.357, "printed aluminium",
          (0.80, 0.12, 0.12),
          "330 ml beverage can, 66.2 x 115.2 mm, 13 g, full", lying=True),
    make("food_can", "can", (cylinder(0.0762, 0.1127),), 0.480, "tinplate",
          (0.72, 0.70, 0.62), "can 300 x 407 (3 x 4 7/16 in), 425 g net and 55 g of tinplate",
          lying=True),
    make("spice_jar", "can", (cylinder(0.0500, 0.0950),), 0.140, "glass",
          (0.55, 0.28, 0.10), "100 ml round glass spice jar: 90 g of glass, 50 g of spice",
          lying=True),
    make("vitamin_jar", "can", (cylinder(0.0600, 0.1030),), 0.100, "plastic",
          (0.95, 0.95, 0.98), "150 ml round packer jar with cap: 25 g of plastic, 75 g of tablets",
          lying=True),
)  # fmt: skip

_APPLE_SOURCE = "USDA FoodData Central, apple with skin: {} ({} in across), {} g"

_FRUIT = (
    make("apple_tiny", "fruit", (spheroid(0.0635, 0.0600),), 0.101, "waxy peel",
          (0.85, 0.75, 0.25), _APPLE_SOURCE.format("extra small", "2.5", 101)),
    make("apple_small", "fruit", (spheroid(0.0699, 0.0625),), 0.149, "rough peel",
          (0.60, 0.45, 0.20), _APPLE_SOURCE.format("small", "2.75", 149)),
    make("apple_medium", "fruit", (spheroid(0.0762, 0.0690),), 0.182, "waxy peel",
          (0.45, 0.75, 0.20), _APPLE_SOURCE.format("medium", "3", 182)),
    make("apple_large", "fruit", (spheroid(0.0826, 0.0710),), 0.223, "waxy peel",
          (0.75, 0.10, 0.15), _APPLE_SOURCE.format("large", "3.25", 223)),
    make("pear", "fruit", (spheroid(0.0640, 0.0780), sphere(0.0180, 0.0400)), 0.178,
          "rough peel", (0.70, 0.75, 0.25), "USDA FoodData Central, pear: medium, 178 g",
          lying=True),
    make("egg", "egg", (spheroid(0.0464, 0.0600),), 0.071, "eggshell", (0.90, 0.78, 0.65),
          "USDA egg sizes: jumbo, 30 oz per dozen; density 1.05", lying=True),
    make("painted_egg", "egg", (spheroid(0.0580, 0.0860),), 0.098, "lacquered wood",
          (0.20, 0.55, 0.80), "wooden craft egg of goose-egg size; wood of density 0.65",
          lying=True),
    make("eggplant", "fruit", (spheroid(0.0620, 0.1100), capsule(0.0200, 0.0150, 0.0400)),
          0.190, "waxy peel", (0.28, 0.10, 0.32),
          "small Italian type, 13 cm long and 6 cm across; density of the fruit 0.65",
          lying=True),
)  # fmt: skip

_PACKAGES = (
    make("bottle", "bottle",
          (cylinder(0.0650, 0.1500), cylinder(0.0440, 0.0250, 0.1500),
           cylinder(0.0280, 0.0300, 0.1750)),
          0.520, "plastic", (0.45, 0.75, 0.90), "0.5 l PET water bottle, 65 x 205 mm, full",
          lying=True),
    make("cube", "box", (box(0.060, 0.060, 0.060),), 0.151, "bare wood", (0.85, 0.65, 0.40),
          "60 mm beech block; density 0.70"),
    make("small_carton", "box", (box(0.063, 0.040, 0.105),), 0.270, "coated paperboard",
          (0.95, 0.60, 0.15), "250 ml drink carton, 63 x 40 x 105 mm, full",
          lying=True),
)  # fmt: skip

GRASP_OBJECTS: tuple[ObjectSpec, ...] = _BALLS + _CANS + _FRUIT + _PACKAGES

OBJECTS: dict[str, ObjectSpec] = {
    spec.id: spec
    for spec in (*GRASP_OBJECTS, *POUR_CUPS, *POUR_BOWLS, *LIFT_OBJECTS, *HANDOVER_OBJECTS)
}


def register_object(spec: ObjectSpec) -> ObjectSpec:
    """Add an object of one's own to the catalogue of this process and return it.

    Scenarios may name it from then on. The splits and the training of the tasks stay as they are.

    Args:
        spec: The object; `object_spec.make` derives balance, inertia and resting pose.

    Raises:
        TypeError: This is no `ObjectSpec`.
        ValueError: Another object has this id.
    """
    if not isinstance(spec, ObjectSpec):
        raise TypeError(f"register_object() takes an ObjectSpec, got {spec!r}")
    if OBJECTS.get(spec.id, spec) != spec:
        raise ValueError(f"the object id {spec.id!r} is taken; choose another")
    OBJECTS[spec.id] = spec
    return spec


def get_object(object_id: str) -> ObjectSpec:
    """The object of this id.

    Raises:
        ValueError: If there is none; names the valid ids.
    """
    return find(OBJECTS, object_id, "object")
