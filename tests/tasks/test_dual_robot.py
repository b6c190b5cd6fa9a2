"""The two-armed robot against published figures, the compiled model, and its mirror image."""

import dataclasses

import mujoco
import numpy as np
import pytest
from scenes import scene, started

from dexfw_envs import transforms as tf
from dexfw_envs.backends.mjcf.scene import build_model
from dexfw_envs.backends.mujoco.backend import TIMESTEP
from dexfw_envs.control.codec import PoseCodec, Targets
from dexfw_envs.control.controller import Controller
from dexfw_envs.robots.capsules import FOREARM
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.robots.kinematics import ArmKinematics
from dexfw_envs.tasks.lift import LiftTask

ROBOT = dual_rm75_inspire()
MIRROR = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0])  # of joint angles
HANDS = ("palm", "thumb", "index", "middle", "ring", "little")


@pytest.fixture(scope="module")
def model():
    return build_model(LiftTask().needs, TIMESTEP)


def bare_arm():
    """One arm, its base at the origin, no hand."""
    mount = dataclasses.replace(
        ROBOT.mounts[0],
        base_position=(0.0, 0.0, 0.0),
        base_quaternion=(1.0, 0.0, 0.0, 0.0),
        palm_offset=(0.0, 0.0, 0.0),
        palm_quaternion=(1.0, 0.0, 0.0, 0.0),
    )
    return ArmKinematics(dataclasses.replace(ROBOT, mounts=(mount,)), mount)


def random_joints(count, seed=0):
    return np.random.default_rng(seed).uniform(ROBOT.arm.lower, ROBOT.arm.upper, (count, 7))


# --- kinematics


@pytest.mark.parametrize(
    ("degrees", "position", "forward"),
    [
        # From the published lengths: 240.5 + 256 + 210 + 172.5 mm straight up.
        ((0, 0, 0, 0, 0, 0, 0), (0.0, 0.0, 0.879), (0.0, 0.0, 1.0)),
        # The shoulder bent by a quarter turn lays 256 + 210 + 172.5 mm along x.
        ((0, 90, 0, 0, 0, 0, 0), (0.6385, 0.0, 0.2405), (1.0, 0.0, 0.0)),
        # The elbow bent back by a quarter turn: 256 mm up, then 210 + 172.5 mm along x.
        ((0, 0, 0, 90, 0, 0, 0), (0.3825, 0.0, 0.4965), (1.0, 0.0, 0.0)),
        # Only the wrist bent, and the base turned: 172.5 mm along y at 240.5 + 256 + 210 mm.
        ((90, 0, 0, 0, 0, 90, 0), (0.0, 0.1725, 0.7065), (0.0, 1.0, 0.0)),
    ],
)
def test_published_lengths_and_axes(degrees, position, forward):
    got, quaternion = bare_arm().forward(np.radians([degrees]))
    assert np.allclose(got[0], position, atol=1e-12)
    assert np.allclose(tf.quat_rotate(quaternion[0], np.array([0.0, 0.0, 1.0])), forward)


@pytest.fixture
def maker():
    """The maker's own library for this arm, without a robot."""
    sdk = pytest.importorskip(
        "Robotic_Arm.rm_robot_interface", reason="the maker's Robotic_Arm wheel is not installed"
    )
    return sdk.Algo(sdk.rm_robot_arm_model_e.RM_MODEL_RM_75_E, sdk.rm_force_type_e.RM_MODEL_RM_SF_E)


def test_kinematics_agree_with_the_makers_library(maker):
    q = random_joints(50)
    position, quaternion = bare_arm().forward(q)
    for row in range(len(q)):
        pose = np.array(maker.rm_algo_forward_kinematics(np.degrees(q[row]).tolist(), 0))
        turn = quaternion[row] * np.sign(quaternion[row] @ pose[3:7])
        off = np.abs(np.concatenate([position[row], turn]) - pose[:7])
        assert off.max() < 5e-6, "equal to five decimals, positions and orientations"


def test_lengths_and_limits_are_those_of_the_makers_library(maker):
    arm, dh = ROBOT.arm, maker.rm_algo_get_dh()
    assert np.allclose(dh["d"], [d for _, _, d in arm.dh], atol=1e-6)
    assert np.allclose(dh["a"], [a for a, _, _ in arm.dh])
    assert np.allclose(maker.rm_algo_get_joint_max_limit(), np.degrees(arm.upper))
    assert np.allclose(maker.rm_algo_get_joint_min_limit(), np.degrees(arm.lower))
    # The robot description rounds 180 and 225 degrees per second to hundredths of a radian.
    assert np.allclose(maker.rm_algo_get_joint_max_speed(), np.degrees(arm.velocity), rtol=2e-3)


