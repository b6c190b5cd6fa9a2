"""The native batch: same numbers as single worlds, whole episodes, exact restore."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from scenes import actions, equal, expert_grasp, make, play, rows, scene, started

STEPS = 40


# --- batching


def test_a_batch_equals_its_worlds_alone():
    seed, commands = 20, actions(STEPS, 4)
    batch = make(4, obs_mode="state+touch", threads=2)
    batch.reset(seed=seed)
    together = play(batch, commands)
    for world in range(4):
        alone = make(1, obs_mode="state+touch")
        alone.reset(seed=seed + world)
        results = play(alone, commands[:, world : world + 1])
        assert equal(results, [rows(r, slice(world, world + 1)) for r in together])


def test_a_grasp_in_a_batch_equals_the_grasp_alone():
    grasp = expert_grasp()
    for world, scenario in enumerate(grasp.scenarios):
        env = started([scenario], obs_mode="state+touch")
        results = play(env, [a[world : world + 1] for a in grasp.actions[:100]])
        expected = [rows(r, slice(world, world + 1)) for r in grasp.results[:100]]
        assert equal(results, expected)


def test_threads_do_not_change_a_bit():
    runs = []
    for threads in (1, 2, 5):
        env = make(5, threads=threads)
        env.reset(seed=1)
        runs.append(play(env, actions(STEPS, 5)))
    assert equal(runs[0], runs[1]) and equal(runs[0], runs[2])


def test_seeds_may_be_a_sequence_or_numpy():
    env = make(2)
    wanted = env.reset(seed=5)[1]["scenario"]
    assert (env.reset(seed=[5, 6])[1]["scenario"] == wanted).all()
    assert (env.reset(seed=np.int64(5))[1]["scenario"] == wanted).all()


# --- episodes


def test_same_step_autoreset_at_the_boundary():
    """The last observation of an episode is kept, and the next one has begun."""
    env = make(3, max_episode_steps=12)
    going_on = make(3, autoreset_mode="disabled")
    env.reset(seed=0)
    env.reset(options={"reset_mask": np.array([True, False, True])})  # differ in length below
    going_on.set_state(env.get_state())
    env.memory.elapsed[1] = going_on.memory.elapsed[1] = 5
    for step, action in enumerate(actions(12, 3), 1):
        before = env.scenarios.copy()
        observation, reward, terminated, truncated, info = env.step(action)
        other, other_reward, *_, other_info = going_on.step(action)
        assert not terminated.any()
        if step == 7:
            done = np.array([False, True, False])
            break
        assert not truncated.any() and "final_obs" not in info
    assert (truncated == done).all()
    assert (info["_final_obs"] == done).all() and (info["_final_info"] == done).all()
    final = info["final_info"]
    assert equal(info["final_obs"], other) and np.array_equal(reward, other_reward)
    assert final["failure"].tolist() == ["", "timeout", ""] and final["elapsed"][1] == 12
    assert final["scenario"][1] == before[1] and info["scenario"][1] != before[1]
    assert equal(final["reward_terms"], other_info["reward_terms"])
    assert info["elapsed"].tolist() == [7, 0, 7] and info["failure"].tolist() == [""] * 3
    assert np.array_equal(env.world.object_position[1, 0], info["scenario"][1].object_poses[0][:3])
    assert equal(rows(observation, [0, 2]), rows(other, [0, 2]))
    # What follows in the new episode is what a fresh world in that scenario does.
    fresh = started([env.scenarios[1]])
    commands = actions(5, 3, seed=9)
    expected = play(fresh, commands[:, 1:2])
    assert equal([rows(r[0], slice(1, 2)) for r in play(env, commands)], [r[0] for r in expected])


def test_the_new_episode_comes_from_the_sampler():
    env = make(2, max_episode_steps=2, scenarios=lambda rng: scene(seed=int(rng.integers(100))))
    env.reset(seed=0)
    assert {s.objects for s in env.scenarios} == {("baseball",)}
    env.sampler = lambda rng: scene("cube", seed=int(rng.integers(100)))
    for _ in range(2):
        *_, info = env.step(np.zeros((2, 12)))
    assert {s.objects for s in info["scenario"]} == {("cube",)}


def test_success_ends_the_episode_and_pays_once():
    grasp = expert_grasp()
    env = make(2, reward_mode="sparse", obs_mode="state+touch")
    env.reset(seed=0, options={"scenarios": grasp.scenarios})
    total = np.zeros(2)
    for step, action in enumerate(grasp.actions[: grasp.held.max() + 1]):
        _, reward, terminated, _, info = env.step(action)
        total += np.where(grasp.held >= step, reward, 0.0)  # first episodes only
        expected = grasp.held == step
        assert (terminated[grasp.held >= step] == expected[grasp.held >= step]).all()
        if expected.any():
            assert info["final_info"]["success"][expected].all()
            assert (info["final_info"]["failure"][expected] == "").all()
            assert (info["final_info"]["hold"][expected] == env.task.hold_steps).all()
            assert not info["success"][expected].any() and not info["hold"][expected].any()
    assert total.tolist() == [1.0, 1.0]


def test_without_autoreset_worlds_wait_for_the_caller():
    env = make(2, autoreset_mode="disabled", max_episode_steps=3)
    assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    assert type(env).metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    env.reset(seed=0)
    for step in range(1, 6):
        *_, truncated, info = env.step(np.zeros((2, 12)))
        assert (truncated == (step >= 3)).all()
        assert "final_obs" not in info and info["elapsed"].tolist() == [step, step]
    kept = env.state_vectors()[0]
    wanted = scene("egg", cell=3)
    mask = np.array([False, True])
    _, info = env.reset(options={"reset_mask": mask, "scenarios": [wanted]})
    assert info["elapsed"].tolist() == [5, 0] and info["scenario"][1] == wanted
    assert np.array_equal(env.state_vectors()[0], kept)


def test_a_lost_object_is_dropped():
    env = started([scene(), scene()])
    vectors = env.state_vectors()
    env.backend._qpos[1, env.backend._object_q[0, 0]] += 0.31
    _, _, terminated, _, info = env.step(np.zeros((2, 12)))
    assert terminated.tolist() == [False, True]
    assert info["failure"].tolist() == ["", "dropped"]
    assert vectors.shape == env.state_vectors().shape


# --- observations


def test_observations_are_clipped_to_their_bounds():
    env = started([scene(), scene()], obs_mode="state+touch")
    env.backend._qvel[0, :] = 45.0
    env.backend._qpos[0, env.backend._object_q[0, 0]] = 5.0
    env.backend._qpos[0, env.backend._arm_q[0, 0]] = 9.0
    observation, *_ = env.step(np.zeros((2, 12)))
    assert env.observation_space.contains(observation)
    assert np.abs(observation["object"][0]).max() <= 50
    assert observation["object"][0, 0] == env.single_observation_space["object"].high[0]


def arrays(value):
    if isinstance(value, dict):
        return [found for item in value.values() for found in arrays(item)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return [value] if isinstance(value, np.ndarray) else []


def test_what_is_handed_out_is_the_callers_own():
    env, twin = (make(2, obs_mode="state+touch", max_episode_steps=15) for _ in range(2))
    inside = [env.backend._qpos, env.backend._qvel, env.backend._ctrl, env.backend.batch.state]
    inside += [env.backend._sensors, env.backend._site_position, *arrays(env.memory)]
    inside += [env.controller.joints, env.controller.position, env.controller.quaternion]
    out = [*env.reset(seed=0), env.world, env.get_state()]
    twin.reset(seed=0)
    given = np.zeros((2, 12))
    for action in actions(30, 2):
        for array in [found for value in out for found in arrays(value)]:
            assert not any(np.shares_memory(array, own) for own in inside)
            if array.dtype != object and array.flags.writeable:
                array[...] = 1
        given[:] = action
        out = [*env.step(given), env.world, env.get_state()]
        given[:] = 0.7  # nor is the action kept
        assert equal(out[:5], list(twin.step(action)))


def test_sparse_reward_is_success():
    grasp = expert_grasp()
    env = started(grasp.scenarios, reward_mode="sparse")
    for step, action in enumerate(grasp.actions):
        _, reward, _, _, info = env.step(action)
        assert np.array_equal(reward, info["success"].astype(float)), step
        assert set(info["reward_terms"]) == {"approach", "lift"}
    assert reward.any()


# --- exact restore


@pytest.mark.parametrize("moment", ["start", "touched", "lifting"])
def test_restored_in_a_new_environment_it_goes_on_bit_for_bit(moment):
    grasp = expert_grasp()
    step = {"start": 0, "touched": grasp.touched, "lifting": grasp.lifting}[moment]
    env = make(2, autoreset_mode="disabled", obs_mode="state+touch", threads=2)
    assert equal(env.set_state(grasp.states[step]), grasp.observations[step])
    assert np.array_equal(env.state_vectors(), grasp.states[step]["vectors"])
    results = play(env, grasp.actions[step : step + 50])
    assert equal(results, grasp.results[step : step + 50])


def test_single_rows_restored_in_other_worlds():
    """Rows go into worlds that were busy with other objects; the worlds beside do not notice."""
    grasp = expert_grasp()
    step, env = grasp.lifting, make(4, autoreset_mode="disabled", obs_mode="state+touch")
    env.reset(seed=8)
    before = actions(15, 4)
    play(env, before)
    beside = make(4, autoreset_mode="disabled", obs_mode="state+touch")
    beside.set_state(env.get_state())
    mask, order = np.array([True, False, False, True]), [1, 0]
    chosen = [grasp.scenarios[k] for k in order]
    observation = env.set_state_vectors(grasp.states[step]["vectors"][order], chosen, mask)
    assert equal(rows(observation, mask), rows(grasp.observations[step], order))
    for k in range(50):
        command = actions(1, 4, seed=k)[0]
        command[mask] = grasp.actions[step + k][order]
        result, other = play(env, [command])[0], play(beside, [command])[0]
        assert equal(rows(result, mask), rows(grasp.results[step + k], order))
        assert equal(rows(result, ~mask), rows(other, ~mask))


def test_states_of_what_is_no_simulator_are_refused():
    env = make(1)
    states = env.state_vectors()
    env.backend.capabilities = dataclasses.replace(env.backend.capabilities, real_time=True)
    for attempt in (env.state_vectors, env.get_state):
        with pytest.raises(RuntimeError, match="'mujoco' has no states to read or restore"):
            attempt()
    with pytest.raises(RuntimeError, match="has no states to read or restore"):
        env.set_state_vectors(states, [scene()])


def test_restore_undoes_a_fault_and_keeps_the_hold():
    grasp = expert_grasp()
    step = int(grasp.held[0]) - 3
    env = make(2, autoreset_mode="disabled", obs_mode="state+touch")
    env.reset(seed=0)
    env.backend._qvel[0] = np.nan
    env.step(np.zeros((2, 12)))
    assert env.world.fault[0]
    env.set_state(grasp.states[step])
    assert not env.world.fault.any() and env.memory.hold[0] == 6
    assert equal(play(env, grasp.actions[step : step + 10]), grasp.results[step : step + 10])


# --- with Gymnasium's wrappers


def test_episode_statistics_wrapper():
    env = gym.make_vec("DexFW/Grasp-v0", num_envs=2, threads=1)
    env = RecordEpisodeStatistics(env)
    env.reset(seed=0)
    env.unwrapped.memory.elapsed[1] = 290
    total = 0.0
    for _ in range(10):
        _, reward, _, truncated, info = env.step(np.zeros((2, 12), np.float32))
        total += reward[1]
    assert truncated.tolist() == [False, True]
    assert info["_episode"].tolist() == [False, True]
    assert info["episode"]["l"][1] == 10 and info["episode"]["r"][1] == pytest.approx(total)
    assert env.step(np.zeros((2, 12), np.float32))[4]["elapsed"].tolist() == [11, 1]


def test_a_step_limit_of_ones_own():
    env = gym.make_vec("DexFW/Grasp-v0", num_envs=2, max_episode_steps=4)
    env.reset(seed=0)
    ends = [env.step(np.zeros((2, 12)))[3].all() for _ in range(4)]
    assert ends == [False, False, False, True]


def test_gymnasiums_class_is_a_direct_base():
    """skrl looks for it there, and nowhere further up."""
    assert gym.vector.VectorEnv in type(make(1)).__bases__
