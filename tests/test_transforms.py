"""Property tests of the rotation and pose algebra."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexfw_envs import transforms as tf

SETTINGS = settings(max_examples=60, deadline=None)
ATOL = 1e-9


def vectors(bound: float = 3.0):
    return arrays(np.float64, (3,), elements=st.floats(-bound, bound, width=32))


def quaternions():
    elements = st.floats(-1.0, 1.0, width=32)
    raw = arrays(np.float64, (4,), elements=elements)
    return raw.filter(lambda q: np.linalg.norm(q) > 1e-3).map(tf.quat_normalize)


def assert_same_rotation(a, b, atol=ATOL):
    np.testing.assert_allclose(tf.matrix_from_quat(a), tf.matrix_from_quat(b), atol=atol)


@SETTINGS
@given(quaternions(), quaternions(), vectors())
def test_product_of_quaternions_is_product_of_matrices(a, b, v):
    product = tf.quat_multiply(a, b)
    expected = tf.matrix_from_quat(a) @ tf.matrix_from_quat(b)
    np.testing.assert_allclose(tf.matrix_from_quat(product), expected, atol=ATOL)
    np.testing.assert_allclose(tf.quat_rotate(product, v), expected @ v, atol=1e-8)


@SETTINGS
@given(quaternions(), vectors())
def test_rotation_keeps_lengths_and_conjugate_undoes_it(q, v):
    turned = tf.quat_rotate(q, v)
    assert np.isclose(np.linalg.norm(turned), np.linalg.norm(v), atol=ATOL)
    np.testing.assert_allclose(tf.quat_rotate(tf.quat_conjugate(q), turned), v, atol=1e-8)


@SETTINGS
@given(quaternions())
def test_matrix_round_trip(q):
    back = tf.quat_from_matrix(tf.matrix_from_quat(q))
    assert back[0] >= 0.0
    assert_same_rotation(back, q)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.0, -0.8)])
def test_half_turns_survive_the_matrix_and_rotation_vector(axis):
    q = np.array([0.0, *axis])
    assert_same_rotation(tf.quat_from_matrix(tf.matrix_from_quat(q)), q)
    assert_same_rotation(tf.quat_from_rotvec(tf.rotvec_from_quat(q)), q)


@SETTINGS
@given(vectors(1.75))
def test_rotation_vector_round_trip_below_half_a_turn(r):
    np.testing.assert_allclose(tf.rotvec_from_quat(tf.quat_from_rotvec(r)), r, atol=1e-8)


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-13, 1e-9, 1e-4])
def test_small_rotation_vectors_keep_their_precision(size):
    r = np.array([size, -2 * size, 0.5 * size])
    np.testing.assert_allclose(tf.rotvec_from_quat(tf.quat_from_rotvec(r)), r, rtol=1e-6)


@SETTINGS
@given(quaternions())
def test_rotation_vector_is_the_shortest_and_ignores_the_sign(q):
    r = tf.rotvec_from_quat(q)
    assert np.linalg.norm(r) <= np.pi + ATOL
    if abs(q[0]) > 1e-6:  # at a half turn both signs are equally short
        np.testing.assert_allclose(r, tf.rotvec_from_quat(-q), atol=1e-9)


@SETTINGS
@given(quaternions(), quaternions(), st.floats(0.0, 1.0))
def test_slerp_ends_and_constant_speed(q0, q1, t):
    assert_same_rotation(tf.quat_slerp(q0, q1, 0.0), q0)
    assert_same_rotation(tf.quat_slerp(q0, q1, 1.0), q1)
    whole = np.linalg.norm(tf.rotvec_from_quat(tf.quat_multiply(tf.quat_conjugate(q0), q1)))
    part = tf.quat_multiply(tf.quat_conjugate(q0), tf.quat_slerp(q0, q1, t))
    np.testing.assert_allclose(np.linalg.norm(tf.rotvec_from_quat(part)), t * whole, atol=1e-6)


@SETTINGS
@given(vectors(), quaternions(), vectors(), quaternions(), vectors())
def test_compose_invert_and_relative_agree(p1, q1, p2, q2, point):
    p12, q12 = tf.compose(p1, q1, p2, q2)
    inner = tf.quat_rotate(q2, point) + p2
    np.testing.assert_allclose(
        tf.quat_rotate(q12, point) + p12, tf.quat_rotate(q1, inner) + p1, atol=1e-8
    )
    p_id, q_id = tf.compose(*tf.invert(p1, q1), p1, q1)
    np.testing.assert_allclose(p_id, 0.0, atol=1e-8)
    assert_same_rotation(q_id, [1.0, 0.0, 0.0, 0.0])
    back_p, back_q = tf.relative(p1, q1, p12, q12)
    np.testing.assert_allclose(back_p, p2, atol=1e-8)
    assert_same_rotation(back_q, q2)


@SETTINGS
@given(st.floats(-3.1, 3.1), vectors(0.5))
def test_yaw_is_recovered_and_is_the_nearest_turn(yaw, tilt):
    np.testing.assert_allclose(tf.yaw_from_quat(tf.quat_from_yaw(yaw)), yaw, atol=1e-9)
    level = tf.quat_from_rotvec(tilt * [1.0, 1.0, 0.0])
    tilted = tf.quat_multiply(tf.quat_from_yaw(yaw), level)
    np.testing.assert_allclose(tf.yaw_from_quat(tilted), yaw, atol=1e-9)
    np.testing.assert_allclose(tf.yaw_from_quat(-tilted), yaw, atol=1e-9)


def test_half_turn_about_a_level_axis_has_no_yaw():
    assert tf.yaw_from_quat([0.0, 1.0, 0.0, 0.0]) == 0.0


def test_normalize_of_zero_is_the_identity():
    batch = tf.quat_normalize([[0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
    np.testing.assert_array_equal(batch, [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])


def test_leading_axes_broadcast_and_match_single_calls():
    rng = np.random.default_rng(0)
    q = tf.quat_normalize(rng.normal(size=(5, 1, 4)))
    p = rng.normal(size=(5, 1, 3))
    p2, q2 = rng.normal(size=(7, 3)), tf.quat_normalize(rng.normal(size=(7, 4)))
    position, quaternion = tf.compose(p, q, p2, q2)
    assert position.shape == (5, 7, 3)
    assert quaternion.shape == (5, 7, 4)
    one_p, one_q = tf.compose(p[2, 0], q[2, 0], p2[4], q2[4])
    np.testing.assert_array_equal(position[2, 4], one_p)
    np.testing.assert_array_equal(quaternion[2, 4], one_q)
    slerped = tf.quat_slerp(q, q2, np.linspace(0, 1, 7))
    assert slerped.shape == (5, 7, 4)
    assert tf.quat_from_matrix(tf.matrix_from_quat(quaternion)).shape == (5, 7, 4)
    assert tf.yaw_from_quat(quaternion).shape == (5, 7)
