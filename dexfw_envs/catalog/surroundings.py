"""The 12 surroundings: coloured light, the look of the table and its friction.

After the scenes of the DexFlyWheel paper (strong green, cyan, magenta, yellow, ... light and
changed table tops). In state observations only the friction of the table shows.
"""

from __future__ import annotations

from dataclasses import dataclass

from dexfw_envs.catalog.lookup import find

Vec3 = tuple[float, float, float]

# Built-in patterns a table top may have.
TEXTURES = ("flat", "checker", "gradient")


@dataclass(frozen=True)
class Surroundings:
    """Lights and table of one scene.

    Attributes:
        id: Name in scenarios and results.
        label: Name for people.
        light_diffuse: Colour of the lamp, each channel in [0, 1].
        light_ambient: Colour of the light from everywhere, each channel in [0, 1].
        light_direction: Where the lamp shines in the table frame; need not be unit length.
        table_rgba: Main colour of the table top.
        table_texture: One of `TEXTURES`.
        table_friction: Sliding friction between object and table.

    Raises:
        ValueError: If the texture is unknown, a colour is out of range or the lamp points up.
    """

    id: str
    label: str
    light_diffuse: Vec3
    light_ambient: Vec3
    light_direction: Vec3
    table_rgba: tuple[float, float, float, float]
    table_texture: str
    table_friction: float

    def __post_init__(self) -> None:
        if self.table_texture not in TEXTURES:
            raise ValueError(
                f"unknown texture {self.table_texture!r}; valid: {', '.join(TEXTURES)}"
            )
        channels = (*self.light_diffuse, *self.light_ambient, *self.table_rgba)
        if min(channels) < 0 or max(channels) > 1:
            raise ValueError(f"{self.id}: colours must be in [0, 1], got {channels}")
        if self.light_direction[2] >= 0 or self.table_friction <= 0:
            raise ValueError(f"{self.id}: the lamp must point down and friction be positive")


def _make(
    name: str, diffuse: Vec3, ambient: Vec3, direction: Vec3, rgb: Vec3, texture: str, mu: float
) -> Surroundings:
    label = name.replace("_", " ")
    return Surroundings(name, label, diffuse, ambient, direction, (*rgb, 1.0), texture, mu)


SURROUNDINGS: tuple[Surroundings, ...] = (
    _make("neutral", (0.70, 0.70, 0.70), (0.30, 0.30, 0.30), (0.0, 0.0, -1.0),
          (0.60, 0.60, 0.62), "flat", 0.80),
    _make("green_light", (0.15, 0.85, 0.20), (0.05, 0.22, 0.08), (0.3, -0.3, -1.0),
          (0.60, 0.60, 0.62), "flat", 0.70),
    _make("oak_table", (0.75, 0.68, 0.58), (0.28, 0.26, 0.24), (-0.3, 0.4, -1.0),
          (0.62, 0.42, 0.24), "gradient", 0.90),
    _make("cyan_light", (0.10, 0.80, 0.85), (0.04, 0.22, 0.24), (0.5, 0.2, -1.0),
          (0.80, 0.80, 0.78), "flat", 0.60),
    _make("magenta_light", (0.85, 0.12, 0.75), (0.24, 0.05, 0.22), (-0.4, -0.4, -1.0),
          (0.55, 0.52, 0.50), "gradient", 1.00),
    _make("tile_table", (0.65, 0.70, 0.78), (0.28, 0.29, 0.31), (0.2, 0.5, -1.0),
          (0.92, 0.92, 0.90), "checker", 0.55),
    _make("yellow_light", (0.88, 0.80, 0.12), (0.24, 0.22, 0.05), (0.0, -0.6, -1.0),
          (0.35, 0.35, 0.40), "flat", 0.85),
    _make("rubber_mat", (0.60, 0.60, 0.60), (0.22, 0.22, 0.22), (0.6, 0.0, -1.0),
          (0.10, 0.12, 0.12), "flat", 1.10),
    _make("red_light", (0.90, 0.15, 0.12), (0.25, 0.05, 0.05), (-0.6, 0.1, -1.0),
          (0.75, 0.72, 0.65), "checker", 0.75),
    _make("blue_light", (0.15, 0.25, 0.92), (0.05, 0.08, 0.26), (0.4, -0.5, -1.0),
          (0.50, 0.36, 0.24), "gradient", 0.65),
    _make("steel_table", (0.80, 0.82, 0.88), (0.20, 0.20, 0.22), (-0.2, -0.6, -1.0),
          (0.68, 0.71, 0.75), "gradient", 0.50),
    _make("dim_violet", (0.34, 0.18, 0.50), (0.12, 0.07, 0.16), (-0.5, 0.5, -1.0),
          (0.20, 0.45, 0.30), "checker", 0.95),
)  # fmt: skip

_BY_ID = {entry.id: entry for entry in SURROUNDINGS}


def get_surroundings(surroundings_id: str) -> Surroundings:
    """The surroundings of this id.

    Raises:
        ValueError: If there are none; names the valid ids.
    """
    return find(_BY_ID, surroundings_id, "surroundings")