def test_figures_of_the_arm_are_those_published():
    arm = ROBOT.arm
    assert np.allclose(np.degrees(arm.upper), (178, 130, 178, 135, 178, 128, 360))
    assert arm.lower == tuple(-limit for limit in arm.upper)
    assert arm.effort == (60, 60, 30, 30, 10, 10, 10)  # [Nm]
    assert np.allclose(arm.masses[:6], (1.57, 1.22, 1.11, 0.69, 0.62, 0.60), atol=0.006)  # [kg]
    assert arm.masses[6] > 0.11, "the flange with the force sensor outweighs the bare one"


@pytest.mark.parametrize("arm", [0, 1])
def test_kinematics_agree_with_the_compiled_model(model, arm):
    q, mount = random_joints(20, seed=arm), ROBOT.mounts[arm]
    position, quaternion = ArmKinematics(ROBOT, mount).forward(q)
    data, side = mujoco.MjData(model), mount.side
    joints = [model.joint(f"{side}_joint{i + 1}").qposadr[0] for i in range(7)]
    site = model.site(f"{side}_end_effector").id
    for row in range(20):
        data.qpos[joints] = q[row]
        mujoco.mj_kinematics(model, data)
        assert np.allclose(data.site_xpos[site], position[row], atol=1e-9)
        matrix = tf.matrix_from_quat(quaternion[row])
        assert np.allclose(data.site_xmat[site].reshape(3, 3), matrix, atol=1e-9)


def test_left_is_the_mirror_image_of_right():
    right, left = (ArmKinematics(ROBOT, mount) for mount in ROBOT.mounts)
    q = random_joints(20)
    position, quaternion = right.forward(q)
    mirrored, turned = left.forward(q * MIRROR)
    assert np.allclose(mirrored, position * (1, -1, 1), atol=1e-12)
    expected = quaternion * (1, -1, 1, -1)
    assert np.allclose(np.abs((turned * expected).sum(axis=1)), 1.0)
    for first, second in (("home", MIRROR), ("nominal_position", (1, -1, 1))):
        values = [np.array(getattr(mount, first)) for mount in ROBOT.mounts]
        assert np.allclose(values[1], values[0] * second)


def test_tips_of_the_hands_are_mirrored_in_simulation():
    env = started([scene("gift_box", task="Lift")])
    action = np.zeros((1, 24))
    action[:, 6:12] = action[:, 18:24] = (0.3, -0.5, 0.2, -0.2, 0.6, -0.6)
    for _ in range(60):
        env.step(action)
    right, left = env.world.fingertip_position[0]
    assert np.abs(left - right * (1, -1, 1)).max() < 0.002


def test_home_faces_the_workspace_and_inverse_kinematics_returns():
    for mount in ROBOT.mounts:
        kinematics = ArmKinematics(ROBOT, mount)
        home = np.array(mount.home)[None]
        _, quaternion = kinematics.forward(home)
        assert abs(quaternion[0] @ np.array(mount.nominal_quaternion)) > 0.9999
        q = home + np.random.default_rng(1).uniform(-0.15, 0.15, (30, 7))
        wanted, turn = kinematics.forward(q)
        found = np.repeat(home, 30, axis=0)
        for _ in range(40):
            found = kinematics.inverse(found, wanted, turn)
        assert np.linalg.norm(kinematics.forward(found)[0] - wanted, axis=1).max() < 0.002


# --- the compiled model


def test_limits_masses_and_servos_of_both_arms(model):
    arm = ROBOT.arm
    assert model.nu == 26 and model.neq == 12
    for index, mount in enumerate(ROBOT.mounts):
        for i in range(7):
            name = f"{mount.side}_joint{i + 1}"
            body = model.body(f"{mount.side}_link{i + 1}")
            assert np.allclose(model.joint(name).range, (arm.lower[i], arm.upper[i]))
            assert body.mass[0] == pytest.approx(arm.masses[i])
            assert np.allclose(body.ipos, arm.centres[i])
            assert sum(body.inertia) == pytest.approx(sum(arm.inertias[i][:3]))  # trace
            servo = model.actuator(13 * index + i)  # actuators in the order of the action
            assert servo.name == name
            assert np.allclose(servo.forcerange, (-arm.effort[i], arm.effort[i]))
        for k, driven in enumerate(ROBOT.hand.driven):
            servo = model.actuator(13 * index + 7 + k)
            assert servo.name == f"{mount.side}_{ROBOT.hand.joint_names[driven]}"


def test_published_inertias_belong_to_solid_bodies():
    for xx, yy, zz, xy, xz, yz in ROBOT.arm.inertias:
        moments = np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        assert moments[0] > 0 and moments[2] <= moments[0] + moments[1]


