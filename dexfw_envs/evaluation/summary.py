"""Success of a list of records: fraction, n and interval, in all and per object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from dexfw_envs.evaluation.records import mean_measures

if TYPE_CHECKING:
    pass


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a success probability.

    Args:
        successes: Number of successes.
        n: Number of episodes; 0 gives (0, 1).
        confidence: Coverage in (0, 1).

    Returns:
        Lower and upper end in [0, 1].

    Raises:
        ValueError: Not 0 <= successes <= n, or `confidence` outside (0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    if n == 0:
        return 0.0, 1.0

    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    scale = 1 + z**2 / n
    centre = (p + z**2 / (2 * n)) / scale
    half = z / scale * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)

    return low, high


def _rate(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    successes = sum(bool(record["success"]) for record in records)
    n = len(records)
    low, high = wilson(successes, n)
    return {"success": successes / n, "n": n, "low": low, "high": high}


def per_object(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return success, n and the Wilson interval of each object, by id in order of first use."""
    groups: dict[str, list] = {}
    for record in records:
        groups.setdefault(record["object"], []).append(record)
    return {name: _rate(group) for name, group in groups.items()}


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the scripts' `--evaluate --json` prints.

    Args:
        records: What `evaluate` returned.

    Returns:
        "success" (fraction), "n", "low" and "high" (95 % Wilson interval), "per_object" with
        the same four for each object and, where the task has any, "measures" with the mean of
        each over the episodes, at their ends; ready for `json.dumps`.

    Raises:
        ValueError: There are no records.
    """
    if not records:
        raise ValueError("no records to sum up")
    measures = mean_measures(records)
    figures = {**_rate(records), "per_object": per_object(records)}
    return figures | ({"measures": measures} if measures else {})
