"""The single environment behind Gymnasium's ordinary calls."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from scenes import actions, equal, make, scene

import dexfw_envs
from dexfw_envs.envs.single import DexEnv

ID = "DexFW/Grasp-v0"


def test_spaces():
    env = gym.make(ID, obs_mode="state+touch")
    assert {k: v.shape for k, v in env.observation_space.items()} == {
        "object": (13,),
        "proprio": (69,),
        "touch": (5,),
    }
    for space in env.observation_space.values():
        assert np.isfinite(space.low).all() and np.isfinite(space.high).all()
    assert env.action_space == gym.spaces.Box(-1, 1, (12,), np.float32)


def test_it_is_the_batch_of_one():
    env, batch = DexEnv("Grasp", threads=1, info_mode="full"), make(1, autoreset_mode="disabled")
    observation, info = env.reset(seed=11)
    many, many_info = batch.reset(seed=11)
    assert equal(observation, {k: v[0] for k, v in many.items()})
    assert info["scenario"] == many_info["scenario"][0] == env.scenario
    for action in actions(20, 1):
        one, many = env.step(action[0]), batch.step(action)
        assert equal(one[0], {k: v[0] for k, v in many[0].items()})
        assert one[1:4] == (many[1][0], many[2][0], many[3][0])


def test_plain_python_values():
    env = gym.make(ID, info_mode="full")
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(np.zeros(12, np.float32))
    assert type(reward) is float and type(terminated) is type(truncated) is bool
    assert type(info["elapsed"]) is int and type(info["success"]) is bool
    assert info["failure"] == "" and set(info["success_terms"]) == {
        "raised",
        "contact",
        "free",
        "slow",
    }


def test_chosen_scenario():
    env, wanted = gym.make(ID, info_mode="full"), scene("pear", "tile_table", 4, seed=9)
    _, info = env.reset(options={"scenario": wanted})
    assert info["scenario"] == wanted
    position = env.unwrapped.batch.world.object_position[0, 0]
    assert np.array_equal(position, wanted.object_poses[0][:3])


def test_gymnasium_time_limit_truncates_earlier():
    env = gym.make(ID, max_episode_steps=20)
    env.reset(seed=0)
    ends = [env.step(np.zeros(12))[2:4] for _ in range(20)]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])


def test_gymnasium_time_limit_cannot_go_beyond_the_tasks():
    env = gym.make(ID, max_episode_steps=500)
    env.reset(seed=0)
    env.unwrapped.batch.memory.elapsed[:] = 298
    assert [env.step(np.zeros(12))[3] for _ in range(2)] == [False, True]


@pytest.mark.parametrize("steps", [3, 400])
def test_own_time_limit(steps):
    env = DexEnv("Grasp", max_episode_steps=steps, info_mode="full")
    env.reset(seed=0)
    env.batch.memory.elapsed[:] = steps - 2
    assert env.step(np.zeros(12))[2:4] == (False, False)
    *_, truncated, info = env.step(np.zeros(12))
    assert truncated and info["failure"] == "timeout"


def test_a_seedless_reset_continues_the_stream():
    first, second = (DexEnv("Grasp", info_mode="full") for _ in range(2))
    for env in (first, second):
        env.reset(seed=2)
    runs = [[env.reset()[1]["scenario"] for _ in range(3)] for env in (first, second)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3


def test_restore_in_a_new_object_with_its_generator():
    env, other = DexEnv("Grasp"), DexEnv("Grasp")
    env.reset(seed=2)
    commands = actions(20, 1)[:, 0]
    for action in commands[:10]:
        env.step(action)
    state = env.get_state()
    expected = [env.step(action) for action in commands[10:]]
    other.set_state(state)
    assert equal([other.step(action) for action in commands[10:]], expected)
    assert equal(env.reset(), other.reset())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("single", [True, False])
def test_copies_and_pickles_go_on_equally(single, duplicate):
    env = DexEnv("Grasp", obs_mode="state+touch") if single else make(2, obs_mode="state+touch")
    commands = actions(20, 2)[:, 0] if single else actions(20, 2)
    fresh = duplicate(env)  # before its first reset it copies as well
    assert fresh.observation_space == env.observation_space
    env.reset(seed=6)
    for action in commands[:10]:
        env.step(action)
    other = duplicate(env)
    for action in commands[10:]:
        assert equal(env.step(action), other.step(action))
    assert equal(env.reset(), other.reset())


def test_close_twice():
    for env in (gym.make(ID), gym.make_vec(ID, num_envs=2)):
        env.reset(seed=0)
        env.close()
        env.close()
        assert getattr(env.unwrapped, "batch", env.unwrapped).closed


def test_the_package_lists_its_tasks():
    names = [item.env_id for item in dexfw_envs.TASKS]
    assert names == [f"DexFW/{name}-v0" for name in ("Grasp", "Pour", "Lift", "Handover")]
