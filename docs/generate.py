"""Write the generated tables of the documentation: `python docs/generate.py`.

A page holds blocks between `<!-- generated: NAME -->` and `<!-- end -->`; the rest is written by
hand. A test regenerates every block and compares.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from claims import claims_table, main_claims, verdict_counts
from settings import settings_table
from tables import (
    TASK_TABLES,
    harness_table,
    install_table,
    overview_table,
    policy_film,
    scaling_table,
    short,
    speed_line,
    speed_table,
    start_table,
    worlds_table,
)

from benchmark.protocol import USUAL_PRESET, results_of
from benchmark.studies import endurance, object_identity
from dexfw_envs.backends.starts import START_NOISE
from dexfw_envs.catalog import SURROUNDINGS, ObjectSpec, curriculum, get_object
from dexfw_envs.catalog import splits as catalog_splits
from dexfw_envs.catalog.curricula import iterations, new_objects
from dexfw_envs.catalog.shapes import reach
from dexfw_envs.control import codec
from dexfw_envs.demos.transfer import transfer_table
from dexfw_envs.envs.observe import flat_order
from dexfw_envs.experts.measure import sentence
from dexfw_envs.registry import TASKS, TaskEntry, entry
from dexfw_envs.tasks.base import FAILURES, ObservationGroup
from dexfw_envs.variation import AXES, GROUPS

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS.parent / "results"
BLOCK = re.compile(r"(<!-- generated: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
SECTIONS = ("Task", "Randomised", "Success", "Episode end", "History")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def number(value: float) -> str:
    return f"{value:.4g}"


# --- a task's page


def summary(item: TaskEntry) -> str:
    """The sections of the task's docstring."""
    text = inspect.getdoc(type(item.make())) or ""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n", text, flags=re.MULTILINE)
    body = dict(zip(parts[1::2], (" ".join(part.split()) for part in parts[2::2]), strict=True))
    missing = [name for name in SECTIONS if name not in body]
    if missing:
        raise ValueError(f"the docstring of {item.name} lacks the sections {missing}")
    rows = [("Id", f"`{item.env_id}`"), *((name, body[name].replace("|", "/")) for name in body)]
    return table(("", ""), ((f"**{name}**", text) for name, text in rows))


def observation(item: TaskEntry) -> str:
    """The groups, and where each element lies in a flat observation."""
    groups = item.make().observation_groups
    first = flat_starts(groups)
    rows = []
    for group in groups:
        start = 0
        for meaning, size, unit, bound in group.rows:
            place = elements(start, size)
            flat = elements(first[group.name] + start, size)
            rows.append((f"`{group.name}`", place, flat, meaning, unit, f"±{number(bound)}"))
            start += size
    rows.append(("`image`", "", "", "pixels (size, size, 3), uint8", "1", "0 to 255"))
    return table(("Group", "Elements", "Flat", "Meaning", "Unit", "Bound"), rows)


def elements(start: int, size: int) -> str:
    return f"{start}" if size == 1 else f"{start}–{start + size - 1}"


def flat_starts(groups: Iterable[ObservationGroup]) -> dict[str, int]:
    """The first index of each group in a flat observation; the same with and without touch.

    Raises:
        ValueError: It is not the same, and needs a column for each mode.
    """
    sizes = {group.name: group.size for group in groups}
    order = flat_order("state+touch/flat")
    shorter = flat_order("state/flat")
    if order[: len(shorter)] != shorter:
        raise ValueError(f"the order of groups differs between flat modes: {shorter}, {order}")
    starts = {}
    start = 0
    for name in order:
        starts[name] = start
        start += sizes[name]
    return starts


def failures() -> str:
    """The codes of `info["failure_code"]`."""
    rows = ((code, f"`{name}`" if name else "not failed") for code, name in enumerate(FAILURES))
    return table(("`failure_code`", "`failure`"), rows)


