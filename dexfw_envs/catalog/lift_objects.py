"""The objects of Lift: too big or too heavy for one hand, all standing upright.

Sizes are depth, width across the hands, and height.
"""

from __future__ import annotations

from dexfw_envs.catalog.object_spec import ObjectSpec, box, cylinder, make, sphere

_BOXES = (
    make("milk_case", "box", (box(0.116, 0.230, 0.095),), 1.78, "coated paperboard",
         (0.30, 0.55, 0.85), "tray of eight 200 ml milk cartons of 57 x 57 x 93 mm, full"),
    make("shoe_box", "box", (box(0.180, 0.300, 0.115),), 0.95, "coated paperboard",
         (0.80, 0.25, 0.20), "shoe box for a pair of 0.8 kg: 300 x 180 x 115 mm"),
    make("post_parcel", "box", (box(0.175, 0.250, 0.100),), 1.20, "coated paperboard",
         (0.76, 0.60, 0.42), "postal carton, size S, 250 x 175 x 100 mm, half full"),
    make("tea_chest", "box", (box(0.200, 0.200, 0.200),), 1.60, "bare wood",
         (0.70, 0.50, 0.30), "plywood box of 200 mm, 6 mm walls, 0.7 kg of tea"),
    make("toy_crate", "box", (box(0.160, 0.220, 0.140),), 0.60, "plastic",
         (0.95, 0.75, 0.15), "plastic toy crate of 5 l, 0.35 kg of bricks"),
    make("file_box", "box", (box(0.250, 0.280, 0.110),), 1.90, "lacquered wood",
         (0.35, 0.20, 0.12), "A4-wide drawer box, 280 x 250 x 110 mm, papers of 1.2 kg"),
    make("cereal_box", "box", (box(0.085, 0.230, 0.310),), 0.80, "coated paperboard",
         (0.95, 0.60, 0.20), "family cereal carton, 310 x 230 x 85 mm, 750 g net"),
    make("detergent_carton", "box", (box(0.150, 0.190, 0.260),), 2.50, "coated paperboard",
         (0.25, 0.70, 0.45), "laundry powder carton of 35 washes, 2.3 kg net"),
    make("gift_box", "box", (box(0.150, 0.150, 0.150),), 0.40, "printed aluminium",
         (0.85, 0.20, 0.50), "gift box of 150 mm with a metallised lining"),
    make("paper_ream_case", "box", (box(0.215, 0.300, 0.160),), 2.80, "coated paperboard",
         (0.92, 0.92, 0.88), "one 500-sheet A4 ream of 2.5 kg in a shipping case"),
    make("cake_box", "box", (box(0.260, 0.260, 0.130),), 1.10, "coated paperboard",
         (0.98, 0.85, 0.88), "bakery carton of 260 x 260 x 130 mm with a 0.9 kg cake"),
    make("speaker", "box", (box(0.180, 0.150, 0.240),), 2.30, "lacquered wood",
         (0.12, 0.12, 0.14), "bookshelf loudspeaker, 240 x 150 x 180 mm"),
    make("wipes_pack", "box", (box(0.110, 0.200, 0.120),), 0.75, "plastic",
         (0.55, 0.85, 0.85), "refill box of 3 x 80 wet wipes"),
    make("first_aid_case", "box", (box(0.120, 0.260, 0.190),), 1.40, "plastic",
         (0.10, 0.60, 0.25), "wall case to DIN 13157, 260 x 190 x 120 mm, filled"),
    make("bread_tin", "box", (box(0.170, 0.210, 0.155),), 1.00, "tinplate",
         (0.80, 0.80, 0.76), "tinplate bread bin of 5.5 l with a 0.5 kg loaf"),
)  # fmt: skip

_BALLS = (
    make("basketball", "ball", (sphere(0.1200),), 0.600, "rubber", (0.85, 0.42, 0.15),
         "FIBA rules, size 7: 750-770 mm around, 580-620 g"),
    make("football", "ball", (sphere(0.1100),), 0.430, "synthetic leather",
         (0.95, 0.95, 0.95), "IFAB laws of the game, law 2: 680-700 mm around, 410-450 g"),
    make("volleyball", "ball", (sphere(0.1045),), 0.270, "leather", (0.95, 0.85, 0.25),
         "FIVB rules: 650-670 mm around, 260-280 g"),
    make("handball", "ball", (sphere(0.0940),), 0.450, "synthetic leather", (0.20, 0.30, 0.75),
         "IHF rules, size 3: 580-600 mm around, 425-475 g"),
    make("medicine_ball", "ball", (sphere(0.1150),), 2.000, "leather", (0.45, 0.25, 0.15),
         "leather medicine ball of 2 kg, 230 mm across"),
    make("play_ball", "ball", (sphere(0.1300),), 0.160, "plastic", (0.90, 0.25, 0.30),
         "inflated vinyl play ball, 260 mm across"),
)  # fmt: skip

_JARS = (
    make("pickle_jar", "jar", (cylinder(0.150, 0.210), cylinder(0.110, 0.030, 0.210)), 2.70,
         "glass", (0.55, 0.65, 0.25), "2.65 l preserving jar, 150 mm across, two thirds full"),
    make("protein_tub", "jar", (cylinder(0.185, 0.205), cylinder(0.165, 0.025, 0.205)), 1.25,
         "plastic", (0.15, 0.15, 0.18), "4 l tub with screw lid, 1 kg of powder"),
    make("paint_tin", "jar", (cylinder(0.168, 0.155),), 2.40, "tinplate", (0.65, 0.66, 0.68),
         "2.5 l tin, 168 x 155 mm, two thirds full"),
    make("water_jug", "bottle", (cylinder(0.145, 0.220), cylinder(0.060, 0.060, 0.220)), 2.90,
         "plastic", (0.60, 0.80, 0.95), "3 l water bottle, 145 mm across, nearly full"),
    make("cookie_jar", "jar", (cylinder(0.170, 0.190), cylinder(0.130, 0.025, 0.190)), 1.70,
         "glass", (0.80, 0.65, 0.50), "3 l jar with lid: 1.2 kg of glass, 0.5 kg of cookies"),
)  # fmt: skip

LIFT_OBJECTS: tuple[ObjectSpec, ...] = _BOXES + _BALLS + _JARS
