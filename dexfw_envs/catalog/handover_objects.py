"""The objects of Handover: slim enough for one hand, tall enough for two hands one above the other.

Sizes are depth, width across the hands, and height; all stand upright.
"""

from __future__ import annotations

from dexfw_envs.catalog.object_spec import ObjectSpec, box, cylinder, make

_CARTONS = (
    make("drink_carton", "box", (box(0.058, 0.050, 0.172),), 0.345, "coated paperboard",
         (0.95, 0.75, 0.20), "330 ml drink carton with cap, 58 x 50 x 172 mm, full"),
    make("spaghetti_box", "box", (box(0.060, 0.034, 0.262),), 0.280, "coated paperboard",
         (0.15, 0.30, 0.65), "half a 500 g spaghetti carton, 262 x 60 x 34 mm"),
    make("toothpaste_box", "box", (box(0.045, 0.037, 0.190),), 0.125, "printed aluminium",
         (0.90, 0.30, 0.30), "carton of a 100 ml toothpaste tube, 190 x 45 x 37 mm"),
    make("cracker_box", "box", (box(0.072, 0.040, 0.205),), 0.230, "coated paperboard",
         (0.85, 0.55, 0.25), "cracker carton, 205 x 72 x 40 mm, 200 g net"),
    make("foil_box", "box", (box(0.048, 0.048, 0.290),), 0.330, "bare wood",
         (0.70, 0.72, 0.75), "carton of a 20 m aluminium foil roll, 290 mm long, rough board"),
    make("tea_box", "box", (box(0.068, 0.046, 0.160),), 0.110, "coated paperboard",
         (0.25, 0.55, 0.30), "carton of 25 tea bags in foil, 160 x 68 x 46 mm"),
    make("cream_carton", "box", (box(0.054, 0.054, 0.160),), 0.430, "plastic",
         (0.92, 0.92, 0.96), "0.4 l cream carton, 54 mm square, full"),
    make("soup_carton", "box", (box(0.070, 0.056, 0.200),), 0.520, "coated paperboard",
         (0.80, 0.35, 0.15), "0.5 l soup carton, 70 x 56 x 200 mm, full"),
    make("syrup_carton", "box", (box(0.064, 0.044, 0.220),), 0.470, "waxy peel",
         (0.70, 0.20, 0.45), "waxed carton of 0.45 l, 220 x 64 x 44 mm, full"),
    make("pencil_case", "box", (box(0.055, 0.040, 0.210),), 0.180, "tinplate",
         (0.20, 0.60, 0.70), "tin pencil case, 210 x 55 x 40 mm, filled"),
    make("chocolate_box", "box", (box(0.076, 0.034, 0.180),), 0.150, "lacquered wood",
         (0.35, 0.18, 0.10), "slim box of chocolates, 180 x 76 x 34 mm, lacquered lid"),
    make("domino_box", "box", (box(0.052, 0.044, 0.185),), 0.380, "bare wood",
         (0.80, 0.62, 0.40), "sliding wooden box of double-six dominoes, 185 x 52 x 44 mm"),
)  # fmt: skip

_BOTTLES = (
    make("sauce_bottle", "bottle", (cylinder(0.055, 0.150), cylinder(0.026, 0.050, 0.150)),
         0.420, "glass", (0.75, 0.15, 0.10), "250 ml sauce bottle, 55 x 200 mm, full"),
    make("shampoo_bottle", "bottle", (cylinder(0.060, 0.170), cylinder(0.038, 0.030, 0.170)),
         0.330, "plastic", (0.35, 0.70, 0.75), "300 ml shampoo bottle, 60 x 200 mm, full"),
    make("sports_bottle", "bottle", (cylinder(0.068, 0.180), cylinder(0.045, 0.040, 0.180)),
         0.300, "rubber", (0.95, 0.45, 0.10), "0.6 l squeeze bottle, 68 mm across, a third full"),
    make("thermos_flask", "bottle", (cylinder(0.066, 0.205), cylinder(0.052, 0.040, 0.205)),
         0.480, "steel", (0.55, 0.57, 0.62), "0.35 l steel vacuum flask, 245 mm tall, half full"),
)  # fmt: skip

_JARS = (
    make("olive_jar", "jar", (cylinder(0.060, 0.140), cylinder(0.056, 0.018, 0.140)), 0.390,
         "glass", (0.45, 0.55, 0.20), "tall 314 ml jar, 60 x 158 mm, half full"),
    make("asparagus_jar", "jar", (cylinder(0.064, 0.165), cylinder(0.060, 0.018, 0.165)), 0.550,
         "glass", (0.80, 0.85, 0.60), "370 ml jar, 64 x 183 mm, full"),
    make("chips_tube", "can", (cylinder(0.075, 0.235),), 0.215, "coated paperboard",
         (0.85, 0.15, 0.15), "stacked crisps in a board tube, 75 x 235 mm, 175 g net"),
    make("spray_can", "can", (cylinder(0.052, 0.180), cylinder(0.036, 0.030, 0.180)), 0.260,
         "printed aluminium", (0.30, 0.30, 0.80), "200 ml spray can, 52 x 210 mm"),
)  # fmt: skip

HANDOVER_OBJECTS: tuple[ObjectSpec, ...] = _CARTONS + _BOTTLES + _JARS
