"""Arm links from the forearm on are solid, refuse success, and how deep anything sinks is told."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from scenes import make, started

from dexfw_envs import transforms as tf
from dexfw_envs.catalog import split
from dexfw_envs.registry import TASKS, entry
from dexfw_envs.tasks import objects
from dexfw_envs.world import SUNK

LINK, HAND, SUPPORT = range(len(SUNK))
EACH_TASK = pytest.mark.parametrize("task", [item.name for item in TASKS])


def first_scene(task):
    return split(task, "objects", 1, seed=0)[0]


def put(env, position):
    """Put the first object of every world somewhere, (3,) [m]."""
    env.backend._qpos[:, env.backend._object_q[0, :3]] = position


def place_of(env, body):
    """Where a body of the first world is [m], (3,)."""
    data = env.backend.batch.get_data(0)
    return np.array(data.xpos[env.backend.model.body(body).id])


@EACH_TASK
@pytest.mark.parametrize("link", ["right_flange", "right_link6"])
def test_an_object_on_a_link_is_not_free(task, link):
    env = started([first_scene(task)])
    put(env, place_of(env, link))
    env.backend.batch.forward([0])
    world = env.backend.world()
    assert world.arm_object_contact[0, 0, 0]
    assert not objects.free(world)[0]
    env.step(np.zeros((1, env.codec.size)))
    assert env.world.penetration[0, LINK] > 1e-3


@EACH_TASK
def test_success_is_refused_while_a_link_touches(task):
    env = started([first_scene(task)])
    touched = env.world.arm_object_contact.copy()
    touched[:, 0, 0] = True
    world = dataclasses.replace(env.world, arm_object_contact=touched)
    assert not env.task.success(world, env.memory)["free"][0]


def test_the_depth_in_the_table_is_that_of_the_pose():
    env = started([first_scene("Lift")])
    deep = 0.004
    bottom = env.world.object_position[0, 0] - (0.0, 0.0, deep)
    put(env, bottom)
    env.step(np.zeros((1, env.codec.size)))
    assert env.world.penetration[0, SUPPORT] == pytest.approx(deep, abs=1e-3)
    assert env.world.penetration[0, LINK] == env.world.penetration[0, HAND] == 0.0


def test_the_deepest_of_the_episode_is_told_and_forgotten_at_a_reset():
    env = started([first_scene("Lift")])
    put(env, env.world.object_position[0, 0] - (0.0, 0.0, 0.004))
    told = [env.step(np.zeros((1, env.codec.size)))[4]["penetration"] for _ in range(20)]
    depths = [float(info["support"][0]) for info in told]
    assert depths == sorted(depths)
    assert env.world.penetration[0, SUPPORT] < 1e-3 < depths[-1], "now it stands, then it did not"
    assert set(told[-1]) == set(SUNK)
    _, info = env.reset(seed=0, options={"scenarios": [first_scene("Lift")]})
    assert not any(depth.any() for depth in info["penetration"].values())


@EACH_TASK
def test_measuring_changes_no_bit(task):
    """The steps of a control period one by one, recorded, are those of one call."""
    one, other = (started([first_scene(task)]) for _ in range(2))

    def plainly(ids):
        other.backend.batch.step(ids, other.backend._substeps, 2)

    from dexfw_envs.backends.mujoco import backend

    assert backend.STAGE == 2
    other.backend._step = plainly
    rng = np.random.default_rng(0)
    for _ in range(15):
        action = rng.uniform(-1, 1, (1, one.codec.size))
        one.step(action)
        other.step(action)
    assert np.array_equal(one.backend.batch.state, other.backend.batch.state)


def test_a_restored_world_tells_the_same_depth():
    env = started([first_scene("Lift")])
    put(env, env.world.object_position[0, 0] - (0.0, 0.0, 0.004))
    env.step(np.zeros((1, env.codec.size)))
    before = env.world.penetration.copy()
    state = env.get_state()
    for _ in range(5):
        env.step(np.zeros((1, env.codec.size)))
    env.set_state(state)
    assert np.array_equal(env.world.penetration, before)
    assert np.array_equal(env.memory.penetration, before)


def test_the_axis_of_an_object_ends_at_its_ends():
    env = make(1, "Handover")
    env.reset(seed=0)
    turn = tf.quat_from_rotvec(np.array([np.pi / 2, 0.0, 0.0]))  # its z axis points along -y
    world = dataclasses.replace(
        env.world,
        object_position=np.array([[[0.1, 0.2, 0.3]]]),
        object_quaternion=turn[None, None],
        object_extent=np.array([[[-0.05, 0.10]]]),
    )
    points = np.array([[[0.1, 0.16, 0.3], [0.1, 0.07, 0.3], [0.13, 0.29, 0.3], [0.1, 0.2, 0.34]]])
    found = objects.from_axis(world, points)[0]
    assert found == pytest.approx([0.0, 0.03, 0.05, 0.04], abs=1e-12)


def test_the_first_step_of_a_single_environment_tells_numbers():
    env = gym.make(entry("Grasp").env_id)
    _, info = env.reset(seed=0)
    assert info["penetration"] == dict.fromkeys(SUNK, 0.0)
    env.close()
