"""Answers to queries: our figures, from the records and summaries of a folder of results alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from benchmark.figures import data_generation, pie_collection
from benchmark.figures.query import Query, reference
from benchmark.figures.results import Measurement, Results
from benchmark.figures.stats import (
    mean_of_proportions,
    mean_of_values,
    over_seeds,
    paired_difference,
    wilson,
)
from benchmark.grid.variants import GRID
from dexfw_envs.evaluation.records import Record

QUANTITIES = data_generation.QUANTITIES | pie_collection.QUANTITIES


def answer(results: Results, query: Query) -> Measurement | None:
    """Return our figure for a query, None where it was not run."""
    if query.task == "mean":
        return _mean(results, [replace(query, task=task) for task in tasks_of(query.method)])
    if query.quantity == "difference":
        return difference(results, query)
    if query.quantity == "progress":
        return progress(results, query)
    return QUANTITIES.get(query.quantity, success)(results, query)


def tasks_of(method: str) -> tuple[str, ...]:
    """Tasks over which a method's mean is taken."""
    return next(row.tasks for row in GRID if row.method == method)


def _mean(results: Results, each: Sequence[Query]) -> Measurement | None:
    """Mean over the tasks, only if all were run."""
    quantity = each[0].quantity
    if quantity == "difference":
        return difference(results, *each)
    if quantity not in QUANTITIES and quantity != "progress":
        return mean_success(results, each)

    parts = [answer(results, query) for query in each]
    known = [part for part in parts if part is not None]
    if len(known) < len(each):
        return None
    return Measurement(
        float(np.mean([part.value for part in known])),
        **_seeds_of([part.seeds for part in known]),
        runs=_joined(part.runs for part in known),
        made_by=_joined(part.made_by for part in known),
    )


def _joined(parts: Iterable[tuple]) -> tuple:
    return tuple(sorted({item for part in parts for item in part}))


def _seeds_of(tasks: Sequence[Iterable[int]]) -> dict[str, Any]:
    """The seeds of all tasks of a mean, and whether some task has others."""
    each = [frozenset(seeds) for seeds in tasks]
    return {"seeds": tuple(sorted(frozenset.union(*each))), "uneven": len(set(each)) > 1}


def _sources(records: Sequence[Record]) -> dict[str, Any]:
    return {
        "seeds": tuple(sorted({row["seed"] for row in records})),
        "runs": tuple(sorted({_run_of(row) for row in records})),
        "made_by": tuple(sorted({(row["commit"], row["command"]) for row in records})),
    }


def _run_of(row: Record) -> tuple[str, str, str, int]:
    return row["method"], row["variant"], row["task"], row["seed"]


def success(results: Results, query: Query) -> Measurement | None:
    """Success in a split, the quantity's name, with the Wilson interval of all seeds' episodes."""
    rows = results.records(query, query.quantity)
    if not rows:
        return None
    n = len(rows)
    successes = sum(row["success"] for row in rows)
    low, high = wilson(successes, n)
    return Measurement(100 * successes / n, 100 * low, 100 * high, n, **_sources(rows))


def progress(results: Results, query: Query) -> Measurement | None:
    """Mean progress of the episodes on T_OEP, with its normal interval."""
    rows = [row for row in results.records(query, "T_OEP") if np.isfinite(row["progress"])]
    if not rows:
        return None
    mean = mean_of_values([100 * row["progress"] for row in rows], 0.0, 100.0)
    return Measurement(mean.value, mean.low, mean.high, len(rows), **_sources(rows))


