"""The URDF of every robot against the compiled MuJoCo model and the robot's own figures."""

import subprocess
import sys
from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest

from dexfw_envs import transforms as tf
from dexfw_envs.backends.mjcf.scene import build_model
from dexfw_envs.backends.mujoco.backend import TIMESTEP
from dexfw_envs.robots.kinematics import ArmKinematics
from dexfw_envs.robots.tree import robot_tree
from dexfw_envs.robots.urdf import ROBOTS, rpy, to_urdf
from dexfw_envs.tasks.grasp import GraspTask
from dexfw_envs.tasks.lift import LiftTask
from dexfw_envs.tasks.pour import PourTask

TASKS = {
    "panda_inspire": GraspTask,
    "panda_inspire_upright": PourTask,
    "dual_rm75_inspire": LiftTask,
}


@pytest.fixture(scope="module", params=sorted(ROBOTS))
def case(request):
    """A robot, its file read back by MuJoCo, and the suite's own model."""
    robot = ROBOTS[request.param]()
    ours = build_model(TASKS[request.param]().needs, TIMESTEP)
    return robot, mujoco.MjModel.from_xml_string(to_urdf(robot)), ours


def from_rpy(angles):
    turns = [tf.quat_from_rotvec(a * axis) for a, axis in zip(angles, np.eye(3), strict=True)]
    return tf.quat_multiply(turns[2], tf.quat_multiply(turns[1], turns[0]))


def hinge_names(robot):
    sides = [f"{mount.side}_" for mount in robot.mounts]
    arm = [f"joint{i + 1}" for i in range(robot.arm.joints)]
    return [f"{side}{name}" for side in sides for name in (*arm, *robot.hand.joint_names)]


def test_joints_and_limits_are_the_models(case):
    robot, read, ours = case
    names = hinge_names(robot)
    assert read.njnt == len(names) and {read.joint(i).name for i in range(read.njnt)} == set(names)
    for name in names:
        assert np.allclose(read.joint(name).range, ours.joint(name).range, atol=1e-9), name


def test_axes_are_the_models(case):
    """Where each hinge turns about, through which point, with all joints somewhere."""
    robot, read, ours = case
    rng, found = np.random.default_rng(4), []
    angles = {name: rng.uniform(*ours.joint(name).range) for name in hinge_names(robot)}
    for model in (read, ours):
        data = mujoco.MjData(model)
        for name, angle in angles.items():
            data.qpos[model.joint(name).qposadr[0]] = angle
        mujoco.mj_kinematics(model, data)
        ids = [model.joint(name).id for name in angles]
        found.append((data.xaxis[ids], data.xanchor[ids]))
    assert np.allclose(found[0][0], found[1][0], atol=1e-8)
    assert np.allclose(found[0][1], found[1][1], atol=1e-8)


def test_poses_are_the_models_at_any_joint_angles(case):
    robot, read, ours = case
    names = hinge_names(robot)
    rng, data = np.random.default_rng(0), (mujoco.MjData(read), mujoco.MjData(ours))
    tree = robot_tree(robot)
    bodies = [link.name for link in tree.links if not link.name.endswith(("base", "thumb_base"))]
    fixed = {"palm"}  # MuJoCo merges bodies of fixed joints when it reads a URDF
    for _ in range(10):
        angles = {name: rng.uniform(*ours.joint(name).range) for name in names}
        for model, state in zip((read, ours), data, strict=True):
            for name, angle in angles.items():
                state.qpos[model.joint(name).qposadr[0]] = angle
            mujoco.mj_kinematics(model, state)
        poses = tree.link_poses(angles)
        for body in bodies:
            place, turn = poses[body]
            expected = data[1].body(body)
            assert np.allclose(place, expected.xpos, atol=1e-9), body
            assert np.allclose(tf.matrix_from_quat(turn), expected.xmat.reshape(3, 3), atol=1e-9)
            if body.split("_")[-1] not in fixed:
                assert np.allclose(data[0].body(body).xpos, expected.xpos, atol=1e-8), body
                assert np.allclose(data[0].body(body).xmat, expected.xmat, atol=1e-8), body


def test_palms_are_those_of_the_controllers_kinematics(case):
    robot, *_ = case
    tree, rng = robot_tree(robot), np.random.default_rng(1)
    for mount in robot.mounts:
        q = rng.uniform(robot.arm.lower, robot.arm.upper, (10, 7))
        position, quaternion = ArmKinematics(robot, mount).forward(q)
        for row in range(10):
            names = [f"{mount.side}_joint{i + 1}" for i in range(7)]
            place, turn = tree.link_poses(dict(zip(names, q[row], strict=True)))[
                f"{mount.side}_palm"
            ]
            assert np.allclose(place, position[row], atol=1e-9)
            assert abs(abs(turn @ quaternion[row]) - 1.0) < 1e-9


