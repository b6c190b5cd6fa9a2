"""The robot against its published figures, and the compiled model against the robot."""

import dataclasses

import mujoco
import numpy as np
import pytest
from scenes import scene, started

from dexfw_envs import transforms as tf
from dexfw_envs.backends.mjcf.scene import build_model
from dexfw_envs.backends.mujoco.backend import TIMESTEP
from dexfw_envs.robots.capsules import FOREARM
from dexfw_envs.robots.kinematics import ArmKinematics
from dexfw_envs.robots.panda_inspire import panda_inspire
from dexfw_envs.tasks.grasp import GraspTask

ROBOT = panda_inspire()
MOUNT = ROBOT.mounts[0]


@pytest.fixture(scope="module")
def model():
    return build_model(GraspTask().needs, TIMESTEP)


def flange_kinematics():
    """The bare arm: base at the origin, no bracket."""
    bare = dataclasses.replace(
        MOUNT,
        base_position=(0.0, 0.0, 0.0),
        palm_offset=(0.0, 0.0, 0.0),
        palm_quaternion=(1.0, 0.0, 0.0, 0.0),
    )
    return ArmKinematics(dataclasses.replace(ROBOT, mounts=(bare,)), bare)


@pytest.mark.parametrize(
    ("q", "position", "tolerance"),
    [
        # From the published Denavit-Hartenberg lengths: 0.333 + 0.316 + 0.384 - 0.107 up.
        (np.zeros(7), (0.088, 0.0, 0.926), 1e-12),
        # Pose of panda_link8 in the "ready" configuration of franka_ros and libfranka's examples.
        (
            np.pi * np.array([0, -0.25, 0, -0.75, 0, 0.5, 0.25]),
            (0.306891, 0.0, 0.590282),
            2e-6,
        ),
    ],
)
def test_published_flange_poses(q, position, tolerance):
    got, quaternion = flange_kinematics().forward(q[None])
    assert np.allclose(got[0], position, atol=tolerance)
    assert np.allclose(tf.quat_rotate(quaternion[0], np.array([0, 0, 1.0])), (0, 0, -1))


def test_turning_the_base_turns_the_pose():
    kinematics, turn = flange_kinematics(), 0.7
    q = np.array([[0.0, -0.5, 0.2, -2.0, 0.3, 1.8, 0.1]])
    still, _ = kinematics.forward(q)
    moved, _ = kinematics.forward(q + np.array([turn, 0, 0, 0, 0, 0, 0]))
    assert np.allclose(moved, tf.quat_rotate(tf.quat_from_yaw(turn), still))


def test_kinematics_agree_with_the_compiled_model(model):
    rng, arm = np.random.default_rng(0), ROBOT.arm
    q = rng.uniform(arm.lower, arm.upper, (20, 7))
    position, quaternion = ArmKinematics(ROBOT, MOUNT).forward(q)
    data = mujoco.MjData(model)
    joints = [model.joint(f"right_joint{i + 1}").qposadr[0] for i in range(7)]
    site = model.site("right_end_effector").id
    for row in range(20):
        data.qpos[joints] = q[row]
        mujoco.mj_kinematics(model, data)
        assert np.allclose(data.site_xpos[site], position[row], atol=1e-9)
        matrix = tf.matrix_from_quat(quaternion[row])
        assert np.allclose(data.site_xmat[site].reshape(3, 3), matrix, atol=1e-9)


def test_inverse_kinematics_returns_to_where_it_came_from():
    kinematics, rng = ArmKinematics(ROBOT, MOUNT), np.random.default_rng(1)
    home = np.array(MOUNT.home)
    wanted = np.clip(home + rng.uniform(-0.15, 0.15, (30, 7)), ROBOT.arm.lower, ROBOT.arm.upper)
    position, quaternion = kinematics.forward(wanted)
    q = np.broadcast_to(home, (30, 7))
    for _ in range(20):
        q = kinematics.inverse(q, position, quaternion)
    reached, _ = kinematics.forward(q)
    assert np.linalg.norm(reached - position, axis=1).max() < 0.001
    assert (q >= ROBOT.arm.lower).all() and (q <= ROBOT.arm.upper).all()


