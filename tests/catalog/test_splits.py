import hashlib
import json
from collections import Counter

import numpy as np
import pytest

from dexfw_envs.catalog import (
    CURRICULA,
    SURROUNDINGS,
    configurations,
    curriculum,
    get_object,
    make_scenario,
    named_sampler,
    objects_for,
    split,
    split_names,
    training_sampler,
)
from dexfw_envs.catalog.curricula import iterations, new_objects, poses_for, surroundings_for
from dexfw_envs.catalog.splits import (
    SEED_SPAN,
    combinations,
    held_out,
    redraw,
    split_combinations,
    training_combinations,
)
from dexfw_envs.scenario import Scenario
from dexfw_envs.transforms import yaw_from_quat

TASKS = tuple(CURRICULA)
EACH_TASK = pytest.mark.parametrize("task", TASKS)

# The held-out sets of version v0. A change of these is a new version of every task.
HELD_OUT_DIGESTS = {
    ("Grasp", "T_OEP"): "ddb23d0c674dad94",
    ("Grasp", "T_VAL"): "c40202e55ecae581",
    ("Pour", "T_OEP"): "d51dc5d2c96da80f",
    ("Pour", "T_VAL"): "185eec5aae313210",
    ("Lift", "T_OEP"): "bbbafc5164bbba8f",
    ("Lift", "T_VAL"): "d41b6c3da0823ba3",
    ("Handover", "T_OEP"): "a37c934e805f6d24",
    ("Handover", "T_VAL"): "eba071165643aa8f",
}
# All splits as scenes: `T_O(i)`, `objects` and the held-out sets, with places, turns and jitter.
SCENE_DIGESTS = {
    "Grasp": "ec848601bd39fb5d",
    "Pour": "6bde268151a27e79",
    "Lift": "c6e3342122cb0822",
    "Handover": "d75cf1962c52b46c",
}


def combination(scenario):
    return (scenario.objects[0], scenario.surroundings, scenario.pose)


def held_of(task):
    return {*held_out(task, "T_OEP"), *held_out(task, "T_VAL")}


# --- scenarios


def test_scenario_lies_in_its_cell_and_rests_on_its_support():
    entry = curriculum("Grasp")
    for index, cell in enumerate(entry.cells):
        made = [make_scenario("Grasp", "pear", "neutral", index, seed) for seed in range(30)]
        poses = np.array([scenario.object_poses[0] for scenario in made])
        offsets = np.column_stack([poses[:, :2], np.degrees(yaw_from_quat(poses[:, 3:]))]) - cell
        assert (np.abs(offsets) <= np.array(entry.jitter) + 1e-9).all()
        assert (np.ptp(offsets, axis=0) > entry.jitter).all()
        height = entry.support_height + get_object("pear").resting_height
        assert (poses[:, 2] == height).all()


def test_same_seed_same_scenario():
    first = make_scenario("Grasp", "egg", "red_light", 3, 11)
    assert first == make_scenario("Grasp", "egg", "red_light", 3, 11)
    assert first != make_scenario("Grasp", "egg", "red_light", 3, 12)
    again = redraw(first, np.random.default_rng(0))
    assert combination(again) == combination(first)
    assert again.object_poses != first.object_poses
    assert Scenario.from_json(first.to_json()) == first


@pytest.mark.parametrize("pose", [-1, 15, "near"])
def test_unknown_cells_are_refused(pose):
    with pytest.raises(ValueError, match="cells 0 to 14"):
        make_scenario("Grasp", "egg", "neutral", pose, 0)


# --- held-out sets


@pytest.mark.parametrize(("task", "name"), HELD_OUT_DIGESTS)
def test_held_out_sets_are_frozen(task, name):
    text = json.dumps(held_out(task, name))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == HELD_OUT_DIGESTS[task, name]


@EACH_TASK
def test_the_scenes_of_all_splits_are_frozen(task):
    """Another cell, jitter, order of objects or resting height is a new version of the task."""
    rows = [
        [name, s.objects, s.surroundings, s.pose, (np.round(s.object_poses, 6) + 0.0).tolist()]
        for name in split_names(task)
        for s in split(task, name, 40, seed=0)
    ]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    assert digest == SCENE_DIGESTS[task]


def test_every_task_has_its_held_out_sets_pinned():
    assert set(HELD_OUT_DIGESTS) == {(task, name) for task in TASKS for name in ("T_OEP", "T_VAL")}


@EACH_TASK
def test_held_out_sets_are_40_each_apart_and_cover_everything(task):
    last = iterations(task)
    tests, settings = held_out(task, "T_OEP"), held_out(task, "T_VAL")
    assert len(set(tests)) == len(set(settings)) == 40
    assert len(held_of(task)) == 80
    everything = (objects_for(task, last), surroundings_for(task, last), poses_for(task, last))
    for chosen in (tests, settings):
        assert [set(axis) for axis in zip(*chosen, strict=True)] == [set(e) for e in everything]