def meets(first, second):
    return bool(
        first.contype[0] & second.conaffinity[0] or second.contype[0] & first.conaffinity[0]
    )


def test_links_are_solid_from_the_forearm_on_and_never_to_their_own_arm(model):
    geoms = [model.geom(i) for i in range(model.ngeom)]
    bodies = [model.body(int(geom.bodyid[0])).name for geom in geoms]
    arms = {
        side: [g for g, b in zip(geoms, bodies, strict=True) if b.startswith(f"{side}_")]
        for side in ("right", "left")
    }
    hands = [g for g, b in zip(geoms, bodies, strict=True) if any(part in b for part in HANDS)]
    links = [g for g, b in zip(geoms, bodies, strict=True) if "_link" in b or "flange" in b]
    assert len(links) == 8, "upper arm, forearm, last tube and wrist of both"
    things = [model.geom(name) for name in ("object0_0", "table", "floor")]
    for link in links:
        side, part = bodies[link.id].split("_")
        assert not any(meets(link, geom) for geom in arms[side])
        solid = part == "flange" or int(part.removeprefix("link")) >= FOREARM
        assert all(meets(link, geom) == solid for geom in things)
    for right in arms["right"]:
        for left in arms["left"]:
            solid = all(g.contype[0] or g.conaffinity[0] for g in (right, left))
            assert meets(right, left) == solid
    assert all(meets(hand, model.geom("object0_0")) for hand in hands if hand.contype[0])


def test_colliding_arms_are_seen_and_stop_each_other():
    env = started([scene("gift_box", task="Lift")])
    apart = env.codec.decode(np.zeros((1, 24)))
    together = apart.position.copy()
    together[:, :, 1] = (0.10, -0.10)  # each palm on the other's side, above the object
    together[:, :, 2] = 0.38
    action = np.clip(env.codec.encode(Targets(together, apart.quaternion, apart.hand)), -1, 1)
    seen = [env.step(action)[4]["arm_arm_contact"][0] for _ in range(60)]
    assert not seen[0] and all(seen[-10:])
    reached = env.world.end_effector_position[0, :, 1]
    assert reached[0] < reached[1] + 0.05, "they do not pass through each other"


# --- the controller of two arms


def test_actions_of_two_arms_there_and_back():
    codec, rng = PoseCodec(ROBOT), np.random.default_rng(0)
    action = rng.uniform(-0.9, 0.9, (5, 24))
    assert codec.size == 24
    assert np.allclose(codec.encode(codec.decode(action)), action, atol=1e-9)
    centre = codec.decode(np.zeros(24)).position
    assert np.allclose(centre, [mount.nominal_position for mount in ROBOT.mounts])


@pytest.mark.parametrize(("mode", "size"), [("ee_pose", 24), ("joint", 26)])
def test_one_arm_stays_while_the_other_moves(mode, size):
    control = Controller(ROBOT, 1, mode)
    home = np.array([[mount.home for mount in ROBOT.mounts]])
    control.reset(np.ones(1, bool), home)
    assert control.action_size == size
    hold = np.zeros((1, size))
    for _ in range(80):
        rest = control.targets(hold)
    moved = hold.copy()
    moved[:, : size // 2] = 0.4
    for _ in range(40):
        after = control.targets(moved)
    assert np.abs(after[:, 0] - rest[:, 0]).max() > 0.05
    assert np.abs(after[:, 1] - rest[:, 1]).max() < 0.02


def test_both_modes_run_and_observe():
    for mode, size in (("ee_pose", 24), ("joint", 26)):
        env = started([scene("gift_box", task="Lift")], control_mode=mode, obs_mode="state+touch")
        observation, *_ = env.step(np.zeros((1, size)))
        assert {name: o.shape[1] for name, o in observation.items()} == {
            "proprio": 138,
            "object": 13,
            "touch": 10,
        }


def test_proprioception_is_in_the_order_of_its_table():
    env = started([scene("gift_box", task="Lift")])
    observation, *_ = env.step(np.full((1, 24), 0.1))
    row, start, world = observation["proprio"][0], 0, env.world
    found = {}
    for meaning, size, _, _ in env.task.observation_groups[0].rows:
        found[meaning] = row[start : start + size]
        start += size
    for arm, side in enumerate(("right", "left")):
        for name, values in (
            (f"{side} arm joint positions", world.arm_position),
            (f"{side} hand joint positions", world.hand_position),
            (f"{side} arm joint velocities", world.arm_velocity),
            (f"{side} hand joint velocities", world.hand_velocity),
            (f"{side} hand joint positions, again as the hands' own group", world.hand_position),
            (f"{side} end-effector position", world.end_effector_position),
        ):
            assert np.allclose(found[name], values[0, arm], atol=1e-5), name
