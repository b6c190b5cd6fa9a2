"""Bounded building blocks of rewards."""

from __future__ import annotations

import numpy as np


def closeness(distance: np.ndarray, margin: float, rate: float) -> np.ndarray:
    """Score a distance [m]: 1 within `margin` [m], falling as exp(-rate * excess) to 0."""
    return np.exp(-rate * np.maximum(distance - margin, 0.0))


def height_progress(height: np.ndarray, start: np.ndarray, goal: float) -> np.ndarray:
    """Score height won [m] as `goal - |start + goal - height|`, in [-0.01, goal]."""
    return np.maximum(goal - np.abs(start + goal - height), -0.01)


def tilt(quaternion: np.ndarray) -> np.ndarray:
    """Angle between a body's z axis and the vertical [deg], (...,) for quaternions (..., 4)."""
    x, y = quaternion[..., 1], quaternion[..., 2]
    return np.degrees(np.arccos(np.clip(1.0 - 2.0 * (x * x + y * y), -1.0, 1.0)))
