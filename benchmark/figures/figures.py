"""What our figures are: from the records and the summaries of a folder of results alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from benchmark.figures import deployments, generation
from benchmark.figures.stats import (
    mean_of_proportions,
    mean_of_values,
    over_seeds,
    paired_difference,
    wilson,
)
from benchmark.figures.stored import Measured, Results
from benchmark.grid.paper import Asked, best
from benchmark.grid.variants import GRID
from dexfw_envs.evaluation.records import Record

QUANTITIES = generation.QUANTITIES | deployments.QUANTITIES


def measure(results: Results, asked: Asked) -> Measured | None:
    """Return our figure, None where it was not run."""
    if asked.task == "mean":
        return _mean(results, [replace(asked, task=task) for task in tasks_of(asked.method)])
    if asked.quantity == "difference":
        return difference(results, asked)
    if asked.quantity == "progress":
        return progress(results, asked)
    return QUANTITIES.get(asked.quantity, success)(results, asked)


def tasks_of(method: str) -> tuple[str, ...]:
    """Tasks over which a method's mean is taken."""
    return next(row.tasks for row in GRID if row.method == method)


def _mean(results: Results, each: Sequence[Asked]) -> Measured | None:
    """Mean over the tasks, only if all were run."""
    if each[0].quantity == "difference":
        return difference(results, *each)
    if each[0].quantity not in (*QUANTITIES, "progress"):
        return mean_success(results, each)
    parts = [found for asked in each if (found := measure(results, asked)) is not None]
    if len(parts) < len(each):
        return None
    return Measured(
        float(np.mean([part.value for part in parts])),
        **_seeds_of([part.seeds for part in parts]),
        runs=_joined(part.runs for part in parts),
        made_by=_joined(part.made_by for part in parts),
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


def success(results: Results, asked: Asked) -> Measured | None:
    """Success in a split, the quantity's name, with the Wilson interval of all seeds' episodes."""
    rows = results.records(asked, asked.quantity)
    if not rows:
        return None
    won, n = sum(row["success"] for row in rows), len(rows)
    low, high = wilson(won, n)
    return Measured(100 * won / n, 100 * low, 100 * high, n, **_sources(rows))


def progress(results: Results, asked: Asked) -> Measured | None:
    """Mean progress of the episodes on T_OEP, with its normal interval."""
    rows = [r for r in results.records(asked, "T_OEP") if np.isfinite(r["progress"])]
    if not rows:
        return None
    found = mean_of_values([100 * row["progress"] for row in rows], 0.0, 100.0)
    return Measured(found.value, found.low, found.high, len(rows), **_sources(rows))


def mean_success(results: Results, each: Sequence[Asked]) -> Measured | None:
    """Mean over all tasks, with intervals over the episodes of all seeds and over the seeds."""
    groups = [results.records(asked, asked.quantity) for asked in each]
    if not all(groups):
        return None
    won = tuple(sum(row["success"] for row in group) for group in groups)
    counts = tuple(len(group) for group in groups)
    found = _of_proportions(won, counts)

    seeds = [{row["seed"] for row in group} for group in groups]
    shared = set.intersection(*seeds)
    scores = np.array([_rates(group, shared) for group in groups]).T
    known = _sources([row for group in groups for row in group])
    known |= _seeds_of(seeds) | _between_seeds(scores, 0.0)
    ends = (100 * end for end in (found.value, found.low, found.high))
    return Measured(*ends, sum(counts), **known)


#: Tables and plots ask for the same means again, and each takes a tenth of a second.
_of_proportions = cache(mean_of_proportions)


def _rates(rows: Sequence[Record], seeds: Iterable[int]) -> list[float]:
    won = {seed: [row["success"] for row in rows if row["seed"] == seed] for seed in sorted(seeds)}
    return [float(np.mean(values)) for values in won.values()]


def _between_seeds(scores: np.ndarray, lowest: float) -> dict[str, float]:
    """Interval over seeds of scores (seeds, tasks) from the lowest one to 1; none for one seed."""
    if len(scores) < 2:
        return {}
    found = over_seeds(scores, lowest)
    return {"seed_low": 100 * found.low, "seed_high": 100 * found.high}


def difference(results: Results, *each: Asked) -> Measured | None:
    """The method itself less another one on T_OEP, once for each task of a mean."""
    pairs = [(best(asked, results.turns), asked) for asked in each]
    return contrast(results, pairs, "T_OEP")


def contrast(results: Results, pairs: Sequence[tuple[Asked, Asked]], split: str) -> Measured | None:
    """Success of one policy less that of another, episode by episode; tasks weigh the same.

    Args:
        results: Where the records are.
        pairs: For each task the policy and the one that is subtracted.
        split: Where both were tested. Only scenes that both have, of the same seed, count.

    Returns:
        The mean difference [percentage points], None where a task has no common scene.
    """
    outcomes: list[tuple[bool, bool, str]] = []
    sources, rates = [], []

    for better, worse in pairs:
        both = [results.records(one, split) for one in (better, worse)]
        ours, theirs = ({(r["seed"], r["scenario"]): r for r in rows} for rows in both)
        common = sorted(ours.keys() & theirs.keys())
        if not common:
            return None

        outcomes += [(ours[k]["success"], theirs[k]["success"], worse.task) for k in common]
        each_seed = {k[0]: [j for j in common if j[0] == k[0]] for k in common}
        rates.append({s: _gap(ours, theirs, keys) for s, keys in each_seed.items()})
        sources += [side[k] for side in (ours, theirs) for k in common]

    first, second, tasks = zip(*outcomes, strict=True)
    found = paired_difference(first, second, tasks)

    shared = sorted(set.intersection(*(set(of_task) for of_task in rates)))
    scores = np.array([[of_task[seed] for of_task in rates] for seed in shared])
    known = _sources(sources) | _seeds_of(rates) | _between_seeds(scores, -1.0)
    ends = (100 * end for end in (found.value, found.low, found.high))
    return Measured(*ends, len(outcomes), **known)


def _gap(ours: Mapping, theirs: Mapping, keys: Sequence[tuple[int, str]]) -> float:
    """Mean difference in success over some scenes."""
    return float(np.mean([ours[k]["success"] - theirs[k]["success"] for k in keys]))