def variations() -> str:
    """The axes of `variation`: what each changes, its usual range, and what is allowed."""
    groups = {name: group for group, names in GROUPS.items() if group != "all" for name in names}
    rows = []
    for axis in AXES.values():
        usual = f"{number(axis.usual[0])} to {number(axis.usual[1])}"
        limits = f"{number(axis.limits[0])} to {number(axis.limits[1])}"
        unit = "factor" if axis.unit == "x" else axis.unit or "share"
        group = groups.get(axis.name, "")
        rows.append((f"`{axis.name}`", group, axis.meaning, unit, usual, limits))
    return table(("Axis", "Group", "What it changes", "Unit", "Usual range", "Allowed"), rows)


def action(item: TaskEntry) -> str:
    """The `ee_pose` action, one row per kind of element."""
    robot = item.make().needs.robot
    rows = []
    for arm, mount in enumerate(robot.mounts):
        first = 12 * arm
        side = f"{mount.side} " if robot.arms > 1 else ""
        x, y, z = (number(value) for value in mount.nominal_position)
        position = f"({x}, {y}, {z}) ± {number(codec.POSITION_UNIT)} m"
        slew = f"{number(codec.POSITION_SLEW)} m"
        rows.append(
            (f"{first}–{first + 2}", f"{side}palm position in the table frame", position, slew)
        )
        turn = f"± {number(mount.rotation_unit)} rad about each axis"
        slew = f"{number(codec.ROTATION_SLEW)} rad"
        meaning = f"{side}palm rotation vector from the nominal grasp orientation"
        rows.append((f"{first + 3}–{first + 5}", meaning, turn, slew))
        slew = f"{number(codec.HAND_SLEW)} rad"
        for k, index in enumerate(robot.hand.driven):
            name = robot.hand.joint_names[index].replace("_", " ")
            limits = f"{number(robot.hand.lower[index])} to {number(robot.hand.upper[index])} rad"
            rows.append((f"{first + 6 + k}", f"{side}{name}", limits, slew))
    return table(("Element", "Meaning", "-1 to 1 is", "Most per step"), rows)


def joint_action(item: TaskEntry) -> str:
    """The `joint` action of one arm; a second arm's follows in the same order."""
    robot = item.make().needs.robot
    rows = []
    for i, (low, high, speed) in enumerate(
        zip(robot.arm.lower, robot.arm.upper, robot.arm.velocity, strict=True)
    ):
        slew = f"{number(speed * codec.CONTROL_PERIOD)} rad"
        rows.append((i, f"arm joint {i + 1}", f"{number(low)} to {number(high)} rad", slew))
    rows.append(("7–12", "hand joints, as in `ee_pose`", "", f"{number(codec.HAND_SLEW)} rad"))
    return table(("Element", "Meaning", "-1 to 1 is", "Most per step"), rows)


def reward(item: TaskEntry) -> str:
    """The docstring of the reward function, which must name every term."""
    task = item.make()
    text = inspect.getdoc(task.reward) or ""
    missing = [name for name in task.reward_terms if f"`{name}`" not in text]
    if missing:
        raise ValueError(f"the docstring of {item.name}.reward does not explain {missing}")
    terms = ", ".join(f"`{name}`" for name in task.reward_terms)
    words = " ".join(text.split()).removeprefix("Return ")
    return f"Terms: {terms}. {words[0].upper()}{words[1:]}\n"


def success(item: TaskEntry) -> str:
    task = item.make()
    terms = ", ".join(f"`{name}`" for name in task.success_terms)
    stages = ", ".join(f"{i} {name}" for i, name in enumerate(task.stages))
    hold = task.hold_steps * codec.CONTROL_PERIOD
    length = task.max_episode_steps * codec.CONTROL_PERIOD
    return table(
        ("", ""),
        (
            ("Ingredients, all at once", terms),
            ("Held for", f"{task.hold_steps} steps ({number(hold)} s)"),
            ("Longest episode", f"{task.max_episode_steps} steps ({number(length)} s)"),
            ("Start noise on every arm joint", f"±{number(START_NOISE)} rad"),
            ("Stages", stages),
        ),
    )


