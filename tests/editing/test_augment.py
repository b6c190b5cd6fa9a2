"""Generating demonstrations: sources from episodes, replay in many worlds, tallies."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from toy_motions import (
    HOME,
    OBJECT,
    QUIET,
    ToyEnv,
    ToyScenario,
    one_arm_source,
    seed_episode,
    toy_scenarios,
)

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import POSITION_SLEW, ROTATION_SLEW
from dexfw_envs.editing.augment import (
    EditingPolicy,
    augment,
    choose_nearest,
    choose_random,
)
from dexfw_envs.editing.motion import Motion
from dexfw_envs.editing.reading import read_motion, slew, smooth
from dexfw_envs.editing.segments import Subtask
from dexfw_envs.editing.tally import Tally, failure_reason
from dexfw_envs.episodes.rollout import mean_second_difference, run_episodes


def test_slew_and_smooth():
    source = one_arm_source()
    asked = SimpleNamespace(
        position=source.position[-1:].repeat(60, 0),
        quaternion=source.quaternion[-1:].repeat(60, 0),
        hand=source.hand[-1:].repeat(60, 0),
    )
    issued = slew(asked, source.measured[0])
    steps = np.linalg.norm(np.diff(issued.position, axis=0), axis=-1)
    assert steps.max() <= POSITION_SLEW + 1e-12
    turns = tf.quat_multiply(issued.quaternion[1:], tf.quat_conjugate(issued.quaternion[:-1]))
    assert np.linalg.norm(tf.rotvec_from_quat(turns), axis=-1).max() <= ROTATION_SLEW + 1e-9
    np.testing.assert_allclose(issued.position[-1], asked.position[-1], atol=1e-12)
    rough = dataclasses.replace(
        issued, position=issued.position + 0.003 * (-1.0) ** np.arange(60)[:, None, None]
    )
    calm = smooth(rough, 2.0)
    assert calm.position.shape == rough.position.shape
    before, after = (mean_second_difference(m.position[:, 0]) for m in (rough, calm))
    assert after < 0.1 * before
    np.testing.assert_allclose(calm.position[[0, -1]], rough.position[[0, -1]], atol=1e-9)
    assert smooth(rough, 0.0) is rough


def test_augment_grasps_objects_that_moved():
    run = augment(ToyEnv(4), [seed_episode()], toy_scenarios(11), np.random.default_rng(0))
    episodes = list(run)
    assert run.tally == Tally(11, 11)
    assert len(episodes) == 11
    assert {episode.index for episode in episodes} == set(range(11))
    assert all(episode.info["edited_from"] == "" for episode in episodes)
    seed = seed_episode()
    for episode in episodes:
        assert 0.7 * seed.length < episode.length < 1.3 * seed.length
        assert episode.jerk < 3.0 * seed.jerk


def test_episodes_do_not_depend_on_the_number_of_worlds():
    source = read_motion(seed_episode(), ToyEnv(1).codec, label="seed")
    runs = []
    for count in (1, 3, 8):
        run = augment(ToyEnv(count), [source] * 2, toy_scenarios(8), np.random.default_rng(7))
        runs.append({episode.index: episode for episode in run})
    for index, episode in runs[0].items():
        assert episode.info["edited_from"] == "seed"
        for other in runs[1:]:
            np.testing.assert_array_equal(episode.actions, other[index].actions)


def test_failures_are_counted_by_reason_and_can_be_kept():
    env = ToyEnv(2, reach=-0.1)  # the palm cannot pass x = -0.1
    source = read_motion(seed_episode(), env.codec)
    run = augment(env, [source], toy_scenarios(3), np.random.default_rng(0), failures=True)
    assert [episode.failure for episode in run] == ["out_of_reach"] * 3
    assert run.tally.attempts == 3
    assert run.tally.rate == 0.0
    limp = dataclasses.replace(source, hand=0.5 * source.hand)
    run = augment(ToyEnv(2), [limp], toy_scenarios(3), np.random.default_rng(0))
    assert list(run) == []
    assert run.tally == Tally(3, 0, {"never_grasped": 3})


def test_failure_reasons_tell_falls_apart():
    codec, episode = ToyEnv(1).codec, seed_episode()
    lost = dataclasses.replace(episode, success=False, failure="timeout")
    assert failure_reason(episode, codec) == ""
    assert failure_reason(lost, codec) == "timeout"
    assert failure_reason(dataclasses.replace(lost, failure="fault"), codec) == "fault"
    assert failure_reason(dataclasses.replace(lost, failure="dropped"), codec) == "dropped"
    seen = episode.observations["object"].copy()
    seen[-5:, 2] = seen[0, 2]
    down = dataclasses.replace(lost, observations={**episode.observations, "object": seen})
    assert failure_reason(down, codec) == "dropped"
    seen = seen.copy()
    seen[:, 2] = np.linspace(seen[0, 2], -0.5, len(seen))
    off = dataclasses.replace(
        down, failure="dropped", observations={**down.observations, "object": seen}
    )
    assert failure_reason(off, codec) == "knocked_off"
    for trial, reason in ((lost, "spilled"), (down, "dropped"), (off, "knocked_off")):
        assert failure_reason(dataclasses.replace(trial, failure="spilled"), codec) == reason


def test_tally_merges_and_survives_json():
    tally = sum((Tally.of(r) for r in ["", "dropped", "", "timeout", "dropped"]), Tally())
    assert tally == Tally(5, 2, {"dropped": 2, "timeout": 1})
    assert tally.rate == 0.4
    assert Tally.from_json(tally.to_json()) == tally
    assert tally + tally == Tally(10, 4, {"dropped": 4, "timeout": 2})
    assert Tally().rate == 0.0


def test_nearest_source_of_the_same_object_is_chosen():
    here = one_arm_source()
    far = dataclasses.replace(here, objects=here.objects + np.eye(7)[0] * 0.2)
    can = dataclasses.replace(here, object_ids=("can",))
    rng, choose = np.random.default_rng(0), choose_nearest(1)
    scenario, objects = ToyScenario(("ball",), tuple(OBJECT)), here.objects[0]
    assert choose([can, far, here], scenario, objects, rng) == 2
    assert choose([can, far, here], ToyScenario(("egg",), tuple(OBJECT)), objects, rng) == 0
    picked = {choose_nearest(2)([can, far, here], scenario, objects, rng) for _ in range(20)}
    assert picked == {1, 2}


def test_any_source_may_be_chosen_at_random():
    here = one_arm_source()
    can = dataclasses.replace(here, object_ids=("can",))
    rng, scenario = np.random.default_rng(0), ToyScenario(("ball",), tuple(OBJECT))
    picked = [choose_random([can, here, can], scenario, here.objects[0], rng) for _ in range(300)]
    assert all(70 < picked.count(index) < 130 for index in range(3))


def test_two_arm_motion_is_played_with_a_look_at_the_object():
    source = one_arm_source()
    level = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (60, 2, 4))
    position = np.repeat(source.position, 2, axis=1)
    position[:, 1] = HOME  # the left arm does nothing but wait for the right one
    segments = (
        (Subtask(0, 45, 0, lead=30), Subtask(45, 60, 0)),
        (Subtask(0, 60, scheme="replay", kind="sequential", link=0),),
    )
    measured = np.concatenate([position, level], axis=-1)
    measured = np.concatenate([measured[:1], measured])
    hand = np.repeat(source.hand, 2, axis=1) * [[[1.0], [0.0]]]
    both = Motion(position, level, hand, source.objects, measured, segments, ("ball",))
    env, scenarios = ToyEnv(3, arms=2), toy_scenarios(5)
    policy = EditingPolicy(env, [both], np.random.default_rng(0), QUIET)
    with pytest.raises(RuntimeError, match="never reset"):
        policy.act({})
    episodes = list(run_episodes(env, policy, scenarios))
    assert all(episode.success for episode in episodes)
    for episode in episodes:
        left = episode.observations["proprio"][:, 3:6]
        np.testing.assert_allclose(left[1:30], left[1:2].repeat(29, 0), atol=1e-6)


def test_augment_refuses():
    with pytest.raises(ValueError, match="no sources"):
        augment(ToyEnv(1), [], toy_scenarios(1), np.random.default_rng(0))
    with pytest.raises(ValueError, match="observation_keys"):
        augment(
            ToyEnv(1),
            [one_arm_source()],
            toy_scenarios(1),
            np.random.default_rng(0),
            observation_keys=("object",),
        )
