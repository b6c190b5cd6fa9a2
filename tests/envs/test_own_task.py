"""A task that a user registers: made like any other, or refused with what is wrong."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dexfw_envs import TASKS, register_task, registry
from dexfw_envs.catalog import CURRICULA, curricula, split
from dexfw_envs.evaluation import evaluate
from dexfw_envs.tasks.grasp import GraspTask

GRASP = CURRICULA["Grasp"]


class Half(GraspTask):
    """Grasp, raised half as high."""

    name = "Half"

    def success(self, world, memory):
        rise = world.object_position[:, 0, 2] - memory.start_position[:, 0, 2]
        return {**super().success(world, memory), "raised": rise > 0.1}


@pytest.fixture
def fresh(monkeypatch):
    """Registrations that are gone after the test."""
    monkeypatch.setattr(registry, "_OWN", {})
    monkeypatch.setattr(curricula, "CURRICULA", dict(CURRICULA))
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    monkeypatch.setattr(gym, "registry", gym.envs.registration.registry)
    monkeypatch.setattr(registry.gymnasium, "registry", gym.envs.registration.registry)


@pytest.fixture
def half(fresh):
    return register_task(Half, GRASP)


@pytest.mark.filterwarnings("error")
def test_a_registered_task_keeps_gymnasiums_contract(half):
    assert half.env_id == "DexFW/Half-v0"
    env = gym.make(half.env_id, obs_mode="state/flat")
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_a_registered_task_is_made_stepped_and_seeded_like_the_others(half):
    first, second = (gym.make_vec(half.env_id, num_envs=2) for _ in range(2))
    for envs in (first, second):
        envs.reset(seed=3)
        envs.action_space.seed(4)
    for _ in range(5):
        one = first.step(first.action_space.sample())
        other = second.step(second.action_space.sample())
        assert np.array_equal(one[0]["object"], other[0]["object"])
        assert np.array_equal(one[1], other[1])
    first.close()
    second.close()


def test_a_registered_task_has_splits_and_is_measured(half):
    scenes = split("Half", "T_OEP", 40, seed=0)
    assert {scene.task for scene in scenes} == {"Half"}

    class Still:
        def reset(self, mask):
            pass

        def act(self, observation):
            return np.zeros((len(observation["object"]), 12), np.float32)

    options = {"max_episode_steps": 5}
    records = evaluate(Still(), half.env_id, split="T_VAL", episodes=3, env_options=options)
    assert [record["failure"] for record in records] == ["timeout"] * 3
    assert {record["task"] for record in records} == {"Half"}


def test_the_suites_own_tasks_stay_as_they_are(half):
    assert [item.name for item in TASKS] == ["Grasp", "Pour", "Lift", "Handover"]
    assert registry.entry("Half") is half
    with pytest.raises(ValueError, match="DexFW/Grasp-v0 is the task Grasp, not Half"):
        gym.make("DexFW/Grasp-v0", task="Half")


def named(given):
    class Named(Half):
        name = given

    return Named


@pytest.mark.parametrize(
    ("make", "curriculum", "words"),
    [
        (GraspTask, GRASP, "the task name 'Grasp' is taken"),
        (named("my task"), GRASP, "a task's name is an identifier such as 'Grasp', got 'my task'"),
        (Half, replace(GRASP, poses=(5, 10)), "as many rows of new_objects.*; got 3, 3, 2"),
        (Half, replace(GRASP, poses=(5, 10, 16)), r"poses of a curriculum lie in 1 \.\. 15, got"),
        (Half, replace(GRASP, surroundings=(3, 8, 13)), r"surroundings .* lie in 1 \.\. 12, got"),
        (Half, replace(GRASP, receivers=("no_bowl",)), "unknown object 'no_bowl'"),
        (
            Half,
            replace(GRASP, new_objects=(("baseball",),), surroundings=(2,), poses=(3,)),
            "has 6 combinations of object, surroundings and pose in its last row; 160 are needed",
        ),
    ],
)
def test_what_does_not_fit_is_refused(fresh, make, curriculum, words):
    with pytest.raises(ValueError, match=words):
        register_task(make, curriculum)
    assert "Half" not in registry._OWN
    assert "Half" not in curricula.CURRICULA


def test_what_is_no_task_is_refused(fresh):
    class Nothing:
        name = "Nothing"

    with pytest.raises(TypeError, match=r"Nothing is no task: it has no needs, .* stage"):
        register_task(Nothing, GRASP)
    with pytest.raises(TypeError, match="a curriculum is a Curriculum, got 'Grasp'"):
        register_task(Half, "Grasp")


def test_a_task_is_registered_once(half):
    with pytest.raises(ValueError, match="the task name 'Half' is taken"):
        register_task(Half, GRASP)