def expert(item: TaskEntry) -> str:
    """How often the scripted expert succeeds, from the measured file."""
    path = RESULTS / "experts" / f"{item.name}.json"
    if not path.is_file():
        return "Not run.\n"
    found = json.loads(path.read_text(encoding="utf-8"))
    made = f"commit `{short(found['commit'])}`, `{found['command']}`"
    return f"It solves {sentence(found)}. By {made}.\n"


# --- the catalogue


def _extent(item: ObjectSpec) -> str:
    """Size along the body axes [mm]."""
    axes = np.vstack([np.eye(3), -np.eye(3)])
    ends = [reach(item.parts, axis) for axis in axes]
    sizes = (ends[axis] + ends[axis + 3] for axis in range(3))
    return " × ".join(f"{1e3 * size:.0f}" for size in sizes)


def objects(task: str) -> str:
    added = {o: i for i in range(1, iterations(task) + 1) for o in new_objects(task, i)}
    added |= dict.fromkeys(curriculum(task).receivers, 1)
    head = ("Object", "From i =", "Kind", "Size [mm]", "Mass [g]", "Surface", "Friction", "Source")
    rows = (
        (
            f"`{o.id}`",
            added[o.id],
            o.category,
            _extent(o),
            f"{1e3 * o.mass:.0f}",
            o.surface,
            f"{o.friction:.2f}",
            o.source,
        )
        for o in map(get_object, added)
    )
    return table(head, rows)


def surroundings() -> str:
    """All surroundings, with the iteration of each task from which they are used."""
    rows = []
    for index, s in enumerate(SURROUNDINGS):
        first = [_first_use(curriculum(item.name).surroundings, index) for item in TASKS]
        light = ", ".join(f"{value:.2f}" for value in s.light_diffuse)
        top = ", ".join(f"{value:.2f}" for value in s.table_rgba[:3])
        friction = f"{s.table_friction:.2f}"
        rows.append((f"`{s.id}`", *first, light, s.table_texture, top, friction))
    tasks = (f"{item.name} from i =" for item in TASKS)
    return table(
        ("Surroundings", *tasks, "Lamp RGB", "Table top", "Table RGB", "Table friction"), rows
    )


def _first_use(counts: tuple[int, ...], index: int) -> int:
    return next(i for i, count in enumerate(counts, 1) if index < count)


def cells(task: str) -> str:
    entry = curriculum(task)
    rows = []
    for index, (x, y, yaw) in enumerate(entry.cells):
        first = _first_use(entry.poses, index)
        rows.append((index, first, f"{1e3 * x:.0f}", f"{1e3 * y:.0f}", f"{yaw:.0f}"))
    jx, jy, jyaw = entry.jitter
    note = f"\nJitter within a cell: ±{1e3 * jx:.0f} mm, ±{1e3 * jy:.0f} mm, ±{jyaw:.0f}°.\n"
    return table(("Cell", "From i =", "x [mm]", "y [mm]", "yaw [°]"), rows) + note


def curriculum_table(task: str) -> str:
    rows = []
    total = 0
    for i in range(1, iterations(task) + 1):
        total += len(new_objects(task, i))
        entry = curriculum(task)
        rows.append((i, total, entry.surroundings[i - 1], entry.poses[i - 1]))
    return table(("Turn", "Objects", "Surroundings", "Pose cells"), rows)


def split_table(task: str) -> str:
    """The two held-out sets side by side, and the version that fixes them."""
    names = ("T_OEP", "T_VAL")
    sets = [catalog_splits.held_out(task, name) for name in names]
    rows = (
        (k, *(f"{o}, {s}, {cell}" for o, s, cell in pair))
        for k, pair in enumerate(zip(*sets, strict=True))
    )
    note = f"Version `{catalog_splits.VERSION}`; object, surroundings, pose cell:\n\n"
    return note + table(("", *(f"`{name}`" for name in names)), rows)


