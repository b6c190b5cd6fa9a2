"""Figures of data and time, from the summaries of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmark.figures.query import Query
from benchmark.figures.results import Measurement, Results
from benchmark.figures.stats import wilson
from benchmark.kept.summaries import Summary
from benchmark.protocol import TRAJECTORIES
from dexfw_envs.catalog.curricula import curriculum, objects_for


def of_runs(values: Sequence[float], runs: Sequence[Summary]) -> Measurement | None:
    """Mean over runs."""
    if not values:
        return None
    known = [(r["method"], r["variant"], r["task"], r["seed"]) for r in runs]
    return Measurement(
        float(np.mean(values)), n=len(values), runs=tuple(known),
        seeds=tuple(run["seed"] for run in runs),
        made_by=tuple(sorted({(run["commit"], run["command"]) for run in runs})),
    )  # fmt: skip


def _report(run: Summary, query: Query) -> dict[str, Any] | None:
    return run["data"].get(str(query.iteration), {}).get(query.policy)


def generation(results: Results, query: Query) -> Measurement | None:
    """Share of tries that gave a trajectory, all runs pooled, with the Wilson interval."""
    return _share(results, query, "successes", "tries")


def first_tries(results: Results, query: Query) -> Measurement | None:
    """Share of scenes that gave a trajectory at the first try, with the Wilson interval."""
    return _share(results, query, "first", "scenes")


def _share(results: Results, query: Query, part: str, whole: str) -> Measurement | None:
    kept = [(run, data) for run in results.runs(query) if (data := _report(run, query))]
    kept = [(run, data) for run, data in kept if whole in data]
    if not kept:
        return None
    won, n = (sum(data[name] for _, data in kept) for name in (part, whole))
    found = of_runs([0.0] * len(kept), [run for run, _ in kept])
    low, high = wilson(won, n)
    return Measurement(
        **{**vars(found), "value": 100 * won / n, "low": 100 * low, "high": 100 * high, "n": n}
    )


def seconds(results: Results, query: Query) -> Measurement | None:
    """Wall time of making the last turn's data per trajectory [s], failed tries included."""
    stage = f"data_{query.iteration}"
    values = []
    runs = []
    for run in results.runs(query):
        data = run["data"].get(str(query.iteration))
        if data and stage in run["seconds"]:
            values.append(run["seconds"][stage] / max(1, _kept(run, query.iteration)))
            runs.append(run)
    return of_runs(values, runs)


def hours_for_500(results: Results, query: Query) -> Measurement | None:
    """Wall time of 500 trajectories [h], without what came before."""
    found = seconds(results, query)
    return found and Measurement(**{**vars(found), "value": found.value * 500 / 3600})


def hours_of_run(results: Results, query: Query) -> Measurement | None:
    """Wall time of the whole run [h], evaluation included."""
    runs = results.runs(query)
    return of_runs([sum(run["seconds"].values()) / 3600 for run in runs], runs)


def objects_handled(results: Results, query: Query) -> Measurement | None:
    """Objects of which the last turn's data hold a success; mean over runs."""
    turn = str(query.iteration)
    runs = [run for run in results.runs(query) if run["objects"].get(turn)]
    return of_runs([len(run["objects"][turn]) for run in runs], runs)


def trajectories(results: Results, query: Query) -> Measurement | None:
    """Successful episodes among a turn's data; mean over runs."""
    kept = [(run, count) for run in results.runs(query) if (count := _kept(run, query.iteration))]
    return of_runs([count for _, count in kept], [run for run, _ in kept])


def _kept(run: Summary, turn: int) -> int:
    """Trajectories that a turn kept; where nobody counted, what the settings leave of them."""
    if found := run["objects"].get(str(turn)):
        return sum(found.values())
    made = list(run["data"].get(str(turn), {}).values())[-1:]
    return min(made[0]["successes"], TRAJECTORIES[:turn][-1]) if made else 0


def residual(results: Results, query: Query) -> Measurement | None:
    """What runs keep of their residuals, by the quantity's name."""
    turn = str(query.iteration)
    name = query.quantity.replace(" ", "_")
    kept = [(run, run["residual"].get(turn, {}).get(name)) for run in results.runs(query)]
    if query.object:
        kept = [(run, (value or {}).get(query.object)) for run, value in kept]
    kept = [(run, value) for run, value in kept if isinstance(value, int | float)]
    return of_runs([value for _, value in kept], [run for run, _ in kept])


def design(count: Callable[[str, int], int]) -> Callable[[Results, Query], Measurement]:
    """A figure of the curriculum, which does not depend on any run."""
    return lambda results, query: Measurement(float(count(query.task, query.iteration)))


def _surroundings(task: str, i: int) -> int:
    return curriculum(task).surroundings[i - 1]


def _poses(task: str, i: int) -> int:
    return curriculum(task).poses[i - 1]


def _objects(task: str, i: int) -> int:
    return len(objects_for(task, i))


#: How a quantity of data or time is measured.
QUANTITIES: dict[str, Callable[[Results, Query], Measurement | None]] = {
    "generation": generation,
    "first tries": first_tries,
    "seconds a trajectory": seconds,
    "hours for 500": hours_for_500,
    "hours of the run": hours_of_run,
    "objects handled": objects_handled,
    "trajectories": trajectories,
    "residual ratio": residual,
    "joint difference": residual,
    "number of objects": design(_objects),
    "number of surroundings": design(_surroundings),
    "number of poses": design(_poses),
    "configurations": design(lambda t, i: _objects(t, i) * _surroundings(t, i) * _poses(t, i)),
}
