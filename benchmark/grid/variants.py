"""The rows of the grid: methods and their variants, what each costs and which tables need it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.protocol import SEEDS, SPLITS, TASKS, TURNS
from dexfw_envs.catalog.lookup import find

# Words among options for what the run of another variant tells, see `Variant.given`:
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
        shares: Variant of the same method and last stage up to which a run of it is the same.
        given: Variant of the same method whose finished run `PARENT` and `RETRIES` stand for.
        measures: Turn whose policy of the given run is measured in another way; trains nothing.
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
    shares: tuple[str, str] | None = None
    given: str | None = None
    measures: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Method and variant, as in the records."""
        return self.method, self.name

    def last_turn(self, preset: str) -> int:
        """Turn after which the run ends; 1 for methods without turns, if they say no other."""
        if self.turns is not None:
            return self.turns
        return TURNS[preset] if self.method == "dexflywheel" else 1


def variant(method: str, name: str = "") -> Variant:
    """Return a row of the grid.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    rows = {"-".join(filter(None, row.key)): row for row in GRID}
    return find(rows, "-".join(filter(None, (method, name))), "variant of the grid")


def _baseline(method: str, name: str, title: str, minutes: float) -> Variant:
    tables = ("baselines", "differences", "generation", "objects")
    usual = {"policy": "base", "seeds": SEEDS, "splits": SPLITS[:1]}
    return Variant(method, name, title, tables, "a", minutes, **usual)


def _flywheel(name: str, title: str, order: str, minutes: float, *options: str, **more) -> Variant:
    table, seeds = ("ablations", SEEDS) if order == "c" else ("variants", SEEDS[:1])
    more = {"seeds": seeds, "splits": SPLITS[:1]} | more
    return Variant("dexflywheel", name, title, (table,), order, minutes, options, **more)


PIE_TASKS = ("Grasp", "Pour", "Handover")
# Demonstrations of the seeds: as many as bring the reference policy nearest to 50 % on T_OEP.
PIE_DEMONSTRATIONS = {"Grasp": (3, 3, 3), "Pour": (1, 1, 2), "Handover": (2, 3, 2)}
DATA = ("--collected", PARENT)  # demonstrations, reference policy and rollouts of DexPIE's run
AS_PUBLISHED = ("--ceiling", "1", "--quantiles", "0.6", "0.8", "--beta", "1.5",
                "--lookahead", "16", "--end-value", "critic", "--contrast", "1")  # fmt: skip
USUAL_LATENCY = 4  # of collection and of all tests that name no other [steps]
EVEN = ("--retries", RETRIES)  # a collection of its own, with no more interventions than DexPIE's


def _pie(name: str, title: str, table: str, minutes: float, *options: str, **more) -> Variant:
    known = {"policy": "base", "tasks": PIE_TASKS, "splits": SPLITS[:1]}
    known |= {"given": "dexpie"} if {PARENT, RETRIES} & set(options) else {}
    order = "e" if table == "pie" else "f"
    return Variant("dexpie", name, title, (table,), order, minutes, options, **known | more)


def _latency(of: str, title: str, turn: int, steps: int) -> Variant:
    options = ("--eval-latency", str(steps))
    known = {"given": of, "measures": turn, "turns": turn, "seeds": SEEDS}
    return _pie(f"{of}-latency-{steps}", title, "pie_latency", 0.4, *options, **known)


def _waiting(of: str, title: str, table: str, steps: int = USUAL_LATENCY) -> Variant:
    options = ("--eval-inference", "sync", "--eval-latency", str(steps))
    known = {"given": of, "measures": 1, "turns": 1, "seeds": SEEDS}
    return _pie(f"{of}-waiting-{steps}", title, table, 0.4, *options, **known)


def _displaced(of: str, title: str, turn: int, millimetres: int) -> Variant:
    options = ("--displacement", str(millimetres / 1000))
    known = {"given": of, "measures": turn, "turns": turn, "seeds": SEEDS}
    return _pie(f"{of}-displaced-{millimetres}", title, "pie_displacement", 0.4, *options, **known)


FULL = Variant(
    "dexflywheel", "", "DexFlyWheel",
    ("flywheel", "baselines", "differences", "generation", "objects", "turns", "per_object",
     "ablations", "variants", "residual"),
    "a", 28.0, seeds=SEEDS,
)  # fmt: skip
MAIN = (("dexflywheel", ""), ("dexpie", "dexpie"))  # the methods that all else is compared with
# What DexPIE is compared with: title, and the round whose policy it is.
COMPARED = {"bc": ("cloning (reference)", 0), "hg-dagger": ("HG-DAgger", 1),
            "recap": ("RECAP", 1), "dexpie": ("DexPIE", 1)}  # fmt: skip
LATENCIES = (0, 2, 6, 8)  # added in tests [steps], beside the usual
WAITS = (USUAL_LATENCY, 8)  # for a chunk, in tests that stand still until it is there [steps]
DISPLACEMENTS = (20, 40)  # of the object in tests [mm]
EPISODES_LEARNED = (15, 30, 45)  # of the 60 that are collected
# In the order of the tables; `sort` in `grid` keeps it within a letter and a seed.
GRID: tuple[Variant, ...] = (
    FULL,
    _baseline("human_demo", "default", "Human demos, fixed scene", 1.0),
    _baseline("human_demo", "enhanced", "Human demos, diverse", 1.0),
    _baseline("dexmimicgen", "default", "DexMimicGen, 1 source", 4.0),
    _baseline("dexmimicgen", "enhanced", "DexMimicGen, 10 sources", 4.0),
    _flywheel("no-residual-no-aep", "without both", "c", 8.0, "--no-residual", "--no-aep",
              policy="base", shares=("no-residual", "eval_1")),
    _flywheel("no-residual", "without residual", "c", 10.0, "--no-residual", policy="base"),
    _flywheel("no-aep", "without A_EP", "c", 24.0, "--no-aep", shares=("", "eval_1")),
    _flywheel("sac", "residual by SAC, dense reward", "d", 50.0, "--residual-algo", "sac"),
    _flywheel("five-turns", "five turns", "d", 52.0, "--iterations", "5", turns=5,
              shares=("", "eval_3")),
    _flywheel("touch", "residual with touch", "d", 30.0, "--touch"),
    _flywheel("cumulative", "data of all turns", "d", 30.0, "--data", "cumulative",
              shares=("", "eval_1")),
    _flywheel("image", "base policy sees the camera", "d", 150.0, "--obs", "image"),
    _pie("dexpie", "DexPIE", "pie", 4.5, seeds=SEEDS),
    _pie("bc", "cloning (reference)", "pie", 0.5, *DATA, seeds=SEEDS, turns=0),
    _pie("hg-dagger", "HG-DAgger", "pie", 2.5, *DATA, seeds=SEEDS),
    _pie("recap", "RECAP", "pie", 2.5, *DATA, seeds=SEEDS),
    _pie("dexpie-sync", "synchronous collection", "pie_ablations", 2.5, "--inference", "sync",
         *EVEN, shares=("dexpie", "eval_0"), seeds=SEEDS),
    _waiting("dexpie-sync", "synchronous collection and tests", "pie_ablations"),
    _pie("dexpie-initial", "ordinary starts", "pie_ablations", 2.5, "--starts", "initial",
         *EVEN, shares=("dexpie", "eval_0"), seeds=SEEDS),
    _pie("dexpie-unforeseen", "operator steps in later, --foresight 0", "pie_ablations", 2.5,
         "--foresight", "0", *EVEN, shares=("dexpie", "eval_0"), seeds=SEEDS),
    _pie("bc-30", "cloning of 30 demonstrations", "pie_ablations", 2.0,
         "--demonstrations", "30", turns=0),
    _pie("dexpie-absolute", "absolute actions", "pie_ablations", 4.5,
         "--action-space", "absolute", *EVEN, seeds=SEEDS),
    _pie("dexpie-exposed", "prefixes half of the time", "pie_ablations", 4.5,
         "--prefix-exposure", "0.5", *EVEN),
    _pie("dexpie-saturated", "no ceiling, as in the paper", "pie_ablations", 2.5, *DATA,
         "--ceiling", "1", seeds=SEEDS),
    _pie("hg-dagger-first", "HG-DAgger, operator's steps alone", "pie_ablations", 2.5, *DATA,
         "--imitate", "interventions", seeds=SEEDS),
    _pie("dexpie-paper", "labels and guidance as in the paper", "pie_ablations", 2.5, *DATA,
         *AS_PUBLISHED, seeds=SEEDS),
    _pie("dexpie-warm", "from the reference's weights", "pie_ablations", 2.5, *DATA,
         "--init", "reference"),
    _pie("dexpie-linear", "linear indicator", "pie_ablations", 2.5, *DATA, "--indicator", "linear",
         seeds=SEEDS),
    _pie("dexpie-outcome", "labels by the outcome alone", "pie_ablations", 2.5, *DATA,
         "--indicator", "outcome"),
    _pie("dexpie-successes", "the same, successes alone", "pie_ablations", 2.5, *DATA,
         "--indicator", "outcome", "--imitate", "successes"),
    _pie("dexpie-unguided", "no guidance", "pie_ablations", 2.5, *DATA, "--beta", "1"),
    _pie("dexpie-blind", "critic without the hand", "pie_ablations", 2.5, *DATA,
         "--no-critic-hand", seeds=SEEDS),
    _pie("dexpie-touch", "critic with touch", "pie_ablations", 2.5, *DATA, "--critic-touch",
         seeds=SEEDS),
    *(_pie(f"dexpie-episodes-{n}", f"{n} episodes", "pie_episodes", 2.5, *DATA,
           "--rollouts", str(n), seeds=SEEDS) for n in EPISODES_LEARNED),
    *(_latency(name, *COMPARED[name], steps) for name in ("bc", "dexpie") for steps in LATENCIES),
    *(_waiting("dexpie", f"synchronous tests, {steps} steps", "pie_latency", steps)
      for steps in WAITS),
    *(_displaced(name, *known, mm) for name, known in COMPARED.items() for mm in DISPLACEMENTS),
)  # fmt: skip

# Wall time relative to Grasp and to the usual preset: rough, until a run has been measured.
TASK_COST = {"Grasp": 1.0, "Pour": 1.6, "Lift": 1.2, "Handover": 1.8}
PRESET_COST = {"quick": 0.25, "laptop": 1.0, "paper": 65.0}  # paper: its own 30 h, on its GPUs
