"""Which tables there are: rows, columns, and the query behind each entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmark.figures.published import JOINT_DIFFERENCE
from benchmark.figures.query import Query
from benchmark.grid.variants import GRID, Variant, find_variant
from benchmark.kept.residuals import MASS_THIRDS, object_groups
from benchmark.protocol import FLYWHEEL, HUMAN, MIMICGEN, TASKS
from benchmark.report import pie_layouts
from benchmark.report.pie_layouts import TableEntry
from dexfw_envs.catalog.curricula import iterations, objects_for

COLUMNS = (*TASKS, "mean")

SETTING = (
    "Ours: MuJoCo, Inspire-like hands on all arms, a scripted demonstration, state observations, "
    "episodes of 300 steps at 20 Hz (Handover 400), what counts held for 0.5 s. The paper: "
    "OmniGibson, other hands on the two arms, a person's demonstration, camera images, episodes of "
    "600 steps (Handover 800) at a rate it does not name, what counts held in Handover alone."
)

PIE_SETTING = (
    "Ours: Grasp, Pour and Handover in MuJoCo, state observations, a scripted operator. The paper: "
    "three other tasks on a real robot, camera images, a person; figures from summaries of it."
)


@dataclass(frozen=True)
class Layout:
    """One table.

    Attributes:
        name: Name of its files.
        title: What it shows.
        heads: Names of the labels of a row.
        entries: Makes all entries of the table, row by row; takes the last turn.
        note: What to know when reading it.
    """

    name: str
    title: str
    heads: tuple[str, ...]
    entries: Callable[[int], Iterator[TableEntry]]
    note: str


def _flywheel(last: int) -> Iterator[TableEntry]:
    numbers = ("number of objects", "number of surroundings", "number of poses")
    design = (*numbers, "configurations", "trajectories")
    for task in COLUMNS:
        for turn in range(1, last + 1):
            row = (task, str(turn))
            for quantity in design:
                column = quantity.removeprefix("number of ")
                yield TableEntry(row, column, Query(quantity, FLYWHEEL, "", turn, "", task))
            for policy in ("base", "combined"):
                query = Query("T_OEP", FLYWHEEL, "", turn, policy, task)
                yield TableEntry(row, f"T_OEP {policy} %", query)


def _final(row: Variant, last: int) -> tuple[str, str, int, str]:
    """Method, variant, last turn and policy of a row of the grid."""
    turn = (row.turns or last) if row.method == FLYWHEEL else 1
    return *row.key, turn, row.policy


def _of_table(name: str) -> list[Variant]:
    return [row for row in GRID if name in row.tables]


def _baselines(last: int) -> Iterator[TableEntry]:
    for row in sorted(_of_table("baselines"), key=lambda row: row.method == FLYWHEEL):
        for task in COLUMNS:
            yield TableEntry((row.title,), task, Query("T_OEP", *_final(row, last), task))


def _differences(last: int) -> Iterator[TableEntry]:
    for row in _of_table("differences"):
        for task in COLUMNS if row.method != FLYWHEEL else ():
            query = Query("difference", *_final(row, last), task)
            yield TableEntry((f"DexFlyWheel less {row.title}",), task, query)


#: Quantities of making data, and their names in the table.
MAKING = {
    "first tries": "success at the first try %",
    "generation": "success of all tries %",
    "seconds a trajectory": "time per trajectory [s]",
    "hours for 500": "time for 500 [h]",
    "hours of the run": "whole run [h]",
}


def _generation(last: int) -> Iterator[TableEntry]:
    """Rows by maker; both kinds of the flywheel's data come from one stage and share its time."""
    times = ("seconds a trajectory", "hours for 500")
    makers = [("People", (HUMAN, "enhanced", 1, "edited"), times)]
    for name, title in (("default", "1 source"), ("enhanced", "10 sources")):
        makers.append((f"DexMimicGen, {title}", (MIMICGEN, name, 1, "edited"), tuple(MAKING)))
    makers += [
        ("DexFlyWheel, rollouts of the policy", (FLYWHEEL, "", last, "rollouts"), tuple(MAKING)),
        (
            "DexFlyWheel, A_EP on them",
            (FLYWHEEL, "", last, "edited"),
            ("first tries", "generation"),
        ),
    ]
    for title, maker, quantities in makers:
        for quantity in quantities:
            for task in COLUMNS:
                yield TableEntry((title, MAKING[quantity]), task, Query(quantity, *maker, task))


