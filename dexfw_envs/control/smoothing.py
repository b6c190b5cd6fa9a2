"""Smoothing of sequences by local fits."""

from __future__ import annotations

import numpy as np


def local_lines(steps: int, sigma: float) -> np.ndarray:
    """Return the matrix that replaces each value of a sequence by that of a line fitted around it.

    Straight sequences stay as they are, up to their ends, and jitter is damped.

    Args:
        steps: Length of the sequence.
        sigma: Standard deviation of the Gaussian weights of the fit [steps]; 0 for no smoothing.

    Returns:
        Float32 (steps, steps), to multiply the sequence with from the left.
    """
    if not sigma:
        return np.eye(steps, dtype=np.float32)
    apart = np.arange(steps) - np.arange(steps, dtype=float)[:, None]
    line = np.stack([np.ones_like(apart), apart], axis=-1)  # (steps, steps, 2)
    weighted = line * np.exp(-0.5 * (apart / sigma) ** 2)[..., None]
    normal = weighted.swapaxes(1, 2) @ line
    right = weighted.swapaxes(1, 2)
    return np.linalg.solve(normal, right)[:, 0].astype(np.float32)
