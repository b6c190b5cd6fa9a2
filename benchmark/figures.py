"""What our figures are: from the records and the summaries of a folder of results alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from benchmark import deployments, generation
from benchmark.paper import Asked, best
from benchmark.stats import bootstrap, paired_difference, wilson
from benchmark.stored import Measured, Results
from benchmark.variants import GRID
from dexfw_envs.records import Record

QUANTITIES = generation.QUANTITIES | deployments.QUANTITIES
NORMAL = NormalDist().inv_cdf(0.975)


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
        runs=_joined(part.runs for part in parts),
        made_by=_joined(part.made_by for part in parts),
    )


def _joined(parts: Iterable[tuple]) -> tuple:
    return tuple(sorted({item for part in parts for item in part}))


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
    values = 100 * np.array([row["progress"] for row in rows])
    half = NORMAL * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    mean = float(values.mean())
    ends = max(0.0, mean - half), min(100.0, mean + half)
    return Measured(mean, *map(float, ends), len(rows), **_sources(rows))


def mean_success(results: Results, each: Sequence[Asked]) -> Measured | None:
    """Mean over all tasks: over episodes stratified by task, and over seeds by the bootstrap."""
    groups = [results.records(asked, asked.quantity) for asked in each]
    if not all(groups):
        return None
    rows = [row for group in groups for row in group]
    won = [row["success"] for row in rows]
    # The difference to a method that never succeeds is the rate itself.
    found = paired_difference(won, [False] * len(won), [row["task"] for row in rows])
    common = set.intersection(*({row["seed"] for row in group} for group in groups))
    seeds = _over_seeds(tuple(tuple(_rates(group, common)) for group in groups))
    ends = (100 * end for end in (found.value, max(0.0, found.low), min(1.0, found.high)))
    return Measured(*ends, len(rows), **(_sources(rows) | seeds))


def _rates(rows: Sequence[Record], seeds: Iterable[int]) -> list[float]:
    won = {seed: [row["success"] for row in rows if row["seed"] == seed] for seed in sorted(seeds)}
    return [float(np.mean(values)) for values in won.values()]


@cache
def _over_seeds(scores: tuple[tuple[float, ...], ...]) -> dict[str, float]:
    """Bootstrap over seeds, stratified by task; nothing for a single seed."""
    if len(scores[0]) < 2:
        return {}
    found = bootstrap(np.array(scores).T)
    return {"seed_low": 100 * found.low, "seed_high": 100 * found.high}


def difference(results: Results, *each: Asked) -> Measured | None:
    """A method less another one, on T_OEP episode by episode; tasks weigh the same."""
    pairs: list[tuple[bool, bool, str]] = []
    sources, rates = [], []
    for asked in each:
        last = best(asked, results.turns)
        both = [results.records(one, "T_OEP") for one in (last, asked)]
        ours, theirs = ({(r["seed"], r["scenario"]): r for r in rows} for rows in both)
        common = sorted(ours.keys() & theirs.keys())
        if not common:
            return None
        pairs += [(ours[k]["success"], theirs[k]["success"], asked.task) for k in common]
        each_seed = {k[0]: [j for j in common if j[0] == k[0]] for k in common}
        rates.append({s: _gap(ours, theirs, keys) for s, keys in each_seed.items()})
        sources += [side[k] for side in (ours, theirs) for k in common]
    first, second, tasks = zip(*pairs, strict=True)
    found = paired_difference(first, second, tasks)
    seeds = sorted(set.intersection(*(set(of_task) for of_task in rates)))
    scores = tuple(tuple(of_task[seed] for seed in seeds) for of_task in rates)
    ends = (100 * end for end in (found.value, found.low, found.high))
    return Measured(*ends, len(pairs), **(_sources(sources) | _over_seeds(scores)))


def _gap(ours: Mapping, theirs: Mapping, keys: Sequence[tuple[int, str]]) -> float:
    """Mean difference in success over some scenes."""
    return float(np.mean([ours[k]["success"] - theirs[k]["success"] for k in keys]))
