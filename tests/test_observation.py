"""The layout of observations: read by name, they are the world's state."""

import numpy as np
import pytest

from dexfw_envs.control.codec import ARM_ACTIONS, HAND_ACTIONS
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.observation import (
    ARM_JOINTS,
    FINGERTIPS,
    HAND_JOINTS,
    OBJECT_SIZE,
    PROPRIO_SIZE,
    read_objects,
    read_proprio,
)
from dexfw_envs.registry import TASKS

NAMES = [item.name for item in TASKS]


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_sizes_are_those_of_the_robots_and_groups(task):
    made = task.make()
    robot = made.needs.robot
    assert robot.arm.joints == ARM_JOINTS
    assert robot.hand.joints == HAND_JOINTS
    assert robot.hand.driven_joints == HAND_ACTIONS

    sizes = {group.name: group.size for group in made.observation_groups}
    assert sizes["proprio"] == PROPRIO_SIZE * robot.arms
    assert sizes["object"] == OBJECT_SIZE * made.needs.objects
    assert sizes["touch"] == FINGERTIPS * robot.arms


@pytest.mark.parametrize("task", NAMES)
def test_what_is_read_by_name_is_the_state_of_the_world(task):
    env = DexVectorEnv(task, 2, threads=1)
    env.reset(seed=3)
    actions = np.random.default_rng(0).uniform(-1, 1, (2, env.codec.size))
    observation = env.step(actions)[0]

    seen = read_proprio(observation["proprio"])
    assert seen.arms * ARM_ACTIONS == env.codec.size
    world = env.world
    close = {"rtol": 0, "atol": 1e-5}
    np.testing.assert_allclose(seen.arm_position, world.arm_position, **close)
    np.testing.assert_allclose(seen.arm_velocity, world.arm_velocity, **close)
    np.testing.assert_allclose(seen.hand_position, world.hand_position, **close)
    np.testing.assert_allclose(seen.hand_velocity, world.hand_velocity, **close)
    np.testing.assert_allclose(seen.palm_position, world.end_effector_position, **close)
    same_turn = np.abs((seen.palm_quaternion * world.end_effector_quaternion).sum(axis=-1))
    np.testing.assert_allclose(same_turn, 1.0, **close)

    objects = read_objects(observation["object"])
    np.testing.assert_allclose(objects.position, world.object_position, **close)
    np.testing.assert_allclose(objects.linear_velocity, world.object_linear_velocity, **close)
    np.testing.assert_allclose(objects.angular_velocity, world.object_angular_velocity, **close)
    parts = (objects.pose, objects.linear_velocity, objects.angular_velocity)
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), objects.rows)
    env.close()
