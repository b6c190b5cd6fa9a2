"""The rows of the grid: methods and their variants, what each costs and which tables need it.

A variant of a method is added here alone, as a row: cells, tables, plots and pages follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from benchmark.protocol import FLYWHEEL, HUMAN, MIMICGEN, PIE, SEEDS, SPLITS, TASKS, TURNS
from dexfw_envs.catalog.lookup import find

# Placeholders among options, filled in from the run that `Variant.uses_run_of` names:
PARENT = "{parent}"  # its folder
RETRIES = "{retries}"  # how many second tries its first collection had


@dataclass(frozen=True)
class Variant:
    """One method with one set of options: a row of the grid.

    Attributes:
        method: Script in `baselines/` without its suffix, as in the records.
        name: Variant as in the records, "" for the method itself.
        title: Name in tables and plots.
        tables: Tables and plots that need it.
        order: Which cells come first: "a" (seeds after the first "b"), "c" (these "d"), "d", ...
        minutes: Rough wall time of Grasp on one core with the usual preset [min].
        options: Options of the script beside those of every cell.
        policy: The policy that the method ends with.
        turns: Turns of the flywheel, if not the preset's; rounds of DexPIE.
        seeds: Seeds that are run.
        tasks: Tasks that it is run on.
        splits: Splits that its policies are measured on.
        forks_from: Variant of the same method, and the last stage up to which both are the same:
            a run starts from a copy of the other's.
        uses_run_of: Variant of the same method whose finished run fills in `PARENT`, `RETRIES`.
        evaluates_turn: Turn whose policy of that run is evaluated in another way; nothing is
            trained.
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
    tasks: tuple[str, ...] = TASKS
    splits: tuple[str, ...] = SPLITS
    forks_from: tuple[str, str] | None = None
    uses_run_of: str | None = None
    evaluates_turn: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Method and variant, as in the records."""
        return self.method, self.name

    def last_turn(self, preset: str) -> int:
        """Turn after which the run ends; 1 for methods without turns, if they say no other."""
        if self.turns is not None:
            return self.turns
        return TURNS[preset] if self.method == FLYWHEEL else 1


def find_variant(method: str, name: str = "") -> Variant:
    """Return a row of the grid.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    rows = {"-".join(filter(None, row.key)): row for row in GRID}
    return find(rows, "-".join(filter(None, (method, name))), "variant of the grid")


# --- DexFlyWheel and its baselines

DEXFLYWHEEL = Variant(
    FLYWHEEL,
    name="",
    title="DexFlyWheel",
    tables=(
        "flywheel", "baselines", "differences", "generation", "objects", "turns", "per_object",
        "ablations", "variants", "residual",
    ),
    order="a",
    minutes=28.0,
    seeds=SEEDS,
)  # fmt: skip


def _baseline(method: str, name: str, title: str, minutes: float) -> Variant:
    """A method that DexFlyWheel is compared with."""
    tables = ("baselines", "differences", "generation", "objects")
    return Variant(
        method, name, title, tables, "a", minutes, policy="base", seeds=SEEDS, splits=SPLITS[:1]
    )


def _ablation(
    name: str, title: str, minutes: float, options: tuple[str, ...], **changes: Any
) -> Variant:
    """DexFlyWheel without one of its parts."""
    tables = ("ablations",)
    row = Variant(FLYWHEEL, name, title, tables, "c", minutes, options, splits=SPLITS[:1])
    return replace(row, seeds=SEEDS, **changes)


def _setting(
    name: str, title: str, minutes: float, options: tuple[str, ...], **changes: Any
) -> Variant:
    """DexFlyWheel with another setting."""
    tables = ("variants",)
    row = Variant(FLYWHEEL, name, title, tables, "d", minutes, options, splits=SPLITS[:1])
    return replace(row, **changes)


FLYWHEEL_ROWS: tuple[Variant, ...] = (
    DEXFLYWHEEL,
    _baseline(HUMAN, "default", "Human demos, fixed scene", 1.0),
    _baseline(HUMAN, "enhanced", "Human demos, diverse", 1.0),
    _baseline(MIMICGEN, "default", "DexMimicGen, 1 source", 4.0),
    _baseline(MIMICGEN, "enhanced", "DexMimicGen, 10 sources", 4.0),
    _ablation(
        "no-residual-no-aep",
        "without both",
        8.0,
        ("--no-residual", "--no-aep"),
        policy="base",
        forks_from=("no-residual", "eval_1"),
    ),
    _ablation("no-residual", "without residual", 10.0, ("--no-residual",), policy="base"),
    _ablation("no-aep", "without A_EP", 24.0, ("--no-aep",), forks_from=("", "eval_1")),
    _setting("sac", "residual by SAC, dense reward", 50.0, ("--residual-algo", "sac")),
    _setting(
        "five-turns",
        "five turns",
        52.0,
        ("--iterations", "5"),
        turns=5,
        forks_from=("", "eval_3"),
    ),
    _setting("touch", "residual with touch", 30.0, ("--touch",)),
    _setting(
        "cumulative",
        "data of all turns",
        30.0,
        ("--data", "cumulative"),
        forks_from=("", "eval_1"),
    ),
    _setting("image", "base policy sees the camera", 150.0, ("--obs", "image")),
)