def test_masses_and_limits_of_effort_are_the_models(case):
    robot, read, ours = case
    for mount in robot.mounts:
        for i in range(robot.arm.joints - 1):  # the hand is merged into the last link
            name = f"{mount.side}_link{i + 1}"
            assert read.body(name).mass[0] == pytest.approx(ours.body(name).mass[0], rel=1e-6)
        for finger in ("index_distal", "thumb_distal"):
            name = f"{mount.side}_{finger}"
            assert read.body(name).mass[0] == pytest.approx(ours.body(name).mass[0], rel=1e-6)
            assert np.allclose(read.body(name).inertia, ours.body(name).inertia, rtol=1e-5)
    limits = {
        joint.get("name"): float(joint.find("limit").get("effort"))
        for joint in ElementTree.fromstring(to_urdf(robot)).iter("joint")
        if joint.get("type") == "revolute"
    }
    for name in limits:
        if name in {ours.actuator(i).name for i in range(ours.nu)}:
            assert limits[name] == pytest.approx(ours.actuator(name).forcerange[1])


@pytest.fixture(scope="module")
def algo():
    """The maker's own kinematics of the RM75-6F."""
    sdk = pytest.importorskip(
        "Robotic_Arm.rm_robot_interface", reason="the maker's Robotic_Arm wheel is not installed"
    )
    return sdk.Algo(sdk.rm_robot_arm_model_e.RM_MODEL_RM_75_E, sdk.rm_force_type_e.RM_MODEL_RM_SF_E)


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_rm75s_limits_are_the_makers(algo, side):
    joints = {j.get("name"): j for j in ElementTree.fromstring(
        to_urdf(ROBOTS["dual_rm75_inspire"]())).iter("joint")}  # fmt: skip
    limits = [joints[f"{side}_joint{i + 1}"].find("limit").attrib for i in range(7)]
    for name, expected, close in (
        ("lower", algo.rm_algo_get_joint_min_limit(), 1e-6),
        ("upper", algo.rm_algo_get_joint_max_limit(), 1e-6),
        ("velocity", algo.rm_algo_get_joint_max_speed(), 0.5),  # [deg/s]; the data sheet rounds
    ):
        found = np.degrees([float(limit[name]) for limit in limits])
        assert np.allclose(found, expected[:7], atol=close), name


def test_the_rm75_agrees_with_the_makers_library(algo):
    robot, rng = ROBOTS["dual_rm75_inspire"](), np.random.default_rng(2)
    tree, names = robot_tree(robot), [f"right_joint{i + 1}" for i in range(7)]
    for q in rng.uniform(robot.arm.lower, robot.arm.upper, (10, 7)):
        poses = tree.link_poses(dict(zip(names, q, strict=True)))
        place, turn = tf.relative(*poses["right_base"], *poses["right_link7"])
        expected = np.array(algo.rm_algo_forward_kinematics(np.degrees(q).tolist(), 0))
        assert np.abs(place - expected[:3]).max() < 5e-6
        assert np.abs(turn * np.sign(turn @ expected[3:7]) - expected[3:7]).max() < 5e-6


def test_roll_pitch_yaw_of_any_rotation():
    rng = np.random.default_rng(3)
    turns = [*tf.quat_normalize(rng.normal(size=(50, 4)))]
    turns += [tf.quat_from_rotvec(np.array([0.0, s * np.pi / 2, 0.0])) for s in (-1, 1)]
    turns += [tf.quat_multiply(turns[-1], tf.quat_from_rotvec(np.array([0.4, 0.0, 0.0])))]
    for turn in turns:
        assert abs(abs(from_rpy(rpy(tuple(turn))) @ turn) - 1.0) < 1e-9


def test_coupled_joints_mimic_only_on_request():
    robot = ROBOTS["dual_rm75_inspire"]()
    assert "<mimic" not in to_urdf(robot)
    found = {
        joint.get("name"): joint.find("mimic").attrib
        for joint in ElementTree.fromstring(to_urdf(robot, mimic=True)).iter("joint")
        if joint.find("mimic") is not None
    }
    assert len(found) == 2 * len(robot.hand.couplings)
    expected = {"joint": "left_index_proximal", "multiplier": "1.064", "offset": "-0.167"}
    assert found["left_index_distal"] == expected


def test_the_command_writes_a_file(tmp_path):
    command = [sys.executable, "-m", "dexfw_envs.robots.urdf"]
    path = tmp_path / "robot.urdf"
    done = subprocess.run([*command, "panda_inspire", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ElementTree.parse(path).getroot().get("name") == "panda_inspire"
    bad = subprocess.run([*command, "spot", str(path)], capture_output=True, text=True)
    assert bad.returncode == 2 and "unknown robot 'spot'" in bad.stderr
    assert "dual_rm75_inspire" in bad.stderr
