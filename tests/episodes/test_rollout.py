"""The rollout loop: every scenario once, all worlds busy, results independent of the batch."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
from stub_env import EXACT, GoPolicy, StubVectorEnv, make_scenarios

from dexfw_envs.episodes.rollout import mean_second_difference, run_episodes


def run(count=11, num_envs=4, limit=0.2, **options):
    env = StubVectorEnv(num_envs)
    episodes = list(run_episodes(env, GoPolicy(limit), make_scenarios(count), **options))
    return env, sorted(episodes, key=lambda episode: episode.index)


def test_each_scenario_runs_exactly_once():
    _, episodes = run(11)
    assert [episode.index for episode in episodes] == list(range(11))
    assert [episode.scenario for episode in episodes] == make_scenarios(11)
    assert {episode.failure for episode in episodes} == {"", "dropped"}


@pytest.mark.parametrize("num_envs", [1, 3, 32])
def test_results_do_not_depend_on_the_number_of_worlds(num_envs):
    for one, other in zip(run(num_envs=4)[1], run(num_envs=num_envs)[1], strict=True):
        assert (one.success, one.failure, one.length, one.hold, one.jerk, one.info) == (
            (other.success, other.failure, other.length, other.hold, other.jerk, other.info)
        )
        for name in ("actions", "rewards", "states"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for key, value in one.observations.items():
            np.testing.assert_array_equal(value, other.observations[key])


def test_trajectories_are_aligned_and_own_their_memory():
    for episode in run()[1]:
        steps = episode.length
        assert episode.actions.shape == (steps, 2)
        assert episode.rewards.shape == (steps,)
        assert episode.states.shape == (steps + 1, 5)
        assert {k: v.shape for k, v in episode.observations.items()} == {
            "proprio": (steps + 1, 2),
            "object": (steps + 1, 2),
        }
        moved = np.diff(episode.states[:, :2], axis=0)
        np.testing.assert_allclose(moved, 0.1 * episode.actions, atol=1e-6)
        np.testing.assert_array_equal(episode.states[:, 4], np.arange(steps + 1))
        total = sum(episode.info["reward_terms"].values())
        np.testing.assert_allclose(episode.rewards.sum(), total)
        assert episode.jerk == mean_second_difference(episode.actions)
        assert episode.actions.base is None
        assert episode.states.base is None
        assert episode.success == episode.info["success_terms"]["held"]
        assert not episode.success or episode.failure == ""


def test_states_that_cannot_be_restored_are_not_read(monkeypatch):
    whole = run(6)[1]
    env = StubVectorEnv(4)
    env.backend.capabilities = replace(EXACT, exact_restore=False)
    monkeypatch.delattr(StubVectorEnv, "state_vectors")
    found = sorted(run_episodes(env, GoPolicy(0.2), make_scenarios(6)), key=lambda e: e.index)
    for episode, full in zip(found, whole, strict=True):
        assert episode.states.shape == (episode.length + 1, 0)
        np.testing.assert_array_equal(episode.actions, full.actions)


def test_worlds_are_refilled_at_once():
    env, episodes = run(40, num_envs=4)
    assert env.steps < sum(e.length for e in episodes) / 4 + env.max_episode_steps


def test_worlds_without_an_episode_rest():
    env, _ = run(6, num_envs=4)
    assert env.resting.sum() == 3  # all but that of the last episode
    env, _ = run(2, num_envs=4)
    start = np.random.default_rng(make_scenarios(1)[0].seed).uniform(-0.5, 0.5, 2)
    np.testing.assert_array_equal(env.point[2:], [start, start])  # they never moved


def test_summary_only_keeps_the_numbers():
    for full, short in zip(run()[1], run(trajectories=False)[1], strict=True):
        assert short.observations == {}
        assert short.actions.size == short.states.size == 0
        assert (short.success, short.length, short.jerk) == (full.success, full.length, full.jerk)


def test_observation_keys_are_chosen_and_checked():
    assert list(run(observation_keys=["object"])[1][0].observations) == ["object"]
    with pytest.raises(ValueError, match=r"unknown observation keys.*valid.*proprio"):
        run(observation_keys=["picture"])


def test_the_policy_is_reset_for_exactly_the_new_worlds():
    policy = GoPolicy(0.2)
    list(run_episodes(StubVectorEnv(4), policy, make_scenarios(9)))
    assert policy.resets[0].all()
    assert sum(mask.sum() for mask in policy.resets) == 9


def test_a_generator_of_scenarios_sees_the_outcomes_first():
    seen, asked_after = [], []

    def scenarios():
        for scenario in make_scenarios(6):
            asked_after.append(len(seen))
            yield scenario

    for episode in run_episodes(StubVectorEnv(2), GoPolicy(), scenarios()):
        seen.append(episode)
    assert asked_after[:3] == [0, 0, 1]
    assert len(seen) == 6


def test_no_scenarios_means_no_episodes_and_no_reset():
    env = StubVectorEnv(2)
    assert list(run_episodes(env, GoPolicy(), [])) == []
    assert env.resets == []


def test_on_step_shows_every_length_once():
    seen = {}

    def watch(indices, lengths):
        for index, length in zip(indices, lengths, strict=True):
            if index >= 0:
                seen.setdefault(int(index), []).append(int(length))

    for episode in run(on_step=watch)[1]:
        assert seen[episode.index] == list(range(episode.length + 1))


def test_progress_callback_and_bar(monkeypatch, capsys):
    calls = []
    run(5, progress=lambda done, total, episode: calls.append((done, total)))
    assert calls == [(n, 5) for n in range(1, 6)]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    run(5, progress="evaluate")
    assert capsys.readouterr().out == ""  # stdout is for results


def test_bad_use_is_refused():
    env = StubVectorEnv(2, autoreset_mode="same_step")
    with pytest.raises(ValueError, match="autoreset_mode='disabled'"):
        list(run_episodes(env, GoPolicy(), make_scenarios(2)))
    policy = GoPolicy()
    policy.act = lambda observation: np.zeros((2, 7))
    with pytest.raises(ValueError, match=r"\(2, 7\), need \(2, 2\)"):
        list(run_episodes(StubVectorEnv(2), policy, make_scenarios(2)))


def test_mean_second_difference():
    steady = np.outer(np.arange(10), [1.0, -2.0])
    assert mean_second_difference(steady) == 0.0
    zigzag = np.array([[0.0], [1.0], [0.0], [1.0]])
    assert mean_second_difference(zigzag) == 2.0
    assert mean_second_difference(zigzag[:2]) == 0.0
    with pytest.raises(ValueError, match="shape"):
        mean_second_difference(np.zeros(5))
