"""Trajectory editing: exact where nothing changed, rigid on the object, smooth on the way."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_motions import OBJECT, QUIET, edit_at, object_at, one_arm_source, pose

from dexfw_envs import transforms as tf
from dexfw_envs.editing.bridging import MIN_JERK_PEAK, EditOptions, Noise, min_jerk
from dexfw_envs.editing.editor import object_motion
from dexfw_envs.editing.segments import Subtask
from dexfw_envs.episodes.rollout import mean_second_difference

SETTINGS = settings(max_examples=40, deadline=None)
shifts = st.tuples(*[st.floats(-0.1, 0.1)] * 3).map(np.array)
yaws = st.floats(-0.8, 0.8)


def same_rotation(a, b, atol=1e-9):
    np.testing.assert_allclose(tf.matrix_from_quat(a), tf.matrix_from_quat(b), atol=atol)


# --- the transform ---------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [0, 1, 30])
def test_unmoved_object_gives_back_the_source_motion_exactly(lead):
    source = one_arm_source(lead)
    plan = edit_at(source, source.objects[0])
    np.testing.assert_allclose(plan.position, source.position, atol=1e-12)
    same_rotation(plan.quaternion, source.quaternion)
    np.testing.assert_array_equal(plan.hand, source.hand)


@SETTINGS
@given(shifts, yaws, shifts, st.sampled_from(["warp", "straight"]))
def test_poses_relative_to_the_object_are_kept_after_the_anchor(shift, yaw, start, bridge):
    source, objects = one_arm_source(), pose(OBJECT + shift, yaw)[None]
    begin = source.measured[0] + np.concatenate([0.2 * start, np.zeros(4)])
    options = dataclasses.replace(QUIET, bridge=bridge)
    plan = edit_at(source, objects, begin, options)
    kept = source.steps - (30 if bridge == "warp" else 0)
    new, old = plan.position[-kept:], source.position[-kept:]
    got = tf.relative(objects[0, :3], objects[0, 3:], new, plan.quaternion[-kept:])
    want = tf.relative(OBJECT, [1.0, 0, 0, 0], old, source.quaternion[-kept:])
    np.testing.assert_allclose(got[0], want[0], atol=1e-9)
    same_rotation(got[1], want[1])
    np.testing.assert_array_equal(plan.hand[-kept:], source.hand[-kept:])


@SETTINGS
@given(shifts, yaws, shifts)
def test_warp_starts_at_the_robot_and_never_jumps(shift, yaw, start):
    source, objects = one_arm_source(), pose(OBJECT + shift, yaw)[None]
    begin = source.measured[0].copy()
    begin[0, :3] += 0.2 * start
    plan = edit_at(source, objects, begin)
    np.testing.assert_allclose(plan.position[0], begin[:, :3], atol=1e-9)
    # No step is longer than the source's longest plus the share of the bend.
    motion = object_motion(pose(OBJECT), objects[0])
    carried = source.position + 0.2 * start
    gap = np.linalg.norm(
        tf.compose(*motion, source.position, source.quaternion)[0] - carried, axis=-1
    )
    own = np.linalg.norm(np.diff(source.position, axis=0), axis=-1).max()
    lead = len(plan.hand) - 30
    bound = own + MIN_JERK_PEAK * gap.max() / lead
    assert np.linalg.norm(np.diff(plan.position, axis=0), axis=-1).max() <= bound + 1e-9
    assert lead >= 30
    assert gap[30] * MIN_JERK_PEAK / lead <= QUIET.warp_speed + 1e-9


def test_short_approach_is_slowed_down_and_keeps_its_shape():
    source = one_arm_source(lead=5)
    objects = object_at(0.1, 0.1, 0.0)
    plan = edit_at(source, objects)
    lead = len(plan.hand) - 55
    expected = int(np.ceil(MIN_JERK_PEAK * np.hypot(0.1, 0.1) / QUIET.warp_speed))
    assert lead == expected
    bend = min_jerk(np.arange(lead) / lead)[:, None] * [0.1, 0.1, 0.0]
    at = np.arange(lead) * 5 / lead
    back = plan.position[:lead, 0] - bend
    for axis in range(3):
        recorded = np.interp(at, np.arange(60), source.position[:, 0, axis])
        np.testing.assert_allclose(back[:, axis], recorded, atol=1e-9)


def test_warp_adds_hardly_any_jerk_where_a_straight_bridge_jumps():
    source, objects = one_arm_source(), object_at(0.05, -0.06, yaw=0.3)
    straight = dataclasses.replace(QUIET, bridge="straight")
    own, warped, bridged = (
        np.abs(np.diff(position[:40, 0], n=2, axis=0)).max()
        for position in (
            source.position,
            edit_at(source, objects).position,
            edit_at(source, objects, options=straight).position,
        )
    )
    assert warped < 1.5 * own
    assert bridged > 3.0 * own


@SETTINGS
@given(shifts, yaws, st.tuples(*[st.floats(-0.5, 0.5)] * 2))
def test_only_yaw_is_turned_unless_asked_otherwise(shift, yaw, tilt):
    tilted = tf.quat_multiply(tf.quat_from_yaw(yaw), tf.quat_from_rotvec([*tilt, 0.0]))
    new = np.concatenate([OBJECT + shift, tilted])
    position, turn = object_motion(pose(OBJECT), new)
    same_rotation(turn, tf.quat_from_yaw(yaw))
    np.testing.assert_allclose(position + tf.quat_rotate(turn, OBJECT), new[:3], atol=1e-9)
    _, full = object_motion(pose(OBJECT), new, yaw_only=False)
    same_rotation(full, tilted)


def test_straight_bridge_is_a_line_from_the_robot_to_the_first_moved_target():
    source, objects = one_arm_source(), object_at(0.05, 0.0, 0.0)
    plan = edit_at(source, objects, options=dataclasses.replace(QUIET, bridge="straight"))
    assert len(plan.hand) == source.steps + 5
    ends = np.concatenate([source.measured[0, 0, :3], plan.position[5, 0]]).reshape(2, 3)
    fractions = np.arange(1, 6)[:, None] / 6
    line = (1 - fractions) * ends[0] + fractions * ends[1]
    np.testing.assert_allclose(plan.position[:5, 0], line, atol=1e-12)


@pytest.mark.parametrize("bridge", ["warp", "straight"])
def test_second_subtask_follows_its_own_object(bridge):
    segments = ((Subtask(0, 20, 0, lead=10), Subtask(20, 60, 1, lead=15)),)
    source = one_arm_source()
    objects = np.concatenate([source.objects, source.objects + np.eye(7)[0] * 0.1], axis=1)
    source = dataclasses.replace(source, objects=objects, segments=segments)
    new = objects[0] + np.array([[0.02, 0, 0], [0.0, 0.05, 0]]) @ np.eye(3, 7)
    plan = edit_at(source, new, options=dataclasses.replace(QUIET, bridge=bridge))
    np.testing.assert_allclose(plan.position[-1], source.position[-1] + [0.0, 0.05, 0.0], atol=1e-9)
    at = 15 if bridge == "warp" else 20
    np.testing.assert_allclose(plan.position[at], source.position[15] + [0.02, 0, 0], atol=1e-9)
    if bridge == "warp":
        assert len(plan.hand) == source.steps  # the bends fit into the recorded approaches


# --- noise -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["smooth", "white"])
def test_noise_has_the_asked_deviation(kind):
    options = EditOptions(noise=kind, noise_position=0.004, noise_rotation=0.03, noise_steps=4.0)
    source = one_arm_source(lead=0, steps=60)
    errors, turns = [], []
    for seed in range(60):
        plan = edit_at(source, source.objects[0], options=options, seed=seed)
        errors.append(plan.position - source.position)
        back = tf.quat_multiply(plan.quaternion, tf.quat_conjugate(source.quaternion))
        turns.append(tf.rotvec_from_quat(back))
        np.testing.assert_array_equal(plan.hand, source.hand)
    assert np.std(errors) == pytest.approx(0.004, rel=0.1)
    assert np.std(turns) == pytest.approx(0.03, rel=0.1)
    assert abs(np.mean(errors)) < 0.0006


def test_smooth_noise_is_smooth_and_seamless_over_draws():
    options = EditOptions(noise="smooth", noise_steps=6.0)
    stream = Noise(12, options, np.random.default_rng(0))
    parts = np.concatenate([stream.draw(n) for n in (7, 0, 50, 1, 300)])
    whole = Noise(12, options, np.random.default_rng(0)).draw(len(parts))
    np.testing.assert_allclose(parts, whole, atol=1e-12)
    white = Noise(12, EditOptions(noise="white"), np.random.default_rng(0)).draw(len(parts))
    assert mean_second_difference(parts) < 0.03 * mean_second_difference(white)


def test_noise_of_hand_and_straight_bridge():
    options = EditOptions(bridge="straight", noise="white", noise_position=0.005, noise_hand=0.05)
    source, objects = one_arm_source(), object_at(0.05, 0.0, 0.0)
    plan = edit_at(source, objects, options=options)
    clean = edit_at(source, objects, options=dataclasses.replace(options, noise="none"))
    np.testing.assert_array_equal(plan.position[:5], clean.position[:5])
    assert np.std(plan.position[5:] - clean.position[5:]) == pytest.approx(0.005, rel=0.3)
    assert np.std(plan.hand[5:] - clean.hand[5:]) == pytest.approx(0.05, rel=0.3)


def test_same_seed_same_plan():
    source, objects = one_arm_source(), object_at(0.05, 0.0, 0.0)
    plans = [edit_at(source, objects, options=EditOptions(), seed=s) for s in (1, 1, 2)]
    np.testing.assert_array_equal(plans[0].position, plans[1].position)
    assert np.abs(plans[0].position - plans[2].position).max() > 1e-4


# --- bad input


@pytest.mark.parametrize(
    "fields", [{"bridge": "teleport"}, {"noise": "pink"}, {"warp_speed": 0.0}, {"noise_hand": -1.0}]
)
def test_options_refuse(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        EditOptions(**fields)


def test_source_and_start_shapes_are_checked():
    source = one_arm_source()
    with pytest.raises(ValueError, match="measured has shape"):
        dataclasses.replace(source, measured=source.measured[:-1])
    with pytest.raises(ValueError, match="start has shape"):
        edit_at(source, source.objects[0], start=np.zeros((2, 7)))
