"""`python -m benchmark show`: the figures of the cells, straight from the per-episode records.

A cell is one (method, variant, task, iteration, policy, split). Its figure is that of the episodes
of all seeds pooled; from two seeds on an interval over seeds stands beside it.
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

CELL = ("method", "variant", "task", "iteration", "policy", "split")


@dataclass(frozen=True)
class Show:
    """Print success with 95 % intervals, jerk and length from the stored records.

    success, low, high: of the episodes of all seeds pooled, with the Wilson interval, which says
    where other episodes of the same policies would come out. seed_mean, seed_low, seed_high: mean
    over the seeds, with Student's t interval of the seeds' means, which says where other runs of
    the method would; null for one seed, and wide for two or three. measures: what the task reports
    beside success, such as the object's tilt; means over the episodes, at their ends.

    With --json, --method and --task one cell is printed as one line; what is left open is filled
    in: the method itself, its last iteration, the combined policy, the split T_OEP. An unknown
    cell, or one not run, exits with 1. policy_path: a kept policy of it, null without.
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
    """One JSON line per cell instead of a table."""
    root: Path = Path("results/records")
    """Folder of the records."""


def cells(records: list[Record], per_object: bool = False) -> dict[tuple, list[Record]]:
    """Group records by cell, and by object if asked, in sorted order."""
    names = (*CELL, "object") if per_object else CELL
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record[name] for name in names), []).append(record)
    return dict(sorted(groups.items()))


def figures(records: list[Record]) -> dict[str, Any]:
    """Return the figures of one cell; success as fraction, jerk, length and measures as means."""
    n, successes = len(records), sum(record["success"] for record in records)
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
    won: dict[int, list[bool]] = {}
    for record in records:
        won.setdefault(record["seed"], []).append(record["success"])
    if len(won) < 2:
        return dict.fromkeys(names)
    found = over_seeds(np.array([[np.mean(won[seed])] for seed in sorted(won)]))
    return dict(zip(names, (found.value, found.low, found.high), strict=True))


def select(records: list[Record], options: Show) -> list[Record]:
    """Keep the records that match what the options name."""
    wanted = {name: getattr(options, name) for name in CELL}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    return [r for r in records if all(r[name] == value for name, value in wanted.items())]


def narrow(records: list[Record], options: Show) -> list[Record]:
    """Fill in what the options leave open, so that one cell is left if there is any doubt.

    Raises:
        ValueError: Several cells are left and nothing says which is meant.
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
    """Return the file of the cell's policy, of the first seed that is kept; None without any."""
    method = "-".join(filter(None, (line["method"], line["variant"])))
    folder = root.parent / "policies" / method / line["task"]
    kept = sorted(folder.glob(f"i{line['iteration']}-seed*.safetensors"))
    return kept[0].as_posix() if kept else None


def _json_line(cell: tuple, records: list[Record], options: Show) -> str:
    line = {**dict(zip(CELL, cell, strict=True)), **figures(records), **between_seeds(records)}
    line["policy_path"] = policy_path(line, options.root)
    if options.per_object:
        objects = cells(records, per_object=True)
        line["per_object"] = {
            key[-1]: {
                k: v for k, v in figures(rows).items() if k not in ("seeds", "precision", "commit")
            }
            for key, rows in objects.items()
        }
    return json.dumps(line)


def _percent(*values: float | None) -> str:
    parts = [f"{100 * value:.1f}" for value in values if value is not None]
    return "{} [{}, {}]".format(*parts) if parts else ""


def _mean(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def table(records: list[Record], per_object: bool = False) -> Table:
    """Build the table of all cells."""
    names = (*CELL, "object") if per_object else CELL
    result = Table(box=box.MARKDOWN)
    intervals = ("success [95 %]",) if per_object else ("success [95 %]", "over seeds [95 %]")
    measures = list(mean_measures(records))
    for name in (*names, "n", "seeds", *intervals, "jerk", "length", *measures):
        result.add_column(name, justify="left" if name in names else "right")
    for cell, rows in cells(records, per_object).items():
        figure, seeds = figures(rows), {} if per_object else between_seeds(rows)
        result.add_row(
            *map(str, cell),
            str(figure["n"]),
            ",".join(map(str, figure["seeds"])),
            _percent(*(figure[name] for name in ("success", "low", "high"))),
            *([] if per_object else [_percent(*seeds.values())]),
            f"{figure['jerk']:.4f}",
            f"{figure['length']:.0f}",
            *(_mean(figure["measures"].get(name)) for name in measures),
        )
    return result


def show(options: Show) -> int:
    """Print what the options ask for and return the exit code."""
    records = select(read_records(options.root, options.method, options.task), options)
    if options.json and options.method and options.task:
        records = narrow(records, options)
    if not records:
        named = {name: getattr(options, name) for name in CELL}
        asked = " ".join(f"{name}={value}" for name, value in named.items() if value is not None)
        print(f"not run: no records in {options.root} for {asked or 'any cell'}", file=sys.stderr)
        return 1
    if options.json:
        for cell, rows in cells(records).items():
            print(_json_line(cell, rows, options))
    else:
        console = Console(width=None if sys.stdout.isatty() else 240)
        console.print(table(records, options.per_object), markup=False)
    return 0
