"""Worlds in which the hand holds an object: the state that the speed of a task is measured in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gymnasium as gym
import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.catalog import make_scenario
from dexfw_envs.control.codec import Targets
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.experts import make_expert
from dexfw_envs.experts.grasp import Style

OPEN_HAND = np.array([1.25, 0.0, 0.0, 0.0, 0.0, 0.0])  # [rad]
CLOSED_HAND = np.array([1.25, 0.48, 1.1, 1.1, 1.1, 1.1])
# The palm's place in a grasp, from the object's centre: along the fingers, out of the palm, up [m].
BEHIND = -0.015
ABOVE = -0.028
RAISED = -0.012


def hold_grasp(env: DexVectorEnv) -> np.ndarray:
    """Reach, close and lift 10 cm, scripted; return the actions (N, 12) that keep holding."""
    scenes = [make_scenario("Grasp", "baseball", "neutral", 0, seed=i) for i in range(env.num_envs)]
    env.reset(seed=0, options={"scenarios": scenes})
    turn = np.tile(env.codec.nominal, (env.num_envs, 1, 1))
    fingers = tf.quat_rotate(turn, np.array([1.0, 0.0, 0.0]))
    normal = tf.quat_rotate(turn, np.array([0.0, 0.0, 1.0]))
    grasp = env.world.object_position + BEHIND * fingers + ABOVE * normal
    grasp = grasp + np.array([0.0, 0.0, RAISED])
    # Along the fingers, not from above: the opposed thumb would sweep the object away.
    ready = grasp - 0.10 * fingers + np.array([0.0, 0.0, 0.02])
    lifted = grasp + np.array([0.0, 0.0, 0.10])
    way = ((ready, OPEN_HAND, 25), (grasp, OPEN_HAND, 15), (grasp, CLOSED_HAND, 20))
    for palm, hand, steps in (*way, (lifted, CLOSED_HAND, 25)):
        hands = np.tile(hand, (env.num_envs, 1, 1))
        action = env.codec.encode(Targets(palm, turn, hands))
        for _ in range(steps):
            env.step(action)
    return action


def hold_by_expert(env: DexVectorEnv, object_id: str, steps: int) -> np.ndarray:
    """Let the expert raise an object; return the actions (N, action) that keep holding."""
    task = env.task.name
    scenes = [make_scenario(task, object_id, "neutral", 0, seed=i) for i in range(env.num_envs)]
    observation, _ = env.reset(seed=0, options={"scenarios": scenes})
    expert = make_expert(env, style=Style(timing=0.0, tremor=0.0, pause=0))
    expert.reset(np.ones(env.num_envs, dtype=bool))
    for _ in range(steps):
        action = expert.act(observation)
        observation, *_ = env.step(action)
    return action


HOLDS: dict[str, Callable[[DexVectorEnv], np.ndarray]] = {
    "Grasp": hold_grasp,
    "Pour": partial(hold_by_expert, object_id="tumbler", steps=85),
    "Lift": partial(hold_by_expert, object_id="milk_case", steps=65),
    "Handover": partial(hold_by_expert, object_id="drink_carton", steps=85),  # in the right hand
}


def fresh_worlds(env_id: str, worlds: int, threads: int) -> tuple[DexVectorEnv, np.ndarray]:
    """Make N worlds right after a reset on training scenes, and the middle of their actions."""
    env = gym.make_vec(env_id, num_envs=worlds, threads=threads, autoreset_mode="disabled")
    assert isinstance(env, DexVectorEnv)
    env.reset(seed=0)
    return env, np.zeros(env.action_space.shape)


def held_worlds(env_id: str, worlds: int, threads: int) -> tuple[DexVectorEnv, np.ndarray]:
    """Make N worlds that hold an object, and the actions that keep holding it.

    Raises:
        KeyError: Nobody has written how to hold an object in this task.
        RuntimeError: The object slipped in more than a few worlds.
    """
    env = gym.make_vec(env_id, num_envs=worlds, threads=threads, autoreset_mode="disabled")
    assert isinstance(env, DexVectorEnv)
    action = HOLDS[env.task.name](env)
    held = env.world.hand_object_contact.any(axis=1) & ~env.world.object_support_contact
    held = held[:, 0]  # what else is in the scene may stand on the table
    if held.mean() < 0.9:
        raise RuntimeError(f"{env_id}: only {held.mean():.0%} of the worlds hold the object")
    return env, action
