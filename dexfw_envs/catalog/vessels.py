"""The cups and bowls of Pour: prisms with flat sides that widen towards the rim.

Diameters are measured across the flats. A cup is taken by a smooth hull of stacked cylinders, and
its balls see the flat walls inside: few convex solids under the fingers instead of eight boxes step
faster. A bowl is open: its walls touch the cup as well as the balls.
"""

from __future__ import annotations

import dataclasses
import math

from dexfw_envs.catalog.object_spec import ObjectSpec, cylinder, make
from dexfw_envs.catalog.shapes import Part, Vec3
from dexfw_envs.transforms import quat_from_rotvec, quat_from_yaw, quat_multiply

PARTS = 12  # a base, at most eight walls and at most three pieces of hull
# (wall, base) thickness [m]: thick enough that no ball gets through in one step.
THICKNESS = {"cup": (0.004, 0.006), "bowl": (0.006, 0.008)}
STEP = 0.004  # the pieces of a hull follow the walls to within half of this [m]


def _walls(
    foot: float, rim: float, height: float, thickness: float, sides: int, role: str
) -> list[Part]:
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
        position = (out * math.cos(angle), out * math.sin(angle), up)
        parts.append(Part("box", half, position, (w, x, y, z), role))
    return parts


def _hull(foot: float, rim: float, height: float, sides: int) -> list[Part]:
    """Solids around a cup: cylinders one on the other, or a box around four walls."""
    count = min(3, 1 + int((rim - foot) / STEP))
    piece = height / count
    parts = []
    for k in range(count):
        radius = foot + (rim - foot) * (k + 0.5 * (count > 1)) / count
        part = cylinder(2 * radius, piece, k * piece)
        if sides == 4:
            part = Part("box", (radius, radius, piece / 2), part.position)
        parts.append(dataclasses.replace(part, role="hull"))
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
    foot = size[0] / 2
    rim = size[1] / 2
    height = size[2]
    wall, bottom = THICKNESS[category]
    if category == "cup":
        base = cylinder(2 * foot, bottom)
        role = "lining"
        hull = _hull(foot, rim, height, sides)
    else:
        base = cylinder(rim, bottom)
        role = "wall"
        hull = [dataclasses.replace(base, role="hull")]

    floor = dataclasses.replace(base, role=role)
    parts = (floor, *_walls(foot, rim, height, wall, sides, role), *hull)
    opening = (foot + (rim - foot) * bottom / height, rim, bottom, height)

    return make(object_id, category, parts, mass, surface, rgb, source, opening=opening)


POUR_CUPS: tuple[ObjectSpec, ...] = (
    _vessel("tumbler", "cup", (0.058, 0.072, 0.120), 0.110, "plastic", (0.20, 0.55, 0.85),
            "0.3 l polycarbonate tumbler, 120 mm tall and 72 mm wide, 110 g"),
    _vessel("highball_glass", "cup", (0.058, 0.058, 0.145), 0.290, "glass", (0.60, 0.80, 0.80),
            "0.27 l straight highball glass, 58 x 145 mm, 290 g"),
    _vessel("paper_cup", "cup", (0.058, 0.086, 0.110), 0.014, "coated paperboard",
            (0.95, 0.93, 0.88), "12 oz (0.36 l) paper cup, rim 86-90 mm, 110 mm tall, 12-14 g"),
    _vessel("steel_cup", "cup", (0.062, 0.066, 0.105), 0.140, "steel", (0.68, 0.70, 0.74),
            "0.3 l double-wall camping cup of steel, 66 mm wide, 140 g"),
    _vessel("square_glass", "cup", (0.052, 0.058, 0.110), 0.260, "glass", (0.70, 0.85, 0.70),
            "0.25 l square water glass, thick base, 260 g", sides=4),
    _vessel("hexagonal_beaker", "cup", (0.048, 0.060, 0.125), 0.085, "plastic",
            (0.85, 0.35, 0.55), "0.25 l hexagonal picnic beaker of melamine, 85 g", sides=6),
    _vessel("stoneware_cup", "cup", (0.074, 0.082, 0.108), 0.330, "glazed stoneware",
            (0.75, 0.55, 0.40), "0.35 l stoneware cup without a handle, 330 g"),
    _vessel("slim_glass", "cup", (0.046, 0.048, 0.150), 0.190, "glass", (0.85, 0.75, 0.45),
            "0.2 l cylindrical beer glass (Stange), 48 x 150 mm, 190 g"),
    _vessel("pint_glass", "cup", (0.060, 0.088, 0.150), 0.400, "glass", (0.80, 0.60, 0.25),
            "16 oz (0.47 l) mixing glass, 88 x 150 mm, 400 g"),
    _vessel("bamboo_cup", "cup", (0.056, 0.056, 0.120), 0.120, "bare wood", (0.80, 0.70, 0.40),
            "cup cut from a bamboo stem 56 mm across, 120 g"),
    _vessel("dice_cup", "cup", (0.078, 0.086, 0.108), 0.160, "leather", (0.35, 0.20, 0.12),
            "stitched leather dice cup, 86 mm wide, 160 g"),
    _vessel("travel_tumbler", "cup", (0.062, 0.086, 0.160), 0.300, "rubber", (0.15, 0.18, 0.20),
            "0.6 l insulated steel tumbler with a rubber coat, 300 g"),
)  # fmt: skip

POUR_BOWLS: tuple[ObjectSpec, ...] = (
    _vessel("soup_bowl", "bowl", (0.042, 0.160, 0.060), 0.420, "glazed stoneware",
            (0.92, 0.92, 0.95), "16 cm porcelain soup bowl, 60 mm high, 420 g"),
    _vessel("rice_bowl", "bowl", (0.044, 0.125, 0.060), 0.250, "lacquered wood",
            (0.70, 0.15, 0.12), "12.5 cm wooden rice bowl, lacquered, 60 mm high, 250 g"),
)  # fmt: skip
