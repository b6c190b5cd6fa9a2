"""Where things stand in every simulated scene, in the table frame: table, floor, head, cameras."""

from __future__ import annotations

from dexfw_envs.catalog.shapes import Vec3

TABLE_HALF_SIZE: Vec3 = (0.35, 0.45, 0.02)  # [m]
TABLE_CENTRE: Vec3 = (0.05, 0.0, -0.02)
FLOOR = -0.75  # height [m]
HEAD: Vec3 = (-0.48, 0.0, 0.95)  # of the two-armed robot [m]
HEAD_HALF_SIZE: Vec3 = (0.03, 0.09, 0.035)
COLUMN_RADII = {1: 0.08, 2: 0.05}  # by number of arms [m]
# By number of arms; name: (position, point looked at, vertical field of view [deg]).
CAMERAS: dict[int, dict[str, tuple[Vec3, Vec3, float]]] = {
    1: {
        "front": ((0.56, -0.34, 0.36), (-0.05, 0.0, 0.13), 42.0),
        "side": ((0.02, -0.78, 0.26), (-0.06, 0.0, 0.14), 40.0),
    },
    2: {
        "front": ((0.75, -0.42, 0.62), (-0.12, 0.0, 0.16), 44.0),
        "side": ((0.10, -1.05, 0.40), (-0.12, 0.0, 0.18), 44.0),
        "head": ((HEAD[0] + 0.05, 0.0, HEAD[2]), (0.02, 0.0, 0.08), 50.0),
    },
}
