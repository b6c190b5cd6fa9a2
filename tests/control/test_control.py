"""From actions to joint targets: the codec, the limits of speed, the reach of the arm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import make, scene, started

from dexfw_envs import transforms as tf
from dexfw_envs.catalog.curricula import CURRICULA
from dexfw_envs.control.codec import (
    CONTROL_PERIOD,
    HAND_SLEW,
    POSITION_SLEW,
    POSITION_UNIT,
    ROTATION_SLEW,
    PoseCodec,
    Targets,
)
from dexfw_envs.control.controller import Controller
from dexfw_envs.robots.kinematics import ArmKinematics
from dexfw_envs.robots.panda_inspire import panda_inspire

ROBOT = panda_inspire()
MOUNT = ROBOT.mounts[0]
CODEC = PoseCodec(ROBOT)
UNIT = st.floats(-1, 1, allow_subnormal=False)


def angle_between(first, second):
    turn = tf.quat_multiply(first, tf.quat_conjugate(second))
    return np.linalg.norm(tf.rotvec_from_quat(turn), axis=-1)


def controller(worlds=1, mode="ee_pose"):
    out = Controller(ROBOT, worlds, mode)
    home = np.broadcast_to(np.array(MOUNT.home), (worlds, 1, 7)).copy()
    out.reset(np.ones(worlds, bool), home)
    return out


# --- codec


@given(st.lists(UNIT, min_size=12, max_size=12))
def test_decode_then_encode_gives_the_action_back(values):
    action = np.array(values)
    assert np.allclose(CODEC.encode(CODEC.decode(action)), action, atol=1e-9)


@given(
    st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3),
    st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3),
    st.lists(st.floats(0, 1), min_size=6, max_size=6),
)
def test_encode_then_decode_gives_the_targets_back(position, turn, share):
    lower, upper = ROBOT.hand.driven_limits()
    quaternion = tf.quat_multiply(tf.quat_from_rotvec(np.array(turn)), CODEC.nominal[0])
    hand = lower + np.array(share) * (upper - lower)
    wanted = Targets(np.array([position]), quaternion[None], hand[None])
    got = CODEC.decode(CODEC.encode(wanted))
    assert np.allclose(got.position, wanted.position, atol=1e-12)
    assert angle_between(got.quaternion, wanted.quaternion).max() < 1e-6
    assert np.allclose(got.hand, wanted.hand, atol=1e-12)


def test_action_zero_is_the_nominal_grasp_in_the_middle():
    targets = CODEC.decode(np.zeros((3, 12)))
    lower, upper = ROBOT.hand.driven_limits()
    assert targets.position.shape == (3, 1, 3) and targets.hand.shape == (3, 1, 6)
    assert np.allclose(targets.position, ROBOT.mounts[0].nominal_position)
    assert np.allclose(targets.quaternion, MOUNT.nominal_quaternion)
    assert np.allclose(targets.hand, (lower + upper) / 2)


def test_full_actions_are_one_unit_away_and_the_ends_of_the_hand():
    targets = CODEC.decode(np.ones(12))
    assert np.allclose(targets.position - ROBOT.mounts[0].nominal_position, POSITION_UNIT)
    assert np.allclose(targets.hand, ROBOT.hand.driven_limits()[1])
    assert np.allclose(CODEC.decode(-np.ones(12)).hand, ROBOT.hand.driven_limits()[0])


# --- limits


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_no_action_can_ask_for_a_jump(seed):
    rng = np.random.default_rng(seed)
    control, arm = controller(3), ROBOT.arm
    for _ in range(6):
        last = control.joints.copy(), control.position.copy(), control.quaternion.copy()
        # Values outside [-1, 1] are clipped, so they are no way round.
        joints = control.targets(rng.uniform(-3, 3, (3, 12)))
        step = np.abs(joints - last[0])
        assert (step[..., :7] <= np.array(arm.velocity) * CONTROL_PERIOD + 1e-12).all()
        assert step[..., 7:].max() <= HAND_SLEW + 1e-12
        assert np.linalg.norm(control.position - last[1], axis=-1).max() <= POSITION_SLEW + 1e-12
        assert angle_between(control.quaternion, last[2]).max() <= ROTATION_SLEW + 1e-9
        assert (joints[..., :7] >= arm.lower).all() and (joints[..., :7] <= arm.upper).all()
        assert (joints[..., 7:] >= ROBOT.hand.driven_limits()[0]).all()
        assert (joints[..., 7:] <= ROBOT.hand.driven_limits()[1]).all()


def test_joint_mode_reaches_its_limits_at_the_speed_of_the_joints():
    control = controller(2, "joint")
    action = np.ones((2, 13))
    action[1] = -1
    first = control.joints.copy()
    moved = control.targets(action) - first
    slew = np.concatenate([np.array(ROBOT.arm.velocity) * CONTROL_PERIOD, np.full(6, HAND_SLEW)])
    assert (np.abs(moved) <= slew + 1e-12).all()
    for _ in range(80):
        joints = control.targets(action)
    hand = ROBOT.hand.driven_limits()
    assert np.allclose(joints[0, 0], np.concatenate([ROBOT.arm.upper, hand[1]]))
    assert np.allclose(joints[1, 0], np.concatenate([ROBOT.arm.lower, hand[0]]))


def test_commands_are_saved_and_restored_by_world():
    control = controller(3)
    control.targets(np.random.default_rng(0).uniform(-1, 1, (3, 12)))
    state = control.get_state()
    assert state.shape == (3, 20)
    other, mask = controller(3), np.array([True, False, True])
    other.set_state(mask, state[mask])
    assert np.array_equal(other.get_state()[mask], state[mask])
    assert np.array_equal(other.get_state()[1], controller(3).get_state()[1])


# --- reach


def grasp_targets(lift):
    """Palm poses over every cell and its corners, level, turned by the cell's yaw."""
    rows = []
    for x, y, yaw in CURRICULA["Grasp"].cells:
        for dx, dy, dyaw in ((0, 0, 0), (0.01, 0.01, 5), (-0.01, -0.01, -5), (-0.01, 0.01, 5)):
            turn = tf.quat_from_yaw(np.deg2rad(yaw + dyaw))
            place = np.array([x + dx - 0.01, y + dy, 0.065 + lift])
            rows.append((place, tf.quat_multiply(turn, CODEC.nominal[0])))
    return Targets(
        np.array([place for place, _ in rows])[:, None],
        np.array([turn for _, turn in rows])[:, None],
        np.zeros((len(rows), 1, 6)),
    )


