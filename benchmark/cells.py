"""The grid: which script runs with which options, for which tables. A cell is one run of a script.

A cell gives the figures of all its turns, policies and splits. It is known by its digest: of its
options, of the environment's version and of the script's METHOD_VERSION, which is raised whenever
results can change. What has the same digest need not run again.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.protocol import EPISODES, ROOT, SEEDS, SPLITS, TASKS, TURNS, USUAL_PRESET
from dexfw_envs.catalog.lookup import find
from dexfw_envs.registry import entry

PARENT = "{parent}"  # among options: the folder of another variant's run, see `Variant.given`


@dataclass(frozen=True)
class Variant:
    """One method with one set of options: a row of the grid.

    Attributes:
        method: Script in `baselines/` without its suffix, as in the records.
        name: Variant as in the records, "" for the method itself.
        title: Name in tables and plots.
        tables: Tables and plots that need it.
        order: Which cells come first: "a" (then "b" for the seeds after the first), "c", "d".
        minutes: Rough wall time of Grasp on one core with the usual preset [min].
        options: Options of the script beside those of every cell.
        policy: The policy that the method ends with.
        turns: Turns of the flywheel, if not the preset's.
        seeds: Seeds that are run.
        shares: Variant of the same method and last stage up to which a run of it is the same.
        given: Variant of the same method whose finished run is the option `PARENT`.
    """

    method: str
    name: str
    title: str
    tables: tuple[str, ...]
    order: str
    minutes: float
    options: tuple[str, ...] = ()
    policy: str = "combined"
    turns: int | None = None
    seeds: tuple[int, ...] = SEEDS[:1]
    shares: tuple[str, str] | None = None
    given: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Method and variant, as in the records."""
        return self.method, self.name

    def last_turn(self, preset: str) -> int:
        """Turn after which the run ends; 1 for methods without turns."""
        if self.method != "dexflywheel":
            return 1
        return self.turns or TURNS[preset]


def _baseline(method: str, name: str, title: str, minutes: float) -> Variant:
    tables = ("baselines", "differences", "generation", "objects")
    options = {"policy": "base", "seeds": SEEDS}
    return Variant(method, name, title, tables, "a", minutes, **options)


def _flywheel(name: str, title: str, order: str, minutes: float, *options: str, **more) -> Variant:
    table = "ablations" if order == "c" else "variants"
    return Variant("dexflywheel", name, title, (table,), order, minutes, options, **more)


FULL = Variant(
    "dexflywheel", "", "DexFlyWheel",
    ("flywheel", "baselines", "differences", "generation", "objects", "turns", "per_object",
     "ablations", "variants", "residual"),
    "a", 28.0, seeds=SEEDS,
)  # fmt: skip
# In the order of the tables; `sort` in `grid` keeps it within a letter and a seed.
GRID: tuple[Variant, ...] = (
    FULL,
    _baseline("human_demo", "default", "Human demos, fixed scene", 4.0),
    _baseline("human_demo", "enhanced", "Human demos, diverse", 4.0),
    _baseline("dexmimicgen", "default", "DexMimicGen, 1 source", 8.0),
    _baseline("dexmimicgen", "enhanced", "DexMimicGen, 10 sources", 8.0),
    _flywheel("no-residual-no-aep", "without both", "c", 8.0, "--no-residual", "--no-aep",
              policy="base"),
    _flywheel("no-residual", "without residual", "c", 10.0, "--no-residual", policy="base"),
    _flywheel("no-aep", "without A_EP", "c", 24.0, "--no-aep", shares=("", "eval_1")),
    _flywheel("sac", "residual by SAC, dense reward", "d", 50.0, "--residual-algo", "sac"),
    _flywheel("five-turns", "five turns", "d", 52.0, "--iterations", "5", turns=5,
              shares=("", "eval_3")),
    _flywheel("touch", "residual with touch", "d", 30.0, "--touch"),
    _flywheel("cumulative", "data of all turns", "d", 30.0, "--data", "cumulative",
              shares=("", "eval_1")),
    _flywheel("image", "base policy sees the camera", "d", 150.0, "--obs", "image"),
)  # fmt: skip

# Wall time relative to Grasp and to the usual preset: rough, until a run has been measured.
TASK_COST = {"Grasp": 1.0, "Pour": 2.5, "Lift": 2.0, "Handover": 2.5}
PRESET_COST = {"quick": 0.25, "laptop": 1.0, "paper": 65.0}  # paper: its own 30 h, on its GPUs


def variant(method: str, name: str = "") -> Variant:
    """Return a row of the grid.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    rows = {"-".join(filter(None, row.key)): row for row in GRID}
    return find(rows, "-".join(filter(None, (method, name))), "variant of the grid")


@dataclass(frozen=True)
class Cell:
    """One run: a variant, a task, a seed and a preset."""

    variant: Variant
    task: str
    seed: int
    preset: str

    @property
    def label(self) -> str:
        """The variant's name in the records.

        Scripts refuse records of other presets as their method's own, so those carry the preset.
        """
        usual = self.preset == USUAL_PRESET
        return self.variant.name or ("" if usual else self.preset)

    @property
    def name(self) -> str:
        """Name of the cell, also of its folders."""
        parts = (self.variant.method, self.variant.name, self.task, f"seed{self.seed}")
        return "-".join((*filter(None, parts), self.preset))

    @property
    def order(self) -> str:
        """Letter by which cells are sorted: the first seed of what matters most comes first."""
        first = self.seed == SEEDS[0]
        return "b" if self.variant.order == "a" and not first else self.variant.order

    @property
    def script(self) -> Path:
        """The script, relative to the clone."""
        return Path("baselines") / f"{self.variant.method}.py"

    @property
    def options(self) -> tuple[str, ...]:
        """All options that decide the results."""
        fixed = ("--task", self.task, "--preset", self.preset, "--seed", str(self.seed))
        protocol = ("--eval-splits", *SPLITS, "--eval-episodes", str(EPISODES))
        named = ("--variant", self.label) if self.label else ()
        return (*fixed, *protocol, *self.variant.options, *named)

    @property
    def parent(self) -> Cell | None:
        """The cell whose first stages are the same, or whose run this one is given, if any."""
        if self.variant.given is not None:
            return Cell(variant(self.variant.method, self.variant.given), *self._where)
        if self.variant.shares is None:
            return None
        whole = variant(self.variant.method, self.variant.shares[0])
        reach = int(self.variant.shares[1].rpartition("_")[2])
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


def version_in(source: str, name: str) -> int:
    """Read METHOD_VERSION from a script's text.

    Raises:
        ValueError: It sets none.
    """
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign):
            continue
        target, value = node.targets[0], node.value
        pairs = (
            zip(target.elts, value.elts, strict=False)
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            else [(target, value)]
        )
        for left, right in pairs:
            if isinstance(left, ast.Name) and left.id == "METHOD_VERSION":
                return int(ast.literal_eval(right))
    raise ValueError(f"{name} sets no METHOD_VERSION")


def digest(cell: Cell, root: Path = ROOT) -> str | None:
    """Return the hash that says whether a cell has to run again; None without its script."""
    version = method_version(root / cell.script)
    if version is None:
        return None
    parts = [cell.variant.method, version, entry(cell.task).env_id, cell.options]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def grid(
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
        if (not tables or set(tables) & set(row.tables))
        and (not methods or row.method in methods)
        and (not variants or row.name in variants)
        and (not seeds or seed in seeds)
    ]
    return sorted(chosen, key=lambda cell: (cell.order, cell.seed))
