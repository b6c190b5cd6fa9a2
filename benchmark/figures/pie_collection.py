"""Figures of DexPIE's collections and critics, from the summaries of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmark.figures.data_generation import of_runs
from benchmark.figures.query import Query
from benchmark.figures.results import Measurement, Results

Report = Mapping[str, Any]
Quantity = Callable[[Results, Query], Measurement | None]


def _later_starts(found: Report) -> float:
    """Share of the episodes that do not start where the task does [%]."""
    first = next(iter(found["starts"].values()))  # every collection has some from there
    return 100 * (1 - first["share"])


def _jump(found: Report, who: str, part: str) -> float:
    return found["jumps"][who][part]


#: What a collection tells, by the name of its row.
COLLECTION: dict[str, Callable[[Report], float]] = {
    "number of episodes": lambda found: found["episodes"],
    "number of second tries": lambda found: found["retries"],
    "starts from later stages %": _later_starts,
    "success, operator included %": lambda found: 100 * found["successes"] / found["episodes"],
    "steps of the operator %": lambda found: 100 * found["intervened_steps"],
    "number of operator's steps": lambda found: round(found["intervened_steps"] * found["steps"]),
    "number of late steps": lambda found: found["late_steps"],
}
#: What of these tells how much was corrected, and how well.
INTERVENTIONS = (
    "number of second tries", "number of operator's steps", "success, operator included %",
)  # fmt: skip
#: Largest change of a joint command in one step, by the name of its row.
JUMPS: dict[str, Callable[[Report], float]] = {
    f"{title}, {part} [rad]": partial(_jump, who=who, part=part)
    for who, title in (
        ("take_over", "step at a take-over"), ("blended", "the next four"),
        ("policy", "steps of the policy"),
    )
    for part in ("arm", "hand")
}  # fmt: skip
#: What a critic's report tells of a stage.
CRITIC = {"explained variance": "explained_variance", "AUROC of success": "auroc"}
STARTS = "starts %"


def _collected(of: Callable[[Report], float], largest: bool) -> Quantity:
    def measured(results: Results, query: Query) -> Measurement | None:
        turn = str(query.iteration)
        runs = [run for run in results.runs(query) if turn in run.get("collection", {})]
        values = [of(run["collection"][turn]) for run in runs]
        return of_runs([max(values, default=0.0)] * len(values) if largest else values, runs)

    return measured


def starts(results: Results, query: Query) -> Measurement | None:
    """Share of the episodes of a collection that start in a stage [%], the object's name."""
    turn = str(query.iteration)
    runs = [run for run in results.runs(query) if turn in run.get("collection", {})]
    found = [run["collection"][turn]["starts"].get(query.object, {}) for run in runs]
    return of_runs([100 * stage.get("share", 0.0) for stage in found], runs)


def _judged(name: str) -> Quantity:
    def measured(results: Results, query: Query) -> Measurement | None:
        turn = str(query.iteration)
        runs = [run for run in results.runs(query) if turn in run.get("critic_report", {})]
        reports = [run["critic_report"][turn]["calibration"]["rollouts"] for run in runs]
        stages = [r["stages"].get(query.object, {}) if query.object else r for r in reports]
        kept = [(s[name], r) for s, r in zip(stages, runs, strict=True) if s.get(name) is not None]
        return of_runs([value for value, _ in kept], [run for _, run in kept])

    return measured


#: How a quantity of a collection or a critic is measured; a stage goes by `Asked.object`.
QUANTITIES: dict[str, Quantity] = {
    **{name: _collected(of, largest=False) for name, of in COLLECTION.items()},
    **{name: _collected(of, largest=True) for name, of in JUMPS.items()},
    **{name: _judged(key) for name, key in CRITIC.items()},
    STARTS: starts,
}
