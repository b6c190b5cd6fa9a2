"""Intervals, a function for each kind; all are of 95 % where nothing else is asked.

| Of what | Function | Method |
|---|---|---|
| one proportion | `wilson` | Wilson's score interval |
| mean of the proportions of several tasks | `mean_of_proportions` | score interval, stratified |
| difference of two methods in the same scenes | `paired_difference` | Bonett and Price; MOVER |
| mean of a figure that each episode has | `mean_of_values` | normal |
| mean over runs with different seeds | `over_seeds` | Student's t |

The first four are over episodes: they say where other episodes of the same policies would come out.
The last says where runs with other seeds would. None is over both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from dexfw_envs.console.extras import load
from dexfw_envs.evaluation.summary import wilson

__all__ = [
    "Estimate",
    "mean_of_proportions",
    "mean_of_values",
    "over_seeds",
    "paired_difference",
    "score_limits",
    "t_quantile",
    "wilson",
]

HALVINGS = 40  # of a bracket: leaves 1e-12 of it
NEARLY_ZERO = 1e-12  # in place of a mean proportion of 0
QUANTILE_DECIMALS = 6  # more would hang on the machine's own functions


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval."""

    value: float
    low: float
    high: float


# --- proportions of several tasks


def mean_of_proportions(
    successes: Sequence[int], totals: Sequence[int], confidence: float = 0.95
) -> Estimate:
    """Mean of independent proportions, each with the same weight.

    The interval holds every mean that a score test does not reject: the distance of the observed
    mean, in standard errors of that mean under the tested one. The proportions that go with a
    tested mean are the likeliest ones of that mean (Miettinen and Nurminen, Statistics in Medicine
    4, 1985; for any linear combination: Martín Andrés, Álvarez Hernández and Herranz Tejedor,
    Statistical Methods in Medical Research 20, 2011). For one task it is Wilson's interval.

    Args:
        successes: Successes of each task, (tasks,).
        totals: Episodes of each task, (tasks,).
        confidence: Coverage in (0, 1).

    Returns:
        Mean of the success fractions with its interval.

    Raises:
        ValueError: The shapes differ, there is no task, a task has no episode, or more successes
            than episodes.
    """
    won = np.asarray(successes, dtype=np.float64)
    counts = np.asarray(totals, dtype=np.float64)
    if won.ndim != 1 or won.shape != counts.shape or len(won) == 0:
        raise ValueError(f"need equal shapes (tasks,), got {won.shape} and {counts.shape}")
    if (counts < 1).any() or (won < 0).any() or (won > counts).any():
        raise ValueError(f"need 0 to n successes of n >= 1, got {successes} of {totals}")

    low, high = score_limits(won[None], counts, confidence)
    return Estimate(float((won / counts).mean()), float(low[0]), float(high[0]))