@EACH_TASK
def test_training_and_open_splits_never_meet_the_held_out_sets(task):
    held = held_of(task)
    for iteration in range(1, iterations(task) + 2):
        allowed = set(training_combinations(task, iteration))
        assert allowed == set(combinations(task, iteration)) - held
        rng = np.random.default_rng(iteration)
        drawn = [training_sampler(task, iteration)(rng) for _ in range(300)]
        drawn += configurations(task, iteration, 150, rng)
        assert {combination(scenario) for scenario in drawn} <= allowed
    for name in set(split_names(task)) - {"T_OEP", "T_VAL"}:
        assert not held & set(split_combinations(task, name))


@EACH_TASK
def test_large_sample_of_the_training_sampler_covers_what_is_allowed(task):
    rng, last = np.random.default_rng(0), iterations(task)
    sample = training_sampler(task, last)
    counts = Counter(combination(sample(rng)) for _ in range(20_000))
    assert not held_of(task) & set(counts)
    assert len(counts) > 0.95 * len(training_combinations(task, last))


# --- samplers and splits


def test_sampler_is_even_over_the_objects_asked_for():
    rng = np.random.default_rng(0)
    sample = training_sampler("Grasp", 3, objects=("egg", "cube"))
    counts = Counter(sample(rng).objects[0] for _ in range(400))
    assert set(counts) == {"egg", "cube"}
    assert min(counts.values()) > 150


def test_sampler_refuses_objects_of_later_iterations():
    with pytest.raises(ValueError, match="unknown object of Grasp at iteration 2 'egg'"):
        training_sampler("Grasp", 2, objects=("egg",))
    with pytest.raises(ValueError, match="at least one"):
        training_sampler("Grasp", 2, objects=())


@pytest.mark.parametrize(("iteration", "count"), [(1, 5), (2, 25), (3, 40), (3, 125)])
def test_configurations_show_every_value(iteration, count):
    for seed in range(5):
        drawn = configurations("Grasp", iteration, count, np.random.default_rng(seed))
        assert len(drawn) == len({combination(scenario) for scenario in drawn}) == count
        assert {s.objects[0] for s in drawn} == set(objects_for("Grasp", iteration))
        assert {s.surroundings for s in drawn} == set(surroundings_for("Grasp", iteration))
        assert {s.pose for s in drawn} == set(poses_for("Grasp", iteration))


def test_configurations_repeat_only_when_they_must():
    drawn = configurations("Grasp", 1, 40, np.random.default_rng(0))
    counts = Counter(combination(scenario) for scenario in drawn)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({scenario.seed for scenario in drawn}) == 40


@EACH_TASK
def test_splits_repeat_evenly_with_new_seeds(task):
    for name in split_names(task):
        chosen = split_combinations(task, name)
        drawn = split(task, name, 10 * len(chosen) if len(chosen) <= 40 else 220, seed=0)
        counts = Counter(combination(scenario) for scenario in drawn)
        assert set(counts) <= set(chosen)
        assert max(counts.values()) == min(counts.values())
        assert len({scenario.seed for scenario in drawn}) == len(drawn)
        assert split(task, name, 7, seed=0) == drawn[:7]
        assert split(task, name, 7, seed=1) != drawn[:7]


@EACH_TASK
def test_fixed_scene_splits_hold_the_new_objects(task):
    for i in (1, 2, 3):
        drawn = split(task, f"T_O({i})", 22, seed=0)
        assert {s.objects[0] for s in drawn} == set(new_objects(task, i))
        assert {(s.surroundings, s.pose) for s in drawn} == {("neutral", 0)}


def test_objects_split_is_even_over_all_objects():
    drawn = split("Grasp", "objects", 22 * 60, seed=0)
    assert set(Counter(s.objects[0] for s in drawn).values()) == {60}
    assert len({combination(s) for s in drawn}) == len(drawn)
    assert {s.surroundings for s in drawn} == {entry.id for entry in SURROUNDINGS}


def test_training_and_evaluation_seeds_never_meet():
    rng = np.random.default_rng(0)
    training = [named_sampler("Grasp", "train(3)")(rng) for _ in range(200)]
    training += configurations("Grasp", 3, 60, rng)
    testing = [named_sampler("Grasp", "T_VAL")(rng) for _ in range(200)]
    testing += split("Grasp", "T_OEP", 200, 0) + split("Grasp", "objects", 220, 0)
    assert max(scenario.seed for scenario in training) < SEED_SPAN
    assert min(scenario.seed for scenario in testing) >= SEED_SPAN


@pytest.mark.parametrize("episodes", [0, -1, 2.0, True])
def test_bad_episode_counts_are_refused(episodes):
    with pytest.raises(ValueError, match="episodes must be"):
        split("Grasp", "T_OEP", episodes, 0)