# --- DexPIE and what it is compared with

PIE_TASKS = ("Grasp", "Pour", "Handover")
#: Demonstrations by seed: as many as bring the reference policy nearest to 50 % on T_OEP.
PIE_DEMONSTRATIONS = {"Grasp": (3, 3, 3), "Pour": (1, 1, 2), "Handover": (2, 3, 2)}
#: Learns from the demonstrations, reference policy and rollouts of DexPIE's own run.
ON_SAME_DATA = ("--collected", PARENT)
#: Collects its own rollouts, with no more second tries than DexPIE's collection had.
SAME_TRIES = ("--retries", RETRIES)
AS_PUBLISHED = (
    "--ceiling", "1", "--quantiles", "0.6", "0.8", "--beta", "1.5",
    "--lookahead", "16", "--end-value", "critic", "--contrast", "1",
)  # fmt: skip
USUAL_LATENCY = 4  # of collection and of all tests that name no other [steps]
OTHER_LATENCIES = (0, 2, 6, 8)  # of tests [steps]
SYNCHRONOUS_LATENCIES = (USUAL_LATENCY, 8)  # of tests that stand still until a chunk is there
DISPLACEMENTS = (20, 40)  # of the object in tests [mm]
EPISODES_LEARNED = (15, 30, 45)  # of the 60 that are collected

#: The policies compared: title, and the round after which the policy is there.
COMPARED = {
    "bc": ("cloning (reference)", 0),
    "hg-dagger": ("HG-DAgger", 1),
    "recap": ("RECAP", 1),
    "dexpie": ("DexPIE", 1),
}


def _pie(
    name: str, title: str, table: str, minutes: float, options: tuple[str, ...] = (), **changes: Any
) -> Variant:
    """A row of the script of DexPIE; run with all seeds unless it says otherwise."""
    is_compared = table == "pie"
    row = Variant(
        PIE,
        name,
        title,
        (table,),
        "e" if is_compared else "f",
        minutes,
        options,
        policy="base",
        seeds=SEEDS,
        tasks=PIE_TASKS,
        splits=SPLITS[:1],
    )
    if PARENT in options or RETRIES in options:
        row = replace(row, uses_run_of="dexpie")
    return replace(row, **changes)


def _test(of: str, suffix: str, title: str, table: str, turn: int, *options: str) -> Variant:
    """A policy of the run of another row, tested in another way."""
    changes = {"uses_run_of": of, "evaluates_turn": turn, "turns": turn}
    return _pie(f"{of}-{suffix}", title, table, 0.4, options, **changes)


def _latency_test(of: str, steps: int) -> Variant:
    title, turn = COMPARED[of]
    latency = ("--eval-latency", str(steps))
    return _test(of, f"latency-{steps}", title, "pie_latency", turn, *latency)


def _synchronous_test(of: str, title: str, table: str, steps: int = USUAL_LATENCY) -> Variant:
    """The policy after round 1, tested standing still until a chunk is there."""
    options = ("--eval-inference", "sync", "--eval-latency", str(steps))
    return _test(of, f"waiting-{steps}", title, table, 1, *options)


def _displacement_test(of: str, millimetres: int) -> Variant:
    title, turn = COMPARED[of]
    displacement = ("--displacement", str(millimetres / 1000))
    return _test(of, f"displaced-{millimetres}", title, "pie_displacement", turn, *displacement)


def _episodes(count: int) -> Variant:
    """DexPIE learning from the first episodes of its collection."""
    options = (*ON_SAME_DATA, "--rollouts", str(count))
    return _pie(f"dexpie-episodes-{count}", f"{count} episodes", "pie_episodes", 2.5, options)


PIE_COMPARED_ROWS: tuple[Variant, ...] = (
    _pie("dexpie", "DexPIE", "pie", 4.5),
    _pie("bc", "cloning (reference)", "pie", 0.5, ON_SAME_DATA, turns=0),
    _pie("hg-dagger", "HG-DAgger", "pie", 2.5, ON_SAME_DATA),
    _pie("recap", "RECAP", "pie", 2.5, ON_SAME_DATA),
)


def _pie_ablation(
    name: str, title: str, minutes: float, options: tuple[str, ...], **changes: Any
) -> Variant:
    """DexPIE with another setting."""
    return _pie(name, title, "pie_ablations", minutes, options, **changes)


