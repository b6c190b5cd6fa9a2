"""The cups and bowls of Pour: prisms with flat sides that widen towards the rim.

Diameters are measured across the flats. A cup is held and poured from, a bowl stands on the table.
"""

from __future__ import annotations

import dataclasses
import math

from dexfw_envs.catalog.object_spec import ObjectSpec, cylinder, make
from dexfw_envs.catalog.shapes import Part, Vec3
from dexfw_envs.transforms import quat_from_rotvec, quat_from_yaw, quat_multiply

PARTS = 10  # a base, at most eight walls and a hull
# (wall, base) thickness [m]: thick enough that no ball gets through in one step.
THICKNESS = {"cup": (0.004, 0.006), "bowl": (0.006, 0.008)}


def _walls(foot: float, rim: float, height: float, thickness: float, sides: int) -> list[Part]:
    """Flat walls with outer faces `foot` [m] from the axis at the bottom and `rim` at the top."""
    lean = math.atan2(rim - foot, height)
    half = (thickness / 2, rim * math.tan(math.pi / sides), math.hypot(rim - foot, height) / 2)
    out = (foot + rim) / 2 - thickness / 2 * math.cos(lean)
    up = height / 2 + thickness / 2 * math.sin(lean)
    parts = []
    for side in range(sides):
        angle = 2 * math.pi * side / sides
        turn = quat_multiply(quat_from_yaw(angle), quat_from_rotvec((0.0, lean, 0.0)))
        w, x, y, z = turn.tolist()
        place = (out * math.cos(angle), out * math.sin(angle), up)
        parts.append(Part("box", half, place, (w, x, y, z), role="wall"))
    return parts


def _vessel(
    object_id: str,
    category: str,
    size: Vec3,
    mass: float,
    surface: str,
    rgb: Vec3,
    source: str,
    sides: int = 8,
) -> ObjectSpec:
    """Build a vessel of `size`: diameter of its walls at the bottom and at the rim, height [m]."""
    foot, rim, height = size[0] / 2, size[1] / 2, size[2]
    wall, bottom = THICKNESS[category]
    stand = foot if category == "cup" else rim / 2
    base = dataclasses.replace(cylinder(2 * stand, bottom), role="wall")
    hull = dataclasses.replace(cylinder(2 * stand, height), role="hull")
    parts = (base, *_walls(foot, rim, height, wall, sides), hull)
    floor = foot + (rim - foot) * bottom / height
    opening = (floor, rim, bottom, height)
    return make(object_id, category, parts, mass, surface, rgb, source, opening=opening)


POUR_CUPS: tuple[ObjectSpec, ...] = (
    _vessel("tumbler", "cup", (0.058, 0.072, 0.120), 0.110, "plastic", (0.20, 0.55, 0.85),
            "0.3 l polycarbonate tumbler"),
    _vessel("highball_glass", "cup", (0.062, 0.062, 0.145), 0.290, "glass", (0.60, 0.80, 0.80),
            "0.3 l highball glass"),
    _vessel("paper_cup", "cup", (0.060, 0.086, 0.110), 0.014, "coated paperboard",
            (0.95, 0.93, 0.88), "12 oz paper cup"),
    _vessel("steel_cup", "cup", (0.070, 0.078, 0.100), 0.140, "steel", (0.68, 0.70, 0.74),
            "0.35 l single-wall steel cup"),
    _vessel("square_glass", "cup", (0.058, 0.062, 0.110), 0.260, "glass", (0.70, 0.85, 0.70),
            "square water glass", sides=4),
    _vessel("hexagonal_beaker", "cup", (0.056, 0.070, 0.125), 0.085, "plastic",
            (0.85, 0.35, 0.55), "hexagonal picnic beaker", sides=6),
    _vessel("stoneware_cup", "cup", (0.074, 0.082, 0.098), 0.330, "lacquered wood",
            (0.75, 0.55, 0.40), "0.3 l stoneware cup without a handle"),
    _vessel("slim_glass", "cup", (0.048, 0.050, 0.150), 0.190, "glass", (0.85, 0.75, 0.45),
            "0.2 l cylindrical beer glass"),
    _vessel("pint_glass", "cup", (0.060, 0.086, 0.150), 0.400, "glass", (0.80, 0.60, 0.25),
            "16 oz mixing glass"),
    _vessel("bamboo_cup", "cup", (0.066, 0.066, 0.105), 0.120, "bare wood", (0.80, 0.70, 0.40),
            "bamboo cup"),
    _vessel("dice_cup", "cup", (0.076, 0.084, 0.105), 0.160, "leather", (0.35, 0.20, 0.12),
            "leather dice cup"),
    _vessel("travel_tumbler", "cup", (0.060, 0.084, 0.160), 0.270, "rubber", (0.15, 0.18, 0.20),
            "steel tumbler with a rubber coat"),
)  # fmt: skip

POUR_BOWLS: tuple[ObjectSpec, ...] = (
    _vessel("soup_bowl", "bowl", (0.042, 0.160, 0.060), 0.420, "glass", (0.92, 0.92, 0.95),
            "16 cm porcelain soup bowl"),
    _vessel("rice_bowl", "bowl", (0.044, 0.125, 0.060), 0.250, "lacquered wood",
            (0.70, 0.15, 0.12), "12 cm rice bowl"),
)  # fmt: skip