def test_the_arm_reaches_every_pose_cell_and_lifts_from_it():
    low = grasp_targets(0.0)
    control = controller(len(low.position))
    kinematics = ArmKinematics(ROBOT, MOUNT)
    for targets in (low, grasp_targets(0.26)):
        action = CODEC.encode(targets)
        assert np.abs(action).max() <= 1, "the action space contains every grasp"
        for _ in range(40):
            joints = control.targets(action)
        position, quaternion = kinematics.forward(joints[:, 0, :7])
        error = np.linalg.norm(position - targets.position[:, 0], axis=1)
        assert error.max() < 0.002
        assert np.rad2deg(angle_between(quaternion, targets.quaternion[:, 0])).max() < 1.0
        margin = np.minimum(joints[:, 0, :7] - ROBOT.arm.lower, ROBOT.arm.upper - joints[:, 0, :7])
        assert margin.min() > 0.01, "no joint at its limit"


def test_the_measured_palm_follows_the_command():
    env = make(1, autoreset_mode="disabled")
    env.reset(seed=0)
    targets = Targets(np.array([[[0.0, 0.1, 0.3]]]), CODEC.nominal[None], np.zeros((1, 1, 6)))
    for _ in range(60):
        env.step(np.clip(CODEC.encode(targets), -1, 1))
    assert np.linalg.norm(env.world.end_effector_position - targets.position) < 0.004
    turned = angle_between(env.world.end_effector_quaternion, targets.quaternion)
    assert np.rad2deg(turned.max()) < 1.0


def test_joint_control_mode_moves_the_robot():
    env = started([scene()], control_mode="joint")
    assert env.single_action_space.shape == (13,)
    arm = ROBOT.arm
    lower = np.concatenate([arm.lower, ROBOT.hand.driven_limits()[0]])
    upper = np.concatenate([arm.upper, ROBOT.hand.driven_limits()[1]])
    goal = np.concatenate([np.array(MOUNT.home) + 0.1, np.full(6, 0.3)])
    for _ in range(40):
        env.step((2 * (goal - lower) / (upper - lower) - 1)[None])
    assert np.abs(env.world.arm_position[0, 0] - goal[:7]).max() < 0.01
    assert np.abs(env.world.hand_position[0, 0, list(ROBOT.hand.driven)] - 0.3).max() < 0.05


def test_unknown_control_mode_is_refused():
    with pytest.raises(ValueError, match=r"ee_pose.*joint"):
        Controller(ROBOT, 1, "torque")
