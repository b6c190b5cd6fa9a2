"""The grid: which script runs with which options, for which tables. A cell is one run of a script.

A cell gives the figures of all its turns, policies and splits. It is known by its digest: of its
options, of what its preset and task change of the script's settings, of the environment's version,
of the revision of the worlds, and of the script's METHOD_VERSION, which is raised whenever results
can change otherwise. What has the same digest need not run again.

Cells train with `--precision fp32`, which every processor has, so that runs of different machines
can stand in one table. Those that ran before scripts had that option trained in bf16; they keep the
digest of their options then, and stay done under it.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.grid.variants import (
    GRID,
    MAIN_METHODS,
    PARENT,
    PIE_DEMONSTRATIONS,
    PRESET_COST,
    TASK_COST,
    Variant,
    find_variant,
)
from benchmark.protocol import (
    EPISODES,
    PIE,
    PRECISION,
    ROOT,
    SEEDS,
    TASKS,
    USUAL_PRESET,
    name_in_records,
)
from dexfw_envs.registry import entry
from dexfw_envs.revision import FIRST, REVISION


@dataclass(frozen=True)
class Cell:
    """One run: a variant, a task, a seed and a preset."""

    variant: Variant
    task: str
    seed: int
    preset: str

    @property
    def label(self) -> str:
        """The variant's name in the records."""
        return name_in_records(self.variant.name, self.preset)

    @property
    def name(self) -> str:
        """Name of the cell, also of its folders."""
        parts = (self.variant.method, self.variant.name, self.task, f"seed{self.seed}")
        return "-".join((*filter(None, parts), self.preset))

    @property
    def kept_folder(self) -> Path:
        """Folder of its policies, and of its films, among the results: method and variant, task."""
        return Path("-".join(filter(None, (self.variant.method, self.label)))) / self.task

    @property
    def keeps_policies(self) -> bool:
        """Whether policies and films of it are kept: the first seed of the methods compared."""
        first = self.seed == SEEDS[0]
        return first and ("baselines" in self.variant.tables or self.variant.key in MAIN_METHODS)

    @property
    def order(self) -> str:
        """Letter by which cells are sorted: the first seed of what matters most comes first."""
        later = {"a": "b", "c": "d"} if self.seed != SEEDS[0] else {}
        return later.get(self.variant.order, self.variant.order)

    @property
    def turns(self) -> range:
        """Turns whose policies are measured: 1, 2, ..., or 0 alone for a reference policy."""
        last = self.variant.last_turn(self.preset)
        return range(min(1, last), last + 1)

    @property
    def own_turns(self) -> range:
        """Turns that it is measured after itself: not those that it shares with its parent."""
        if self.variant.forks_from is None or self.parent is None:
            return self.turns
        return range(int(self.variant.forks_from[1].rpartition("_")[2]) + 1, self.turns.stop)

    @property
    def script(self) -> Path:
        """The script, relative to the clone."""
        return Path("baselines") / f"{self.variant.method}.py"

    @property
    def options(self) -> tuple[str, ...]:
        """All options that decide the results.

        A cell that only measures a policy has no precision: training alone has one.
        """
        if self.variant.evaluates_turn is not None:
            return self.earlier_options
        return (*self.earlier_options, "--precision", PRECISION)

    @property
    def earlier_options(self) -> tuple[str, ...]:
        """The options as they were before scripts had `--precision`."""
        row = self.variant
        task = ("--task", self.task)
        seed = ("--seed", str(self.seed))
        named = ("--variant", self.label) if self.label else ()
        if row.evaluates_turn is not None:
            protocol = ("--split", row.splits[0], "--episodes", str(EPISODES))
            query = ("--evaluate", PARENT, *task, *seed, *protocol, "--policy", row.policy)
            return (*query, "--json", *row.options, *named)
        protocol = ("--eval-splits", *row.splits, "--eval-episodes", str(EPISODES))
        options = (*protocol, *self._demonstrations, *row.options)
        return (*task, "--preset", self.preset, *seed, *options, *named)

    @property
    def _demonstrations(self) -> tuple[str, ...]:
        """How many a run of DexPIE starts from, unless its row says so itself."""
        if self.variant.method != PIE or "--demonstrations" in self.variant.options:
            return ()
        return "--demonstrations", str(PIE_DEMONSTRATIONS[self.task][SEEDS.index(self.seed)])

    @property
    def parent(self) -> Cell | None:
        """The cell whose first stages are the same, or whose run this one is given, if any."""
        if self.variant.uses_run_of is not None:
            return Cell(find_variant(self.variant.method, self.variant.uses_run_of), *self._where)
        if self.variant.forks_from is None:
            return None
        whole = find_variant(self.variant.method, self.variant.forks_from[0])
        reach = int(self.variant.forks_from[1].rpartition("_")[2])
        if reach > whole.last_turn(self.preset):
            return None
        return Cell(whole, *self._where)

    @property
    def _where(self) -> tuple[str, int, str]:
        return self.task, self.seed, self.preset

    def estimate(self) -> float:
        """Rough wall time on one core [min], from the table of the grid."""
        return self.variant.minutes * TASK_COST[self.task] * PRESET_COST[self.preset]


