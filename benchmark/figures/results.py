"""What is stored of a preset: the records of its evaluations and the summaries of its runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.figures.query import Query
from benchmark.kept.summaries import Summary, precision_of, read_summaries
from benchmark.protocol import (
    SHOWN_REVISION,
    TURNS,
    USUAL_PRESET,
    name_in_grid,
    results_of,
)
from dexfw_envs.evaluation.records import Record, read_records

ONE_SEED, UNEVEN = "†", "‡"  # beside a figure
#: What the marks say, for below a table.
LEGEND = {
    ONE_SEED: "of one seed, so the spread over seeds is not known",
    UNEVEN: "the tasks of the mean were not all run with the same seeds",
}


def seed_mark(seeds: Collection[int], uneven: bool = False) -> str:
    """Return the mark of a figure of these seeds; "" where there are more, or no runs at all."""
    if uneven:
        return UNEVEN
    return ONE_SEED if len(set(seeds)) == 1 else ""


def legend(words: str) -> str:
    """Say what the marks in a text mean; "" where there are none."""
    return "; ".join(f"{mark} {meaning}" for mark, meaning in LEGEND.items() if mark in words)


@dataclass(frozen=True)
class Measurement:
    """A figure of ours; success, generation and differences in %, with 95 % intervals.

    Attributes:
        value: The figure.
        low: Lower end of the interval over episodes, None where there is none.
        high: Upper end.
        n: Episodes, or tries.
        seeds: Seeds of the runs; of a mean over tasks, those of any task.
        uneven: The tasks of a mean were not all run with the same seeds.
        seed_low: Lower end of the interval over the seeds that all tasks have, from two seeds on;
            for differences and for means over tasks.
        seed_high: Upper end.
        runs: (method, variant, task, seed) of the runs it comes from.
        made_by: Commit and command of each.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    seeds: tuple[int, ...] = ()
    uneven: bool = False
    seed_low: float | None = None
    seed_high: float | None = None
    runs: tuple[tuple[str, str, str, int], ...] = ()
    made_by: tuple[tuple[str, str], ...] = ()

    @property
    def mark(self) -> str:
        """What is to be said of its seeds beside the figure; "" for nothing."""
        return seed_mark(self.seeds, self.uneven)


@dataclass
class Results:
    """All that is known of a preset, read once.

    Attributes:
        folder: The results.
        preset: The preset they are of.
        revision: The revision of the worlds they are of.
    """

    folder: Path
    preset: str = USUAL_PRESET
    revision: int = SHOWN_REVISION
    _groups: dict[tuple, list[Record]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.root = results_of(self.folder, self.preset, self.revision)
        names = ("method", "variant", "iteration", "policy", "task", "split")
        for row in map(self._named, read_records(self.root / "records")):
            self._groups.setdefault(tuple(row[name] for name in names), []).append(row)

    def _named(self, row: dict[str, Any]) -> dict[str, Any]:
        """A record or a summary, its variant named as in the grid."""
        return {**row, "variant": name_in_grid(row["variant"], self.preset)}

    @property
    def turns(self) -> int:
        """Turns of the method itself."""
        return TURNS[self.preset]

    @cached_property
    def summaries(self) -> dict[tuple[str, str, str], list[Summary]]:
        """Summaries by method, variant and task, in the order of their seeds."""
        groups: dict[tuple[str, str, str], list[Summary]] = {}
        runs = map(self._named, read_summaries(self.root))
        for run in sorted(runs, key=lambda run: run["seed"]):
            groups.setdefault((run["method"], run["variant"], run["task"]), []).append(run)
        return groups

    def by_precision(self) -> dict[str, list[str]]:
        """Return the runs that trained something, named, by the precision they trained in."""
        found: dict[str, list[str]] = {}
        for (method, variant, task), runs in self.summaries.items():
            for run in runs:
                name = " ".join(filter(None, (method, variant, task, f"seed {run['seed']}")))
                found.setdefault(precision_of(run), []).append(name)
        found.pop("", None)
        return found

    def records(self, query: Query, split: str) -> list[Record]:
        """Return the episodes of a policy in a split, of one object if that is asked for."""
        key = (query.method, query.variant, query.iteration, query.policy, query.task, split)
        rows = self._groups.get(key, [])
        return [row for row in rows if query.object in ("", row["object"])]

    def splits(self, task: str) -> list[str]:
        """Return the splits of which there are records of a task."""
        return sorted({key[5] for key in self._groups if key[4] == task})

    def runs(self, query: Query) -> list[Summary]:
        """Return the summaries of a method's runs of a task."""
        return self.summaries.get((query.method, query.variant, query.task), [])
