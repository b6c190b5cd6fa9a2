"""Success of a list of records: fraction, n and interval, in all and per object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.evaluation.records import mean_measures
from dexfw_envs.world import SUNK

SECONDS_PER_MINUTE = 60.0

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


def rates(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return success, n, the Wilson interval, and the same per object, of all that has an outcome.

    Args:
        records: What `evaluate` returned, or rows with "object" and "success".

    Raises:
        ValueError: There are no records.
    """
    if not records:
        raise ValueError("no records to sum up")
    return {**_rate(records), "per_object": per_object(records)}


def longest_run(records: Sequence[Mapping[str, Any]]) -> int:
    """Return the most successes on end, in the order of the episodes."""
    longest = 0
    run = 0
    for record in records:
        run = run + 1 if record["success"] else 0
        longest = max(longest, run)
    return longest


def throughput(records: Sequence[Mapping[str, Any]]) -> float:
    """Return the successes per minute of robot time, resets not counted."""
    steps = sum(record["length"] for record in records)
    successes = sum(bool(record["success"]) for record in records)
    return successes / (steps * CONTROL_PERIOD / SECONDS_PER_MINUTE)


def deepest(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how deep the object of a success ever lay in links, hands and supports [mm].

    Empty where there is no success, or none that says so.
    """
    depths = {}
    for part in SUNK:
        known = [
            record[f"penetration_{part}"]
            for record in records
            if record["success"] and np.isfinite(record.get(f"penetration_{part}", np.nan))
        ]
        if known:
            depths[part] = max(known)
    return depths


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the scripts' `--evaluate --json` prints.

    Args:
        records: What `evaluate` returned.

    Returns:
        "success" (fraction), "n", "low" and "high" (95 % Wilson interval), "per_object" with
        the same four for each object; "throughput", successes per minute of robot time;
        "longest_run" of successes; where there are any, "penetration", the deepest in a success
        [mm], and "measures" with the mean of each over the episodes, at their ends. Ready for
        `json.dumps`.

    Raises:
        ValueError: There are no records.
    """
    measures = mean_measures(records)
    figures = {
        **rates(records),
        "throughput": throughput(records),
        "longest_run": longest_run(records),
    }
    for name, values in (("penetration", deepest(records)), ("measures", measures)):
        if values:
            figures[name] = values
    return figures
