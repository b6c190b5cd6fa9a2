"""Chunk-relative actions: there and back, from one palm pose to another, and of any numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import PoseCodec
from dexfw_envs.control.relative import (
    ACTION_SPACES,
    AbsoluteActions,
    RelativeActions,
    measured_palms,
)
from dexfw_envs.registry import TASKS

CODECS = {item.name: PoseCodec(item.make().needs.robot) for item in TASKS}
FEW = settings(max_examples=25, deadline=None)


def numbers(*shape, bound=1.0):
    return arrays(np.float64, shape, elements=st.floats(-bound, bound, width=32))


def palms(worlds, arms):
    """Palms anywhere within a metre, turned in any way."""
    turns = numbers(worlds, arms, 3, bound=3.0).map(tf.quat_from_rotvec)
    return st.tuples(numbers(worlds, arms, 3), turns)


@pytest.mark.parametrize("task", CODECS)
@pytest.mark.parametrize("space", ACTION_SPACES)
def test_chunks_come_back_as_they_were(task, space):
    codec = CODECS[task]
    space = ACTION_SPACES[space](codec)

    @FEW
    @given(numbers(2, 5, codec.size), palms(2, codec.arms))
    def check(actions, palm):
        there = space.encode(actions, palm)
        assert there.shape == (2, 5, space.size)
        np.testing.assert_allclose(space.decode(there, palm), actions, atol=1e-8)

    check()


@pytest.mark.parametrize("task", ["Grasp", "Handover"])
def test_a_prefix_seen_from_another_pose_asks_for_the_same_targets(task):
    codec = CODECS[task]
    space = RelativeActions(codec)

    @FEW
    @given(numbers(1, 4, codec.size), palms(1, codec.arms), palms(1, codec.arms))
    def check(actions, before, now):
        planned = space.encode(actions, before)  # as a policy gave it
        seen = space.encode(space.decode(planned, before), now)
        want, got = codec.decode(actions), codec.decode(space.decode(seen, now))
        np.testing.assert_allclose(got.position, want.position, atol=1e-8)
        np.testing.assert_allclose(got.hand, want.hand, atol=1e-8)
        same = np.abs((got.quaternion * want.quaternion).sum(-1))
        np.testing.assert_allclose(same, 1.0, atol=1e-9)
        np.testing.assert_array_equal(seen[..., 9:15], planned[..., 9:15])  # hands are absolute

    check()


@FEW
@given(numbers(2, 3, 12), palms(2, 1), numbers(3), numbers(3, bound=2.0))
def test_it_does_not_matter_where_the_whole_scene_stands(actions, palm, shift, turn):
    """What is seen from the palm stays as it is when palm and targets move together."""
    codec = CODECS["Grasp"]
    targets = codec.decode(actions)
    turn = tf.quat_from_rotvec(turn)
    moved = tf.compose(shift, turn, *palm)
    there = tf.compose(shift, turn, targets.position, targets.quaternion)
    expected = tf.relative(*(part[:, None] for part in moved), *there)
    seen = RelativeActions(codec).encode(actions, palm)
    np.testing.assert_allclose(seen[..., :3], expected[0][..., 0, :], atol=1e-7)
    axes = tf.matrix_from_quat(expected[1])[..., 0, :, :]
    np.testing.assert_allclose(seen[..., 3:6], axes[..., 0], atol=1e-7)
    np.testing.assert_allclose(seen[..., 6:9], axes[..., 1], atol=1e-7)


@FEW
@given(numbers(1, 2, 15, bound=2.0))
def test_any_numbers_are_some_pose(relative):
    palm = np.zeros((1, 1, 3)), np.array([[[1.0, 0.0, 0.0, 0.0]]])
    assert np.isfinite(RelativeActions(CODECS["Grasp"]).decode(relative, palm)).all()


def test_columns_need_not_be_unit_vectors():
    codec = CODECS["Grasp"]
    space = RelativeActions(codec)
    palm = np.zeros((1, 1, 3)), np.array([[[1.0, 0.0, 0.0, 0.0]]])
    exact = space.encode(np.full((1, 1, 12), 0.3), palm)
    rough = exact.copy()
    rough[..., 3:6] *= 1.2
    rough[..., 6:9] = 0.7 * rough[..., 6:9] + 0.2 * rough[..., 3:6]
    np.testing.assert_allclose(space.decode(rough, palm), space.decode(exact, palm), atol=1e-9)


def test_a_target_at_the_palm_is_the_origin():
    codec = CODECS["Pour"]
    targets = codec.decode(np.full((1, 1, 12), 0.2))
    palm = targets.position[:, 0], targets.quaternion[:, 0]
    seen = RelativeActions(codec).encode(np.full((1, 1, 12), 0.2), palm)[0, 0]
    np.testing.assert_allclose(seen, [0, 0, 0, 1, 0, 0, 0, 1, 0, *[0.2] * 6], atol=1e-9)


@pytest.mark.parametrize("task", ["Grasp", "Handover"])
def test_palms_of_an_observation_are_those_of_the_world(task):
    from scenes import make

    env = make(2, task)
    obs, _ = env.reset(seed=3)
    position, quaternion = measured_palms(obs["proprio"])
    np.testing.assert_allclose(position, env.world.end_effector_position, atol=1e-6)
    same = np.abs((quaternion * env.world.end_effector_quaternion).sum(-1))
    np.testing.assert_allclose(same, 1.0, atol=1e-6)
    env.close()


def test_absolute_actions_do_not_look_at_the_palm():
    space = AbsoluteActions(CODECS["Grasp"])
    actions = np.linspace(-1, 1, 24).reshape(1, 2, 12)
    assert np.array_equal(space.decode(space.encode(actions, None), None), actions)