def method_version(script: Path) -> int | None:
    """Read METHOD_VERSION from a script without importing it; None if there is no such script.

    Raises:
        ValueError: The script sets none.
    """
    if not script.is_file():
        return None
    return version_in(script.read_text(encoding="utf-8"), str(script))


@cache
def version_in(source: str, name: str) -> int:
    """Read METHOD_VERSION from a script's text.

    Raises:
        ValueError: It sets none.
    """
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign):
            continue
        target = node.targets[0]
        value = node.value
        pairs = (
            zip(target.elts, value.elts, strict=False)
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            else [(target, value)]
        )
        for left, right in pairs:
            if isinstance(left, ast.Name) and left.id == "METHOD_VERSION":
                return int(ast.literal_eval(right))
    raise ValueError(f"{name} sets no METHOD_VERSION")


@cache
def settings_tables(source: str) -> dict[str, Any]:
    """Read the tables of settings, PRESETS and TASKS, from a script's text without running it.

    Only assignments at its top level whose values need no import count; others set nothing.
    """
    known: dict[str, Any] = {"__builtins__": {}}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            node = ast.copy_location(ast.Assign([node.target], node.value), node)
        if isinstance(node, ast.Assign | ast.AugAssign):
            with suppress(NameError, AttributeError):
                exec(compile(ast.Module([node], []), "settings", "exec"), known)
    return {name: known.get(name, {}) for name in ("PRESETS", "TASKS")}


def digest(cell: Cell, root: Path = ROOT, revision: int = REVISION) -> str | None:
    """Return the hash that says whether a cell has to run again; None without its script."""
    return _digest(cell, cell.options, root, revision)


def earlier_digest(cell: Cell, root: Path = ROOT, revision: int = REVISION) -> str | None:
    """Return the digest of a run from before scripts had `--precision`, which stays done."""
    return _digest(cell, cell.earlier_options, root, revision)


def _digest(cell: Cell, options: tuple[str, ...], root: Path, revision: int) -> str | None:
    version = method_version(root / cell.script)
    if version is None:
        return None
    tables = settings_tables((root / cell.script).read_text(encoding="utf-8"))
    settings = [tables["PRESETS"].get(cell.preset, {}), tables["TASKS"].get(cell.task, {})]
    parts = [cell.variant.method, version, entry(cell.task).env_id, options, settings]
    if revision != FIRST:  # runs of the first one did not say so
        parts.append({"revision": revision})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def select_cells(
    preset: str = USUAL_PRESET,
    tables: Collection[str] = (),
    methods: Collection[str] = (),
    variants: Collection[str] = (),
    tasks: Sequence[str] = TASKS,
    seeds: Collection[int] = (),
) -> list[Cell]:
    """Return the cells that match, in the order in which they are run.

    Args:
        preset: One of the presets.
        tables: Only what these tables need; all without.
        methods: Only these methods; all without.
        variants: Only these variants, "" for a method itself; all without.
        tasks: Only these tasks.
        seeds: Only these seeds, of those that the grid has; all without.
    """
    chosen = [
        Cell(row, task, seed, preset)
        for row in GRID
        for task in tasks
        for seed in row.seeds
        if task in row.tasks
        and (not tables or set(tables) & set(row.tables))
        and (not methods or row.method in methods)
        and (not variants or row.name in variants)
        and (not seeds or seed in seeds)
    ]
    return sorted(chosen, key=lambda cell: (cell.order, cell.seed))
