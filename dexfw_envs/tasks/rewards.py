"""Bounded building blocks of rewards."""

from __future__ import annotations

import numpy as np


def closeness(distance: np.ndarray, margin: float, rate: float) -> np.ndarray:
    """Score a distance [m]: 1 within `margin` [m], falling as exp(-rate * excess) to 0."""
    return np.exp(-rate * np.maximum(distance - margin, 0.0))


def height_progress(height: np.ndarray, start: np.ndarray, goal: float) -> np.ndarray:
    """Score height won [m] as `goal - |start + goal - height|`, in [-0.01, goal]."""
    return np.maximum(goal - np.abs(start + goal - height), -0.01)