FIRST_SEED = SEEDS[:1]
#: Same demonstrations and reference policy as DexPIE's run, which ends with this stage.
FROM_REFERENCE = ("dexpie", "eval_0")

PIE_ABLATIONS: tuple[Variant, ...] = (
    _pie_ablation(
        "dexpie-sync",
        "synchronous collection",
        2.5,
        ("--inference", "sync", *SAME_TRIES),
        forks_from=FROM_REFERENCE,
    ),
    _synchronous_test("dexpie-sync", "synchronous collection and tests", "pie_ablations"),
    _pie_ablation(
        "dexpie-initial",
        "ordinary starts",
        2.5,
        ("--starts", "initial", *SAME_TRIES),
        forks_from=FROM_REFERENCE,
    ),
    _pie_ablation(
        "dexpie-unforeseen",
        "operator steps in later, --foresight 0",
        2.5,
        ("--foresight", "0", *SAME_TRIES),
        forks_from=FROM_REFERENCE,
    ),
    _pie_ablation(
        "bc-30",
        "cloning of 30 demonstrations",
        2.0,
        ("--demonstrations", "30"),
        turns=0,
        seeds=FIRST_SEED,
    ),
    _pie_ablation(
        "dexpie-absolute",
        "absolute actions",
        4.5,
        ("--action-space", "absolute", *SAME_TRIES),
    ),
    _pie_ablation(
        "dexpie-exposed",
        "prefixes half of the time",
        4.5,
        ("--prefix-exposure", "0.5", *SAME_TRIES),
        seeds=FIRST_SEED,
    ),
    _pie_ablation(
        "dexpie-saturated",
        "no ceiling, as in the paper",
        2.5,
        (*ON_SAME_DATA, "--ceiling", "1"),
    ),
    _pie_ablation(
        "hg-dagger-first",
        "HG-DAgger, operator's steps alone",
        2.5,
        (*ON_SAME_DATA, "--imitate", "interventions"),
    ),
    _pie_ablation(
        "dexpie-paper",
        "labels and guidance as in the paper",
        2.5,
        (*ON_SAME_DATA, *AS_PUBLISHED),
    ),
    _pie_ablation(
        "dexpie-warm",
        "from the reference's weights",
        2.5,
        (*ON_SAME_DATA, "--init", "reference"),
        seeds=FIRST_SEED,
    ),
    _pie_ablation(
        "dexpie-linear",
        "linear indicator",
        2.5,
        (*ON_SAME_DATA, "--indicator", "linear"),
    ),
    _pie_ablation(
        "dexpie-outcome",
        "labels by the outcome alone",
        2.5,
        (*ON_SAME_DATA, "--indicator", "outcome"),
        seeds=FIRST_SEED,
    ),
    _pie_ablation(
        "dexpie-successes",
        "the same, successes alone",
        2.5,
        (*ON_SAME_DATA, "--indicator", "outcome", "--imitate", "successes"),
        seeds=FIRST_SEED,
    ),
    _pie_ablation(
        "dexpie-unguided",
        "no guidance",
        2.5,
        (*ON_SAME_DATA, "--beta", "1"),
        seeds=FIRST_SEED,
    ),
    _pie_ablation(
        "dexpie-blind",
        "critic without the hand",
        2.5,
        (*ON_SAME_DATA, "--no-critic-hand"),
    ),
    _pie_ablation(
        "dexpie-touch",
        "critic with touch",
        2.5,
        (*ON_SAME_DATA, "--critic-touch"),
    ),
)


def _pie_tests() -> tuple[Variant, ...]:
    """Rows by number of episodes, latency and displacement."""
    rows = [_episodes(count) for count in EPISODES_LEARNED]
    for name in ("bc", "dexpie"):
        rows += [_latency_test(name, steps) for steps in OTHER_LATENCIES]
    for steps in SYNCHRONOUS_LATENCIES:
        title = f"synchronous tests, {steps} steps"
        rows.append(_synchronous_test("dexpie", title, "pie_latency", steps))
    for name in COMPARED:
        rows += [_displacement_test(name, millimetres) for millimetres in DISPLACEMENTS]
    return tuple(rows)


#: All rows in the order of the tables. Cells are sorted by letter and seed, and keep it within.
GRID: tuple[Variant, ...] = FLYWHEEL_ROWS + PIE_COMPARED_ROWS + PIE_ABLATIONS + _pie_tests()
#: The methods that all else is compared with.
MAIN_METHODS = (DEXFLYWHEEL.key, (PIE, "dexpie"))

# Wall time relative to Grasp and to the usual preset: rough, until a run has been measured.
TASK_COST = {"Grasp": 1.0, "Pour": 1.6, "Lift": 1.2, "Handover": 1.8}
PRESET_COST = {"quick": 0.25, "laptop": 1.0, "paper": 65.0}  # paper: its own 30 h, on its GPUs