def mean_success(results: Results, each: Sequence[Query]) -> Measurement | None:
    """Mean over all tasks, with intervals over the episodes of all seeds and over the seeds."""
    tasks = [results.records(query, query.quantity) for query in each]
    if not all(tasks):
        return None
    successes = tuple(sum(row["success"] for row in rows) for rows in tasks)
    counts = tuple(len(rows) for rows in tasks)
    mean = _mean_of_proportions(successes, counts)

    seeds = [{row["seed"] for row in rows} for rows in tasks]
    common = set.intersection(*seeds)
    scores = np.array([_success_by_seed(rows, common) for rows in tasks]).T  # (seeds, tasks)
    sources = _sources([row for rows in tasks for row in rows])
    sources |= _seeds_of(seeds)
    sources |= _between_seeds(scores, 0.0)
    return Measurement(100 * mean.value, 100 * mean.low, 100 * mean.high, sum(counts), **sources)


#: Tables and plots ask for the same means again, and each takes a tenth of a second.
_mean_of_proportions = cache(mean_of_proportions)


def _success_by_seed(rows: Sequence[Record], seeds: Iterable[int]) -> list[float]:
    """Success of each seed, in their order."""
    means = []
    for seed in sorted(seeds):
        outcomes = [row["success"] for row in rows if row["seed"] == seed]
        means.append(float(np.mean(outcomes)))
    return means


def _between_seeds(scores: np.ndarray, lowest: float) -> dict[str, float]:
    """Interval over seeds of scores (seeds, tasks) from the lowest one to 1; none for one seed."""
    if len(scores) < 2:
        return {}
    mean = over_seeds(scores, lowest)
    return {"seed_low": 100 * mean.low, "seed_high": 100 * mean.high}


def difference(results: Results, *each: Query) -> Measurement | None:
    """The method itself less another one on T_OEP, once for each task of a mean."""
    pairs = [(reference(query, results.turns), query) for query in each]
    return contrast(results, pairs, "T_OEP")


def contrast(
    results: Results, pairs: Sequence[tuple[Query, Query]], split: str
) -> Measurement | None:
    """Success of one policy less that of another, episode by episode; tasks weigh the same.

    Args:
        results: Where the records are.
        pairs: For each task the policy and the one that is subtracted.
        split: Where both were tested. Only scenes that both have, of the same seed, count.

    Returns:
        The mean difference [percentage points], None where a task has no common scene.
    """
    scenes: list[_Scene] = []
    sources: list[Record] = []
    differences = []  # of each task, by seed

    for better, worse in pairs:
        ours = {_scene_key(row): row for row in results.records(better, split)}
        theirs = {_scene_key(row): row for row in results.records(worse, split)}
        common = sorted(ours.keys() & theirs.keys())
        if not common:
            return None
        of_task = [_Scene(worse.task, key[0], ours[key], theirs[key]) for key in common]
        scenes += of_task
        sources += [ours[key] for key in common] + [theirs[key] for key in common]
        differences.append(_difference_by_seed(of_task))

    first = [scene.ours["success"] for scene in scenes]
    second = [scene.theirs["success"] for scene in scenes]
    mean = paired_difference(first, second, [scene.task for scene in scenes])

    seeds = sorted(set.intersection(*(set(of_task) for of_task in differences)))
    scores = np.array([[of_task[seed] for of_task in differences] for seed in seeds])
    known = _sources(sources)
    known |= _seeds_of(differences)
    known |= _between_seeds(scores, -1.0)
    return Measurement(100 * mean.value, 100 * mean.low, 100 * mean.high, len(scenes), **known)


class _Scene(NamedTuple):
    """One scene that both policies were tested in."""

    task: str
    seed: int
    ours: Record
    theirs: Record


def _scene_key(row: Record) -> tuple[int, str]:
    return row["seed"], row["scenario"]


def _difference_by_seed(scenes: Sequence[_Scene]) -> dict[int, float]:
    """Mean difference in success of each seed's scenes."""
    by_seed: dict[int, list[int]] = {}
    for scene in scenes:
        gap = scene.ours["success"] - scene.theirs["success"]
        by_seed.setdefault(scene.seed, []).append(gap)
    return {seed: float(np.mean(gaps)) for seed, gaps in by_seed.items()}
