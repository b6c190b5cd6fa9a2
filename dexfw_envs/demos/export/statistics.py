"""Statistics of features in LeRobot's form: least, greatest, mean, deviation, quantiles, count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
Statistics = dict[str, np.ndarray]


def of_rows(values: np.ndarray) -> Statistics:
    """Return the statistics of every number of a row.

    Args:
        values: (T,) or (T, K).

    Returns:
        Arrays of shape (K,), (1,) for (T,); "count" of shape (1,).
    """
    rows = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    statistics: Statistics = {"min": rows.min(0), "max": rows.max(0)}
    statistics |= {"mean": rows.mean(0), "std": rows.std(0), "count": np.array([len(rows)])}
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return statistics | dict(zip(QUANTILES, quantiles, strict=True))


class Pixels:
    """Statistics of RGB pictures per colour, from how often each of the 256 values occurs."""

    def __init__(self) -> None:
        self.frames = 0
        self.counts = np.zeros((3, 256), dtype=np.int64)

    def add(self, frame: np.ndarray) -> None:
        """Count the values of a picture, (height, width, 3) uint8."""
        self.frames += 1
        for colour in range(3):
            self.counts[colour] += np.bincount(frame[..., colour].ravel(), minlength=256)

    def statistics(self) -> Statistics:
        """Return arrays of shape (3, 1, 1), values from 0 to 1; "count" is that of pictures."""
        share = self.counts / self.counts.sum(axis=1, keepdims=True)
        value = np.arange(256) / 255.0
        mean = share @ value
        spread = np.sqrt(np.maximum(share @ value**2 - mean**2, 0.0))
        there = self.counts > 0
        statistics: Statistics = {
            "min": value[there.argmax(axis=1)],
            "max": value[255 - there[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": spread,
        }
        reached = np.cumsum(share, axis=1)

        for name, quantile in QUANTILES.items():
            statistics[name] = value[(reached >= quantile - 1e-12).argmax(axis=1)]
        statistics = {name: array.reshape(3, 1, 1) for name, array in statistics.items()}

        return statistics | {"count": np.array([self.frames])}


def merged(parts: Sequence[Statistics]) -> Statistics:
    """Return the statistics of several parts together.

    All but the quantiles are exact; those are the parts' means weighted by their counts, as
    LeRobot itself merges them.
    """
    counts = np.array([part["count"][0] for part in parts])
    weights = counts / counts.sum()

    def weighted(arrays: list[np.ndarray]) -> np.ndarray:
        return np.tensordot(weights, np.stack(arrays), axes=1)

    mean = weighted([part["mean"] for part in parts])
    variance = weighted([part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts])
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([counts.sum()]),
        **{name: weighted([part[name] for part in parts]) for name in QUANTILES},
    }
