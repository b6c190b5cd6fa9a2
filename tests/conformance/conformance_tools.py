"""Scenes and commands of the conformance suite, in terms that every backend has."""

from __future__ import annotations

import dataclasses

import numpy as np

from dexfw_envs.catalog import named_sampler
from dexfw_envs.control.codec import Targets


def scenarios(task, count, seed=0):
    rng, sampler = np.random.default_rng(seed), named_sampler(task, "train(3)")
    return [sampler(rng) for _ in range(count)]


def moved(scenario, offset, quaternion=None):
    """The scenario with its first object elsewhere [m], and turned if told."""
    pose = np.array(scenario.object_poses[0])
    pose[:3] += offset
    if quaternion is not None:
        pose[3:] = quaternion
    poses = (tuple(pose.tolist()), *scenario.object_poses[1:])
    return dataclasses.replace(scenario, object_poses=poses)


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