def score_limits(
    successes: np.ndarray, totals: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the interval of `mean_of_proportions`, for many outcomes at once.

    Args:
        successes: Successes of each outcome and task, (N, tasks).
        totals: Episodes of each task, (tasks,).
        confidence: Coverage in (0, 1).

    Returns:
        Lower ends, (N,), and upper ends, (N,).
    """
    z = _normal_quantile(confidence)
    observed = (successes / totals).mean(axis=1)
    ends = []
    for extreme in (0.0, 1.0):
        accepted = observed.copy()
        rejected = np.full_like(observed, extreme)
        for _ in range(HALVINGS):
            tested = (accepted + rejected) / 2
            likeliest = _likeliest_of_mean(successes, totals, tested)
            variance = (likeliest * (1 - likeliest) / totals).sum(axis=1) / len(totals) ** 2
            inside = (observed - tested) ** 2 <= z**2 * variance
            accepted = np.where(inside, tested, accepted)
            rejected = np.where(inside, rejected, tested)
        ends.append(accepted)
    return ends[0], ends[1]


def _likeliest_of_mean(successes: np.ndarray, totals: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The likeliest proportions, (N, tasks), whose means are given, (N,).

    Setting the derivative of the likelihood's logarithm and the mean, times a multiplier m, equal
    gives m p**2 - (m + n) p + x = 0 for every task. The mean falls as m grows, so m is found by
    halving; a task's proportion is at most n / m, which bounds m.
    """
    most = totals.max()
    means = np.clip(means, NEARLY_ZERO, 1 - NEARLY_ZERO)
    low = -most / (1 - means)
    high = most / means
    for _ in range(HALVINGS):
        multiplier = (low + high) / 2
        too_large = _stationary(successes, totals, multiplier).mean(axis=1) > means
        low = np.where(too_large, multiplier, low)
        high = np.where(too_large, high, multiplier)
    return _stationary(successes, totals, (low + high) / 2)


def _stationary(successes: np.ndarray, totals: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    """The root in [0, 1] of m p**2 - (m + n) p + x = 0, (N, tasks).

    A negative m asks for the failures, whose equation is the same with -m: so nothing cancels.
    """
    m = multiplier[:, None]
    size = np.abs(m)
    counted = np.where(m < 0, totals - successes, successes)
    middle = size + totals
    root = np.sqrt(np.maximum(middle**2 - 4 * size * counted, 0.0))
    fraction = 2 * counted / (middle + root)
    return np.where(m < 0, 1 - fraction, fraction)


# --- two methods in the same scenes


def paired_difference(
    first: Sequence[bool] | np.ndarray,
    second: Sequence[bool] | np.ndarray,
    strata: Sequence | np.ndarray | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Difference in success of two methods on the same scenarios, first minus second.

    The interval is Bonett and Price's adjusted Wald interval for paired proportions (Statistics
    in Medicine 31, 2012): one is added to each count of discordant pairs, which keeps the
    coverage right for few pairs and for rates near 0 and 1. With strata (tasks), the differences
    are averaged with equal weight and their intervals put together by MOVER (Zou and Donner,
    Statistics in Medicine 27, 2008): the added counts draw every stratum's interval towards 0, and
    a mean of their centres would keep that while the interval itself gets narrower.

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
    a = np.asarray(first, dtype=np.float64)
    b = np.asarray(second, dtype=np.float64)
    labels = np.zeros(len(a)) if strata is None else np.asarray(strata)
    if a.ndim != 1 or not a.shape == b.shape == labels.shape or len(a) == 0:
        raise ValueError(f"need equal shapes (n,), got {a.shape}, {b.shape}, {labels.shape}")
    if not np.isin([a, b], (0.0, 1.0)).all():
        raise ValueError("successes must be 0 or 1")

    parts = [_bonett_price(a[labels == s], b[labels == s], confidence) for s in np.unique(labels)]
    return _mover_mean(parts)


def _bonett_price(a: np.ndarray, b: np.ndarray, confidence: float) -> Estimate:
    """Difference of one stratum with its adjusted Wald interval."""
    n = len(a) + 2
    only_a = (np.sum(a > b) + 1) / n
    only_b = (np.sum(a < b) + 1) / n
    centre = only_a - only_b
    half = _normal_quantile(confidence) * np.sqrt((only_a + only_b - centre**2) / n)
    low = max(-1.0, centre - half)
    high = min(1.0, centre + half)
    return Estimate(float((a - b).mean()), float(low), float(high))


def _mover_mean(parts: Sequence[Estimate]) -> Estimate:
    """Mean of independent estimates; below and above it, the root of their squared distances."""
    if len(parts) == 1:
        return parts[0]
    value = float(np.mean([part.value for part in parts]))
    below = math.sqrt(_in_order((part.value - part.low) ** 2 for part in parts)) / len(parts)
    above = math.sqrt(_in_order((part.high - part.value) ** 2 for part in parts)) / len(parts)
    return Estimate(value, value - below, value + above)


def _in_order(values: Iterable[float]) -> float:
    """Add from the first to the last: `sum` rounds otherwise from Python 3.12 on."""
    total = 0.0
    for value in values:
        total += value
    return total


# --- a figure of every episode


def mean_of_values(
    values: Sequence[float] | np.ndarray, lowest: float, highest: float, confidence: float = 0.95
) -> Estimate:
    """Mean of a figure that each episode has, with its normal interval within the figure's bounds.

    Args:
        values: The figure of each episode, (n,), at least one; one alone has no width.
        lowest: Least possible value.
        highest: Largest possible value.
        confidence: Coverage in (0, 1).
    """
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    half = 0.0
    if len(values) > 1:
        half = _normal_quantile(confidence) * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(mean, float(max(lowest, mean - half)), float(min(highest, mean + half)))


# --- runs with different seeds


def over_seeds(
    scores: np.ndarray, lowest: float = 0.0, highest: float = 1.0, confidence: float = 0.95
) -> Estimate:
    """Mean over seeds with Student's t interval of the seeds' means.

    A seed's mean is that over its tasks. For the difference of two methods run with the same seeds,
    pass the difference of their scores. To either side it takes 9.0 standard deviations of two
    seeds' means, 2.5 of three, 1.2 of five: two seeds say next to nothing. It supposes that seeds'
    means spread normally, and has no width where all seeds agree.

    Args:
        scores: Score of each seed and task, (seeds, tasks), at least two seeds.
        lowest: Least possible score: the interval ends there.
        highest: Largest possible score.
        confidence: Coverage in (0, 1).

    Raises:
        ValueError: `scores` has another shape, holds NaN, or has a single seed, whose spread
            nothing can tell.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] < 1:
        raise ValueError(f"scores must be (seeds >= 2, tasks >= 1), got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: leave out what was not run")

    means = scores.mean(axis=1)
    value = float(means.mean())
    error = means.std(ddof=1) / np.sqrt(len(means))
    half = t_quantile(0.5 + confidence / 2, len(means) - 1) * error
    return Estimate(value, float(max(lowest, value - half)), float(min(highest, value + half)))


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution, for a probability in [0.5, 1), to six decimals.

    Raises:
        ValueError: The probability is outside, or there is no degree of freedom.
        ImportError: SciPy is not installed.
    """
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"need 0.5 <= probability < 1, freedom >= 1: {probability}, {freedom}")

    stats = load("scipy.stats", "intervals over seeds need")
    return round(float(stats.t.ppf(probability, freedom)), QUANTILE_DECIMALS)


def _normal_quantile(confidence: float) -> float:
    """Standard errors to either side of a normal interval."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)
