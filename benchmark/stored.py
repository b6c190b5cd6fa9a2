"""What is stored of a preset: the records of its evaluations and the summaries of its runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.paper import Asked
from benchmark.protocol import TURNS, USUAL_PRESET, name_in_grid, results_of
from benchmark.summaries import Summary, read_summaries
from dexfw_envs.records import Record, read_records


@dataclass(frozen=True)
class Measured:
    """A figure of ours; success, generation and differences in %, with 95 % intervals.

    Attributes:
        value: The figure.
        low: Lower end of the interval over episodes, None where there is none.
        high: Upper end.
        n: Episodes, or tries.
        seeds: Seeds of the runs.
        seed_low: Lower end of the bootstrap interval over seeds, for means over tasks.
        seed_high: Upper end.
        runs: (method, variant, task, seed) of the runs it comes from.
        made_by: Commit and command of each.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    seeds: tuple[int, ...] = ()
    seed_low: float | None = None
    seed_high: float | None = None
    runs: tuple[tuple[str, str, str, int], ...] = ()
    made_by: tuple[tuple[str, str], ...] = ()


@dataclass
class Results:
    """All that is known of a preset, read once.

    Attributes:
        folder: The results.
        preset: The preset they are of.
    """

    folder: Path
    preset: str = USUAL_PRESET
    _groups: dict[tuple, list[Record]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.root = results_of(self.folder, self.preset)
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

    def records(self, asked: Asked, split: str) -> list[Record]:
        """Return the episodes of a policy in a split, of one object if that is asked for."""
        key = (asked.method, asked.variant, asked.iteration, asked.policy, asked.task, split)
        rows = self._groups.get(key, [])
        return [row for row in rows if asked.object in ("", row["object"])]

    def splits(self, task: str) -> list[str]:
        """Return the splits of which there are records of a task."""
        return sorted({key[5] for key in self._groups if key[4] == task})

    def runs(self, asked: Asked) -> list[Summary]:
        """Return the summaries of a method's runs of a task."""
        return self.summaries.get((asked.method, asked.variant, asked.task), [])
