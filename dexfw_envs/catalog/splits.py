"""Which object, surroundings and pose a policy meets: held-out sets, samplers, test splits.

A combination is (object id, surroundings id, pose cell). Two sets of 40 combinations per task
are held out for good: ``T_OEP`` for the results and ``T_VAL`` for choosing settings. No sampler
for training or collection draws one of them, and scenario seeds of training and of evaluation
never coincide (`SEED_SPAN`). Poses differ within a cell by a jitter that the seed decides.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from dexfw_envs.catalog.curricula import (
    Curriculum,
    curriculum,
    iterations,
    new_objects,
    objects_for,
    poses_for,
    receivers_of,
    surroundings_for,
)
from dexfw_envs.catalog.lookup import find
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.catalog.surroundings import get_surroundings
from dexfw_envs.scenario import Scenario
from dexfw_envs.transforms import quat_from_yaw, quat_multiply

Combination = tuple[str, str, int]
Sampler = Callable[[np.random.Generator], Scenario]

# Goes into the choice of the held-out sets: a new version is a new benchmark.
VERSION = "v0"
HELD_OUT_COUNT = 40
# Training draws scenario seeds in [0, span), evaluation in [span, 2 span).
SEED_SPAN = 2**31
# Where the pose cells are centred, x and y in the table frame [m].
WORKSPACE_CENTRE = (0.0, 0.0)


# --- combinations


def combinations(task: str, iteration: int) -> tuple[Combination, ...]:
    """The full product of objects, surroundings and pose cells, held-out ones included."""
    return tuple(
        itertools.product(
            objects_for(task, iteration),
            surroundings_for(task, iteration),
            poses_for(task, iteration),
        )
    )


@cache
def held_out(task: str, name: str) -> tuple[Combination, ...]:
    """The 40 combinations of ``"T_OEP"`` or ``"T_VAL"``, the same on every machine.

    They cover all objects, surroundings and pose cells evenly. The central scene of `T_O(i)`
    (first surroundings, first cell) is never among them.
    """
    find(dict.fromkeys(("T_OEP", "T_VAL")), name, "held-out set")
    taken = set(held_out(task, "T_OEP")) if name == "T_VAL" else set()
    last = iterations(task)
    centre = (surroundings_for(task, last)[0], 0)
    pool = [c for c in combinations(task, last) if c[1:] != centre and c not in taken]
    return tuple(_even_choice(_hashed_order(pool, f"{task} {name}"), HELD_OUT_COUNT))


@cache
def training_combinations(
    task: str, iteration: int, scenes: int | None = None
) -> tuple[Combination, ...]:
    """All combinations of an iteration's objects that are not held out.

    Their surroundings and pose cells are those of the iteration, or of the row `scenes` before it.
    """
    row = iteration if scenes is None else scenes
    around = surroundings_for(task, row)
    cells = poses_for(task, row)
    tests = {*held_out(task, "T_OEP"), *held_out(task, "T_VAL")}
    known = [c for c in combinations(task, iteration) if c[1] in around and c[2] in cells]
    return tuple(c for c in known if c not in tests)


def _hashed_order(pool: Sequence[Combination], label: str) -> list[Combination]:
    """An arbitrary order that no version of a library can change."""

    def key(combination: Combination) -> bytes:
        return hashlib.sha256(repr((VERSION, label, combination)).encode()).digest()

    return sorted(pool, key=key)


def _even_choice(pool: Sequence[Combination], count: int) -> list[Combination]:
    """Choose from a pool, always the least used object, then surroundings, then pose.

    The order of the pool breaks ties. A pool used up is used again from the start.
    """
    chosen: list[Combination] = []
    left: list[Combination] = []
    used: tuple[Counter, Counter, Counter] = (Counter(), Counter(), Counter())
    while len(chosen) < count:
        left = left or list(pool)
        narrow = left
        for axis, uses in enumerate(used):
            least = min(uses[c[axis]] for c in narrow)
            narrow = [c for c in narrow if uses[c[axis]] == least]
        chosen.append(narrow[0])
        left.remove(narrow[0])
        for axis, uses in enumerate(used):
            uses[narrow[0][axis]] += 1

    return chosen


# --- scenarios


def make_scenario(
    task: str, object_id: str, surroundings_id: str, pose_index: int, seed: int
) -> Scenario:
    """One scene: the object at rest in a pose cell, moved within the cell as the seed decides.

    In a task with receivers the one of this object stands beside it, moved likewise.

    Raises:
        ValueError: If the task, object, surroundings or pose cell does not exist.
    """
    entry = curriculum(task)
    spec = get_object(object_id)
    get_surroundings(surroundings_id)
    if pose_index not in range(len(entry.cells)):
        raise ValueError(
            f"unknown pose cell {pose_index!r}; {task} has cells 0 to {len(entry.cells) - 1}"
        )

    # The stream differs from the one that the reset opens with the bare seed.
    rng = np.random.default_rng([seed, 1])
    jitter = rng.uniform(-1.0, 1.0, 3) * entry.jitter
    x, y, yaw = np.array(entry.cells[pose_index]) + jitter
    position = (WORKSPACE_CENTRE[0] + x, WORKSPACE_CENTRE[1] + y)
    height = entry.support_height + spec.resting_height
    turn = quat_multiply(quat_from_yaw(math.radians(yaw)), spec.resting_quaternion)
    pose = (*position, height, *turn)
    others = receivers_of(task, object_id)
    poses = (pose, *(_beside(entry, name, rng) for name in others))

    return Scenario(task, (object_id, *others), surroundings_id, pose_index, poses, seed)


def _beside(entry: Curriculum, object_id: str, rng: np.random.Generator) -> tuple[float, ...]:
    """Draw the pose of a receiver."""
    x, y, jitter_x, jitter_y = entry.receiver_cell
    dx, dy = rng.uniform(-1.0, 1.0, 2) * (jitter_x, jitter_y)
    position = (WORKSPACE_CENTRE[0] + x + dx, WORKSPACE_CENTRE[1] + y + dy)
    spec = get_object(object_id)
    return (*position, entry.support_height + spec.resting_height, *spec.resting_quaternion)


def redraw(scenario: Scenario, rng: np.random.Generator) -> Scenario:
    """The same combination for training with a new seed, so new jitter and start noise."""
    return make_scenario(
        scenario.task,
        scenario.objects[0],
        scenario.surroundings,
        scenario.pose,
        int(rng.integers(SEED_SPAN)),
    )


def training_sampler(
    task: str, iteration: int, objects: Sequence[str] | None = None, scenes: int | None = None
) -> Sampler:
    """Make a sampler for training, even over objects, which never draws a held-out combination.

    Args:
        task: Name of the task.
        iteration: Which row of the curriculum, counted from 1.
        objects: Only these of the iteration's objects; all by default.
        scenes: Row whose surroundings and poses are used; that of the objects by default.
    """
    available = objects_for(task, iteration)
    ids = available if objects is None else tuple(objects)
    for object_id in ids:
        find(dict.fromkeys(available), object_id, f"object of {task} at iteration {iteration}")
    if not ids:
        raise ValueError(f"objects must name at least one of {', '.join(available)}")
    allowed = training_combinations(task, iteration, scenes)
    pools = [[c for c in allowed if c[0] == object_id] for object_id in ids]
    return partial(_sample_for_training, task, pools)


def _sample_for_training(
    task: str, pools: Sequence[Sequence[Combination]], rng: np.random.Generator
) -> Scenario:
    pool = pools[int(rng.integers(len(pools)))]
    combination = pool[int(rng.integers(len(pool)))]
    return make_scenario(task, *combination, int(rng.integers(SEED_SPAN)))


def configurations(
    task: str, iteration: int, count: int, rng: np.random.Generator, scenes: int | None = None
) -> list[Scenario]:
    """Draw scenes to collect in, so that every object, surroundings and pose cell appears.

    The objects are those of `iteration`, surroundings and poses those of the row `scenes`, by
    default the same.

    Combinations repeat only when there are fewer than `count`. With `count` smaller than the
    number of objects, surroundings or cells, as many as possible appear.
    """
    pool = list(training_combinations(task, iteration, scenes))
    rng.shuffle(pool)
    seeds = rng.integers(SEED_SPAN, size=count).tolist()
    chosen = _even_choice(pool, count)
    return [make_scenario(task, *c, seed) for c, seed in zip(chosen, seeds, strict=True)]


# --- evaluation


def split_names(task: str) -> tuple[str, ...]:
    """Names that `split` takes."""
    rounds = tuple(f"T_O({i})" for i in range(1, iterations(task) + 1))
    return ("T_OEP", "T_VAL", *rounds, "objects")


def split_combinations(task: str, name: str) -> tuple[Combination, ...]:
    """Combinations of a split, in a fixed order.

    ``T_OEP`` and ``T_VAL`` are the held-out sets; ``T_O(i)`` is one scene (first surroundings,
    first pose cell) with the objects that iteration i introduces; ``objects`` runs over all
    objects in turn, each in scenes that are not held out.

    Raises:
        ValueError: If there is no such split; names the valid ones.
    """
    find(dict.fromkeys(split_names(task)), name, f"split of {task}")
    if name in ("T_OEP", "T_VAL"):
        return held_out(task, name)
    if name == "objects":
        return _objects_split(task)
    scene = (surroundings_for(task, 1)[0], 0)
    return tuple((object_id, *scene) for object_id in new_objects(task, int(name[4:-1])))


@cache
def _objects_split(task: str) -> tuple[Combination, ...]:
    last = iterations(task)
    pool = _hashed_order(training_combinations(task, last), f"{task} objects")
    rows = [[c for c in pool if c[0] == object_id] for object_id in objects_for(task, last)]
    return tuple(itertools.chain(*zip(*rows, strict=False)))


def split(task: str, name: str, episodes: int, seed: int) -> list[Scenario]:
    """Test scenes: the combinations of a split in turn, over and over.

    Args:
        task: Name of the task.
        name: One of `split_names`.
        episodes: How many scenes.
        seed: Decides jitter and start noise; fewer episodes of a seed are a prefix of more.
    """
    if isinstance(episodes, bool) or not isinstance(episodes, int) or episodes < 1:
        raise ValueError(f"episodes must be an integer of at least 1, got {episodes!r}")
    cycle = itertools.cycle(split_combinations(task, name))
    stream = np.random.SeedSequence([zlib.crc32(f"{task} {name}".encode()), seed])
    seeds = SEED_SPAN + stream.generate_state(episodes).astype(np.int64) % SEED_SPAN
    return [make_scenario(task, *next(cycle), value) for value in seeds.tolist()]


def named_sampler(task: str, name: str) -> Sampler:
    """The sampler of a name: ``"train(i)"`` for training at iteration i, or any test split.

    Raises:
        ValueError: If the name is neither; names the valid ones.
    """
    rounds = {f"train({i})": i for i in range(1, iterations(task) + 1)}
    names = (*rounds, *split_names(task))
    find(dict.fromkeys(names), name, f"scenarios of {task}")
    if name in rounds:
        return training_sampler(task, rounds[name])
    return partial(_sample_for_tests, task, split_combinations(task, name))


def _sample_for_tests(task: str, pool: Sequence[Combination], rng: np.random.Generator) -> Scenario:
    seed = SEED_SPAN + int(rng.integers(SEED_SPAN))
    return make_scenario(task, *pool[int(rng.integers(len(pool)))], seed)