def replay(task: str) -> str:
    """What replaying the demonstration solves, from the measured file."""
    path = RESULTS / "replay" / f"{task}.json"
    if not path.is_file():
        return table(("Object", "Replay success"), [("all", "not run")])
    found = json.loads(path.read_text(encoding="utf-8"))
    failures = ", ".join(f"{name} {count}" for name, count in found["objects"]["reasons"].items())
    note = (
        f"\nFailures over all objects: {failures or 'none'}. Scenes of seed {found['seed']}, "
        f"{found['noise']} noise, MuJoCo {found['versions']['mujoco']}, "
        f"commit `{short(found['commit'])}`; measured by\n\n"
        f"```bash\n{found['command']}\n```\n"
    )
    return transfer_table(found) + note


# --- pages


def blocks(page: Path) -> dict[str, Callable[[], str]]:
    """What a page may hold."""
    if page.name == "README.md":
        speed = partial(speed_line, [item.env_id for item in TASKS], RESULTS)
        overview = partial(overview_table, [item.name for item in TASKS], RESULTS / "records")
        return {"overview": overview, "claims": partial(main_claims, RESULTS), "speed": speed}
    if page.name == "claims.md":
        papers = ("DexFlyWheel", "DexPIE")
        made = {f"claims {name}": partial(claims_table, RESULTS, name) for name in papers}
        return made | {"verdicts": partial(verdict_counts, RESULTS)}
    if page.name == "dexflywheel.md":
        names = ("flywheel", "turns", "ablations", "generation", "residual")
        files = {name: RESULTS / "tables" / f"{name}.md" for name in names}
        made = {name: partial(harness_table, path) for name, path in files.items()}
        folder = results_of(RESULTS, USUAL_PRESET) / "records"
        worlds = partial(worlds_table, [item.name for item in TASKS], folder)
        return made | {"settings": settings_table, "worlds": worlds}
    if page.name == "dexpie.md":
        files = sorted((RESULTS / "tables").glob("pie*.md"))
        return {path.stem: partial(harness_table, path) for path in files}
    if page.name == "install.md":
        makers = {"install": install_table, "scaling": scaling_table, "start": start_table}
        made = {name: partial(maker, RESULTS) for name, maker in makers.items()}
        made["speed"] = partial(speed_table, [item.env_id for item in TASKS], RESULTS)
        return made
    if page.name == "environments.md":
        return {"failures": failures, "variations": variations}
    if page.name == "harness.md":
        return {
            "told": partial(object_identity.table, RESULTS),
            "endurance": partial(endurance.table, RESULTS),
        }
    if page.parent.name == "tasks":
        makers = (summary, observation, action, joint_action, reward, success, expert)
        item = entry(page.stem.capitalize())
        made = {name: partial(make, item.name, RESULTS) for name, make in TASK_TABLES.items()}
        made["policy film"] = partial(policy_film, item.name, DOCS / "videos")
        return made | {maker.__name__: partial(maker, item) for maker in makers}
    makers = (objects, replay, cells, curriculum_table, split_table)
    per_task = {f"{maker.__name__} {item.name}": partial(maker, item.name)
                for maker in makers for item in TASKS}  # fmt: skip
    return {"surroundings": surroundings, **per_task}


def pages() -> list[Path]:
    names = ("install", "catalogue", "environments", "harness", "dexflywheel", "dexpie", "claims")
    named = [DOCS / f"{name}.md" for name in names]
    tasks = [DOCS / "tasks" / f"{item.name.lower()}.md" for item in TASKS]
    return [DOCS.parent / "README.md", *named, *tasks]


def regenerated(page: Path) -> str:
    """The text of a page with all its blocks made anew.

    Raises:
        KeyError: The page has a block that nothing makes.
    """
    makers = blocks(page)

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}{makers[match[2]]()}{match[3]}"

    return BLOCK.sub(fill, page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for path in pages():
        path.write_text(regenerated(path), encoding="utf-8")
        print(path.relative_to(DOCS.parent))
