"""Scenes and commands of the conformance suite, in terms that every backend has."""

from __future__ import annotations

import dataclasses

import numpy as np

from dexfw_envs.catalog import named_sampler
from dexfw_envs.catalog.splits import make_scenario
from dexfw_envs.control.codec import Targets

AWAY = (-0.6, 0.0, 0.8)  # a palm command far from objects, for one arm


def scenarios(task, count, seed=0):
    rng, sampler = np.random.default_rng(seed), named_sampler(task, "train(3)")
    return [sampler(rng) for _ in range(count)]


def scenario_of(object_id, like):
    """A scenario of Grasp with an object, in the surroundings and with the seed of another."""
    return make_scenario("Grasp", object_id, like.surroundings, 0, like.seed)


def moved(scenario, offset, quaternion=None):
    """The scenario with its first object elsewhere [m], and turned if told."""
    pose = np.array(scenario.object_poses[0])
    pose[:3] += offset
    if quaternion is not None:
        pose[3:] = quaternion
    poses = (tuple(pose.tolist()), *scenario.object_poses[1:])
    return dataclasses.replace(scenario, object_poses=poses)


def begin(env, given):
    return env.reset(options={"scenarios": given})


def every(env):
    """The mask of all worlds."""
    return np.ones(env.num_envs, dtype=bool)


def hold_action(env):
    """The `ee_pose` action that asks for what the worlds have."""
    world = env.world
    driven = list(env.backend.robot.hand.driven)
    hand = world.hand_position[..., driven]
    targets = Targets(world.end_effector_position, world.end_effector_quaternion, hand)
    return env.codec.encode(targets)


def joint_action(env, arm, hand):
    """The `joint` action that asks for arm (N, A, 7) and driven hand joints (N, A, 6) [rad]."""
    lower, upper = env.controller._lower, env.controller._upper
    goal = np.concatenate([arm, hand], axis=-1)
    return (2.0 * (goal - lower) / (upper - lower) - 1.0).reshape(len(goal), -1)


def aside(env):
    """An action that takes the hands away from the objects, fingers as they are at home."""
    action = hold_action(env).reshape(env.num_envs, -1, 12)
    action[..., 2] = AWAY[2]
    if action.shape[1] == 1:
        action[..., :3] = AWAY
    return action.reshape(env.num_envs, -1)
