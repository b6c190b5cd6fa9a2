"""Intervals: Wilson for one cell, bootstrap over seeds and tasks, paired differences."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from dexfw_envs.evaluation import wilson

__all__ = ["Estimate", "bootstrap", "paired_difference", "wilson"]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval."""

    value: float
    low: float
    high: float


def bootstrap(
    scores: np.ndarray, confidence: float = 0.95, repetitions: int = 5000, random_state: int = 0
) -> Estimate:
    """Mean score with a bootstrap interval over seeds, stratified by task (rliable).

    For the difference of two methods run with the same seeds and scenarios, pass the difference
    of their scores.

    Args:
        scores: Success of each run and task, (seeds, tasks), at least two seeds.
        confidence: Coverage in (0, 1).
        repetitions: Number of resamples.
        random_state: Seed of the resampling; the same seed gives the same interval.

    Returns:
        Mean over seeds and tasks with its percentile interval.

    Raises:
        ImportError: rliable is not installed.
        ValueError: `scores` has another shape, holds NaN, or has a single seed, whose spread
            nothing can tell (use `wilson`).
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] < 1:
        raise ValueError(f"scores must be (seeds >= 2, tasks >= 1), got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: leave out what was not run")
    try:
        from rliable.library import get_interval_estimates
    except ImportError as error:
        raise ImportError("the bootstrap needs rliable: pip install rliable") from error
    with _seeded(random_state):
        values, intervals = get_interval_estimates(
            {"all": scores},
            lambda sample: np.array([sample.mean()]),
            reps=repetitions,
            confidence_interval_size=confidence,
            random_state=np.random.RandomState(random_state),
        )
    low, high = intervals["all"][:, 0]
    return Estimate(float(values["all"][0]), float(low), float(high))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator for a while and put its state back.

    rliable 1.2 takes a `random_state` but resamples from the global generator all the same.
    """
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "random_state is deprecated", FutureWarning)
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def paired_difference(
    first: Sequence[bool] | np.ndarray,
    second: Sequence[bool] | np.ndarray,
    strata: Sequence | np.ndarray | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Difference in success of two methods on the same scenarios, first minus second.

    The interval is Bonett and Price's adjusted Wald interval for paired proportions (Statistics
    in Medicine 31, 2012): one is added to each count of discordant pairs, which keeps the
    coverage right for few pairs and for rates near 0 and 1. With strata (tasks), the
    differences of the strata are averaged with equal weight and their variances added.

    Args:
        first: Success per scenario, (n,).
        second: Success of the other method in the same scenarios, in the same order, (n,).
        strata: Label of each scenario, (n,), default one stratum.
        confidence: Coverage in (0, 1).

    Returns:
        Difference of the success fractions with its interval.

    Raises:
        ValueError: The shapes differ, nothing is given, or values are other than 0 and 1.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    labels = np.zeros(len(a)) if strata is None else np.asarray(strata)
    if a.ndim != 1 or not a.shape == b.shape == labels.shape or len(a) == 0:
        raise ValueError(f"need equal shapes (n,), got {a.shape}, {b.shape}, {labels.shape}")
    if not np.isin([a, b], (0.0, 1.0)).all():
        raise ValueError("successes must be 0 or 1")
    parts = [_adjusted_wald(a[labels == s], b[labels == s]) for s in np.unique(labels)]
    centre = np.mean([part[0] for part in parts])
    deviation = np.sqrt(np.sum([part[1] for part in parts])) / len(parts)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * deviation
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return Estimate(_mean_of(a - b, labels), float(low), float(high))


def _mean_of(difference: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([difference[labels == label].mean() for label in np.unique(labels)]))


def _adjusted_wald(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Centre and variance of the adjusted difference of one stratum."""
    n = len(a) + 2
    only_a, only_b = (np.sum(a > b) + 1) / n, (np.sum(a < b) + 1) / n
    difference = only_a - only_b
    return difference, (only_a + only_b - difference**2) / n
