"""Closed convex meshes of the catalogue's primitives, where a file format has no such primitive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dexfw_envs.catalog.shapes import Part

AROUND = 32  # segments around an axis
RINGS = 8  # rings of a half sphere


@dataclass(frozen=True)
class Mesh:
    """Points [m], (P, 3), and faces as tuples of indices, counter-clockwise from outside."""

    points: np.ndarray
    faces: tuple[tuple[int, ...], ...]


def part_mesh(part: Part) -> Mesh:
    """Return a part's surface in its own frame; curved ones touch the true surface from inside."""
    a, b, c = part.size
    if part.kind == "box":
        return _box(a, b, c)
    if part.kind == "cylinder":
        return _turned(np.array([[a, -b], [a, b]]))

    half = 0.5 * np.pi * np.arange(RINGS) / RINGS
    arc = np.stack([np.cos(half), np.sin(half)], axis=1)  # (RINGS, 2) from the equator upwards
    if part.kind == "capsule":
        upper = arc * a + np.array([0.0, b])
        return _turned(_mirrored(upper), tip=a + b)

    scale = np.array([1.0, 1.0, 1.0]) * a if part.kind == "sphere" else np.array([a, b, c])
    ball = _turned(_mirrored(arc)[1:], tip=1.0)
    return Mesh(ball.points * scale, ball.faces)


def _mirrored(upper: np.ndarray) -> np.ndarray:
    """Complete an upper outline by its mirror image below."""
    return np.concatenate([upper[::-1] * (1.0, -1.0), upper])


def _turned(outline: np.ndarray, tip: float | None = None) -> Mesh:
    """Turn an outline of (radius, height) rows, lowest first, about z; close it by tips or discs.

    Args:
        outline: (R, 2) [m].
        tip: Height of the upper pole, the lower one mirrored; flat ends if None.
    """
    angle = 2.0 * np.pi * np.arange(AROUND) / AROUND
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = [np.column_stack([r * circle, np.full(AROUND, h)]) for r, h in outline]
    points = np.concatenate(rings)
    last = len(rings) - 1
    faces: list[tuple[int, ...]] = []

    for ring in range(last):
        low = AROUND * ring
        high = AROUND * (ring + 1)
        for k in range(AROUND):
            n = (k + 1) % AROUND
            faces.append((low + k, low + n, high + n, high + k))

    top = AROUND * last
    if tip is None:
        faces.append(tuple(range(AROUND - 1, -1, -1)))
        faces.append(tuple(range(top, top + AROUND)))
        return Mesh(points, tuple(faces))

    south = len(points)
    north = len(points) + 1
    points = np.concatenate([points, [[0.0, 0.0, -tip], [0.0, 0.0, tip]]])
    for k in range(AROUND):
        n = (k + 1) % AROUND
        faces += [(south, n, k), (north, top + k, top + n)]

    return Mesh(points, tuple(faces))


def _box(a: float, b: float, c: float) -> Mesh:
    corners = [(x, y, z) for z in (-c, c) for y in (-b, b) for x in (-a, a)]
    faces = ((0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5))
    return Mesh(np.array(corners), faces)