def test_a_world_does_not_depend_on_the_batch_it_is_computed_in():
    kinematics, rng = ArmKinematics(ROBOT, MOUNT), np.random.default_rng(2)
    q = rng.uniform(ROBOT.arm.lower, ROBOT.arm.upper, (7, 7))
    position, quaternion = kinematics.forward(q)
    start = np.clip(q + 0.1, ROBOT.arm.lower, ROBOT.arm.upper)
    together = kinematics.inverse(start, position, quaternion)
    for k in range(7):
        one = slice(k, k + 1)
        assert np.array_equal(kinematics.forward(q[one])[0], position[one])
        alone = kinematics.inverse(start[one], position[one], quaternion[one])
        assert np.array_equal(alone, together[one])


# --- the compiled model


def test_arm_limits_masses_and_servos(model):
    arm = ROBOT.arm
    for i in range(7):
        joint, body = model.joint(f"right_joint{i + 1}"), model.body(f"right_link{i + 1}")
        assert np.allclose(joint.range, (arm.lower[i], arm.upper[i]))
        assert body.mass[0] == pytest.approx(arm.masses[i])
        assert np.allclose(body.ipos, arm.centres[i])
        assert sum(body.inertia) == pytest.approx(sum(arm.inertias[i][:3]))  # trace
        servo = model.actuator(f"right_joint{i + 1}")
        assert np.allclose(servo.forcerange, (-arm.effort[i], arm.effort[i]))
        assert servo.gainprm[0] == arm.stiffness[i]
        assert np.allclose(servo.biasprm[1:3], (-arm.stiffness[i], -arm.damping[i]))


def test_hand_limits_servos_and_couplings(model):
    hand = ROBOT.hand
    for i, name in enumerate(hand.joint_names):
        assert np.allclose(model.joint(f"right_{name}").range, (hand.lower[i], hand.upper[i]))
    assert model.nu == 13 and len(hand.driven) == 6
    for k, index in enumerate(hand.driven):
        servo = model.actuator(7 + k)  # actuators in the order of the action
        assert servo.name == f"right_{hand.joint_names[index]}"
        assert np.allclose(servo.forcerange, (-hand.effort, hand.effort))
    assert model.neq == len(hand.couplings) == 6
    for row, (follower, leader, offset, ratio) in enumerate(hand.couplings):
        names = [model.joint(int(j)).name for j in (model.eq_obj1id[row], model.eq_obj2id[row])]
        assert names == [f"right_{hand.joint_names[k]}" for k in (follower, leader)]
        assert np.allclose(model.eq_data[row, :2], (offset, ratio))


def test_couplings_map_the_driven_range_into_the_limits():
    lower, upper = ROBOT.hand.driven_limits()
    share = np.linspace(0, 1, 11)[:, None]
    full = ROBOT.hand.full_positions(lower + share * (upper - lower))
    assert full.shape == (11, 12)
    assert (full >= ROBOT.hand.lower).all() and (full <= ROBOT.hand.upper).all()
    for follower, leader, offset, ratio in ROBOT.hand.couplings:
        assert np.allclose(full[:, follower], offset + ratio * full[:, leader])


def test_the_hand_follows_its_couplings_in_simulation():
    env, hand = started([scene()]), ROBOT.hand
    action = np.zeros((1, 12))
    action[:, :3] = (0, 0, 0.6)  # up and away from the table
    for fingers in (-0.9, 0.8):
        action[:, 6:] = fingers
        action[:, 6] = -0.9  # the thumb stays out of the fingers' way
        for _ in range(40):
            env.step(action)
        q = env.world.hand_position[0, 0]
        wanted = env.codec.decode(action).hand[0, 0]
        assert np.abs(q[list(hand.driven)] - wanted).max() < 0.03
        for follower, leader, offset, ratio in hand.couplings:
            assert q[follower] == pytest.approx(offset + ratio * q[leader], abs=0.03)
        assert np.abs(env.world.hand_velocity).max() < 0.2  # it has come to rest


def test_links_before_the_forearm_and_the_column_touch_nothing(model):
    solid = {f"right_link{k}" for k in range(FOREARM, 8)} | {"right_flange"}
    for index in range(model.ngeom):
        geom = model.geom(index)
        body = model.body(int(geom.bodyid[0])).name
        active = geom.contype[0] or geom.conaffinity[0]
        hand = any(part in body for part in ("palm", "thumb", "index", "middle", "ring", "little"))
        expected = hand or body in solid or body.startswith("object")
        expected |= geom.name in ("table", "floor")
        if active:
            assert expected, (index, body)