def _ablations(last: int) -> Iterator[TableEntry]:
    rows = [row for row in _of_table("ablations") if row.method == FLYWHEEL]
    for row in sorted(rows, key=lambda row: row.name == ""):
        for task in COLUMNS:
            yield TableEntry((row.title,), task, Query("T_OEP", *_final(row, last), task))


def _variants(last: int) -> Iterator[TableEntry]:
    for row in _of_table("variants"):
        turns = range(last + 1, row.turns + 1) if row.turns else (last,)
        for turn in turns:  # turns up to the last usual one are those of the method itself
            for task in COLUMNS:
                query = Query("T_OEP", FLYWHEEL, row.name, turn, row.policy, task)
                yield TableEntry((row.title, str(turn)), task, query)


def _objects(last: int) -> Iterator[TableEntry]:
    rows = [find_variant(MIMICGEN, "default"), find_variant(MIMICGEN, "enhanced")]
    rows += [find_variant(FLYWHEEL, "no-residual"), find_variant(FLYWHEEL)]
    for row in rows:
        method, name, turn, _ = _final(row, last)
        for task in COLUMNS:
            query = Query("objects handled", method, name, turn, "edited", task)
            yield TableEntry((row.title,), task, query)


def _turns(last: int) -> Iterator[TableEntry]:
    splits = [(1, 1), *((turn, turn + 1) for turn in range(1, min(last, 2) + 1))]
    for turn, split in splits:
        for policy in ("base", "combined"):
            for task in COLUMNS:
                query = Query(f"T_O({split})", FLYWHEEL, "", turn, policy, task)
                yield TableEntry((f"T_O({split})", str(turn), policy), task, query)


def _per_object(last: int) -> Iterator[TableEntry]:
    for task in TASKS:
        for name in objects_for(task, iterations(task)):
            for policy in ("base", "combined"):
                query = Query("T_OEP", FLYWHEEL, "", last, policy, task, name)
                yield TableEntry((task, name), f"T_OEP {policy} %", query)
            query = Query("objects", FLYWHEEL, "", last, "combined", task, name)
            yield TableEntry((task, name), "objects combined %", query)


def _by_group(pair: tuple[str, str]) -> tuple[int, str, int]:
    """Groups by mass first, then the paper's objects and shape families by name; then tasks."""
    task, name = pair
    return (
        MASS_THIRDS.index(name) if name in MASS_THIRDS else len(MASS_THIRDS),
        name,
        TASKS.index(task),
    )


