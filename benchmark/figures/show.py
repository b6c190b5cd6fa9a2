"""`python -m benchmark show`: the figures of the cells, straight from the per-episode records.

An evaluation is one (method, variant, task, iteration, policy, split). Its figure is that of the
episodes of all seeds pooled; from two seeds on an interval over seeds stands beside it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.figures.stats import over_seeds, wilson
from dexfw_envs.evaluation.records import Record, mean_measures, read_records

WIDE = 240  # columns of a table that goes to a file
EVALUATION = ("method", "variant", "task", "iteration", "policy", "split")


@dataclass(frozen=True)
class ShowOptions:
    """Print success with 95 % intervals, jerk and length from the stored records.

    success, low, high: of the episodes of all seeds pooled, with the Wilson interval, which says
    where other episodes of the same policies would come out. seed_mean, seed_low, seed_high: mean
    over the seeds, with Student's t interval of the seeds' means, which says where other runs of
    the method would; null for one seed, and wide for two or three. measures: what the task reports
    beside success, such as the object's tilt; means over the episodes, at their ends.

    With --json, --method and --task one evaluation is printed as one line; what is left open is
    filled in: the method itself, its last iteration, the combined policy, the split T_OEP. An
    unknown one, or one not run, exits with 1. policy_path: a kept policy of it, null without.
    """

    method: str | None = None
    """Only this method, e.g. dexflywheel."""
    task: str | None = None
    """Only this task, e.g. Grasp."""
    split: str | None = None
    """Only this split, e.g. T_OEP."""
    variant: str | None = None
    """Only this variant; "" is the method itself."""
    iteration: int | None = None
    """Only this flywheel iteration."""
    policy: str | None = None
    """Only this policy: base, combined, ..."""
    per_object: bool = False
    """One row per object."""
    json: bool = False
    """One JSON line per evaluation instead of a table."""
    root: Path = Path("results/records")
    """Folder of the records."""


def group_records(records: list[Record], per_object: bool = False) -> dict[tuple, list[Record]]:
    """Group records by evaluation, and by object if asked, in sorted order."""
    names = (*EVALUATION, "object") if per_object else EVALUATION
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        key = tuple(record[name] for name in names)
        groups.setdefault(key, []).append(record)
    return dict(sorted(groups.items()))


def figures_of(records: list[Record]) -> dict[str, Any]:
    """Return the figures of an evaluation; success as fraction, the others as means."""
    n = len(records)
    successes = sum(record["success"] for record in records)
    low, high = wilson(successes, n)
    return {
        "success": successes / n,
        "n": n,
        "low": low,
        "high": high,
        "seeds": sorted({record["seed"] for record in records}),
        "precision": ",".join(sorted({record["precision"] for record in records})),
        "commit": ",".join(sorted({record["commit"] for record in records})),
        "jerk": float(np.mean([record["jerk"] for record in records])),
        "length": float(np.mean([record["length"] for record in records])),
        "measures": mean_measures(records),
    }


def between_seeds(records: list[Record]) -> dict[str, float | None]:
    """Return the mean success of the seeds with its t interval; None for a single seed."""
    names = ("seed_mean", "seed_low", "seed_high")
    outcomes: dict[int, list[bool]] = {}
    for record in records:
        outcomes.setdefault(record["seed"], []).append(record["success"])
    if len(outcomes) < 2:
        return dict.fromkeys(names)

    means = np.array([[np.mean(outcomes[seed])] for seed in sorted(outcomes)])  # (seeds, 1)
    estimate = over_seeds(means)
    return dict(zip(names, (estimate.value, estimate.low, estimate.high), strict=True))


def select(records: list[Record], options: ShowOptions) -> list[Record]:
    """Keep the records that match what the options name."""
    wanted = {name: getattr(options, name) for name in EVALUATION}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    return [r for r in records if all(r[name] == value for name, value in wanted.items())]


def narrow(records: list[Record], options: ShowOptions) -> list[Record]:
    """Fill in what the options leave open, so that one evaluation is left if there is any doubt.

    Raises:
        ValueError: Several evaluations are left and nothing says which is meant.
    """
    usual = {"variant": "", "split": "T_OEP", "policy": "combined"}
    for name in ("variant", "split", "policy", "iteration"):
        values = sorted({record[name] for record in records})
        if len(values) < 2:
            continue
        value = values[-1] if name == "iteration" else usual[name]
        if value not in values:
            raise ValueError(f"name one --{name} of {', '.join(map(repr, values))}")
        records = [record for record in records if record[name] == value]
    return records


def policy_path(line: dict[str, Any], root: Path) -> str | None:
    """Return the file of the policy, of the first seed that is kept; None without any."""
    method = "-".join(filter(None, (line["method"], line["variant"])))
    folder = root.parent / "policies" / method / line["task"]
    kept = sorted(folder.glob(f"i{line['iteration']}-seed*.safetensors"))
    return kept[0].as_posix() if kept else None


#: What an object's line does not repeat.
OF_ALL_OBJECTS = ("seeds", "precision", "commit")


def _json_line(evaluation: tuple, records: list[Record], options: ShowOptions) -> str:
    line = dict(zip(EVALUATION, evaluation, strict=True))
    line |= figures_of(records)
    line |= between_seeds(records)
    line["policy_path"] = policy_path(line, options.root)
    if options.per_object:
        line["per_object"] = {}
        for key, rows in group_records(records, per_object=True).items():
            figures = figures_of(rows)
            for name in OF_ALL_OBJECTS:
                del figures[name]
            line["per_object"][key[-1]] = figures
    return json.dumps(line)


def _percent(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return ""
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _mean(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def table(records: list[Record], per_object: bool = False) -> Table:
    """Build the table of all evaluations, or of their objects."""
    names = (*EVALUATION, "object") if per_object else EVALUATION
    intervals = ["success [95 %]"]
    if not per_object:
        intervals.append("over seeds [95 %]")
    measures = list(mean_measures(records))

    result = Table(box=box.MARKDOWN)
    for name in names:
        result.add_column(name, justify="left")
    for name in ("n", "seeds", *intervals, "jerk", "length", *measures):
        result.add_column(name, justify="right")

    for key, rows in group_records(records, per_object).items():
        figures = figures_of(rows)
        cells = [str(part) for part in key]
        cells += [str(figures["n"]), ",".join(str(seed) for seed in figures["seeds"])]
        cells.append(_percent(figures["success"], figures["low"], figures["high"]))
        if not per_object:
            cells.append(_percent(*between_seeds(rows).values()))
        cells += [f"{figures['jerk']:.4f}", f"{figures['length']:.0f}"]
        cells += [_mean(figures["measures"].get(name)) for name in measures]
        result.add_row(*cells)
    return result


def show(options: ShowOptions) -> int:
    """Print what the options ask for and return the exit code."""
    records = select(read_records(options.root, options.method, options.task), options)
    if options.json and options.method and options.task:
        records = narrow(records, options)
    if not records:
        print(f"not run: no records in {options.root} for {_named(options)}", file=sys.stderr)
        return 1

    if options.json:
        for evaluation, rows in group_records(records).items():
            print(_json_line(evaluation, rows, options))
        return 0
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(table(records, options.per_object), markup=False)
    return 0


def _named(options: ShowOptions) -> str:
    """What the options name, for people."""
    values = {name: getattr(options, name) for name in EVALUATION}
    named = [f"{name}={value}" for name, value in values.items() if value is not None]
    return " ".join(named) or "any evaluation"