def _residual(last: int) -> Iterator[TableEntry]:
    for turn in range(1, last + 1):
        for task in COLUMNS:
            query = Query("residual ratio", FLYWHEEL, "", turn, "combined", task)
            yield TableEntry((f"residual / base %, turn {turn}", ""), task, query)
    ours = [(task, name) for task in TASKS for name in object_groups(task)]
    for task, name in sorted({*ours, *JOINT_DIFFERENCE}, key=_by_group):
        query = Query("joint difference", FLYWHEEL, "", last, "combined", task, name)
        yield TableEntry(("joint difference [rad]", name), task, query)


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "flywheel", "The flywheel, turn by turn", ("Task", "Turn"), _flywheel,
        "Objects, surroundings, poses and their product are those of the curriculum; success on "
        "the held-out scenes. The paper's success is that of its combined policy. " + SETTING,
    ),
    Layout(
        "baselines", "Success on T_OEP against other methods [%]", ("Method",), _baselines,
        "The policies measured are the last ones: combined for DexFlyWheel, base for the others. "
        "In place of people's demonstrations ours come from the scripted expert with human-like "
        "variation. No policy is told which object it has before it; the flywheel's residual sees "
        "its turn and velocities, the other policies its place alone. Told, DexMimicGen's does "
        "better (docs/harness.md). " + SETTING,
    ),
    Layout(
        "differences", "DexFlyWheel less other methods on T_OEP [percentage points]", ("",),
        _differences,
        "Paired: the same scenes for both, seed by seed; the mean weighs tasks equally. The "
        "paper's differences follow from its table. " + SETTING,
    ),
    Layout(
        "generation", "Making data: success and time", ("Maker", "What"), _generation,
        "Of the last turn. DexFlyWheel tries a scene that failed up to ten times, so hard ones "
        "weigh more in all tries; DexMimicGen tries each once. Time is that of the whole stage, "
        "failed tries included, on the threads of the run; the paper's is for Lift on one RTX "
        "4090. No person has recorded any here. "
        + SETTING,
    ),
    Layout(
        "ablations", "Parts left out: success on T_OEP [%]", ("",), _ablations,
        "After the last turn; without residual the base policy is measured. The paper's means of "
        "the ablations follow from its four tasks. " + SETTING,
    ),
    Layout(
        "variants", "Other settings: success on T_OEP [%]", ("", "Turn"), _variants,
        "Turns before the fourth of the five are those of the method itself. " + SETTING,
    ),
    Layout(
        "objects", "Objects of which the last turn's data hold a success", ("Maker",), _objects,
        "Mean over runs. The demonstration itself has one object. " + SETTING,
    ),
    Layout(
        "turns", "Base and combined policy on the objects of a turn [%]",
        ("Split", "Turn", "Policy"), _turns,
        "T_O(i + 1) holds the objects that turn i + 1 adds, met by the policies of turn i. "
        + SETTING,
    ),
    Layout(
        "per_object", "Success object by object [%]", ("Task", "Object"), _per_object,
        "After the last turn. The split `objects` meets every object equally often. The paper's "
        "are of three objects of the same kind, in scenes that it does not name. " + SETTING,
    ),
    Layout(
        "residual", "Size of the residual", ("", "Object"), _residual,
        "Size: of the combined action's difference to the base's, relative to it, mean over steps. "
        "Joints: mean absolute difference of the arm joints between combined and base policy from "
        "the same start, after the last turn, by mass and by shape family of our objects; the "
        "paper's are to a nominal trajectory, with its objects. " + SETTING,
    ),
    Layout(
        "pie", "DexPIE and others on the same data: T_OEP", ("Method", "What"), pie_layouts.methods,
        "Progress: furthest stage as a share of the task's stages, 1 for a success. " + PIE_SETTING,
    ),
    Layout(
        "pie_differences", "DexPIE less other methods on T_OEP [percentage points]", ("",),
        pie_layouts.differences, "Paired: the same scenes for both, seed by seed. " + PIE_SETTING,
    ),
    Layout(
        "pie_ablations", "DexPIE with one setting changed: T_OEP [%]",
        ("",), pie_layouts.ablations,
        "Tests are of 4 steps of latency, asynchronous but where a row says so. DexPIE's row is of "
        "three seeds, some others of the first alone: the table of differences compares the same. "
        + PIE_SETTING,
    ),
    Layout(
        "pie_latency", "Success against latency in tests [%]", ("Policy", "Latency"),
        pie_layouts.latency,
        "Prefixes hold 4 actions: beyond them a result is late and the last command is held. "
        "Synchronously it is held for the whole latency, chunk by chunk. " + PIE_SETTING,
    ),
    Layout(
        "pie_displacement", "Success with the object displaced [%]", ("Policy", "By"),
        pie_layouts.displacement, "In a direction of its own for every scene. " + PIE_SETTING,
    ),
    Layout(
        "pie_episodes", "Success against the number of collected episodes [%]", ("Episodes",),
        pie_layouts.episodes, "The first ones of the same collection. " + PIE_SETTING,
    ),
    Layout(
        "pie_collection", "What is collected: starts, interventions, jumps", ("",),
        pie_layouts.collection,
        "Mean over the seeds; of steps the largest change of any joint command. The operator's "
        "commands are blended in over five steps. " + PIE_SETTING,
    ),
    Layout(
        "pie_stages", "Starts by stage, and how well the critic judges", ("Stage", "What"),
        pie_layouts.stages,
        "Mean over the seeds. The critic: rollouts that it has not learned from, their frames in "
        "the stage; no AUROC where all of these succeed. " + PIE_SETTING,
    ),
)  # fmt: skip
