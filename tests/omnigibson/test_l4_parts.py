"""L4: the parts of the backend that are plain Python, without OmniGibson."""

import copy
import dataclasses
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
from scenes import started
from stub import StubSimulator, apart, straight

from dexfw_envs import transforms as tf
from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.backends.layout import CAMERAS, TABLE_CENTRE
from dexfw_envs.backends.mjcf.scene import build_model
from dexfw_envs.backends.mujoco.backend import TIMESTEP
from dexfw_envs.backends.omnigibson import reading
from dexfw_envs.backends.omnigibson.description import configs, frames, plans, strict
from dexfw_envs.backends.omnigibson.description.robot_class import finger_link_names, ignored_pairs
from dexfw_envs.backends.omnigibson.facade import importer, requirements
from dexfw_envs.backends.omnigibson.facade.importer import robot_yaml
from dexfw_envs.backends.omnigibson.facade.requirements import (
    Machine,
    MissingRequirementError,
    check,
)
from dexfw_envs.backends.omnigibson.hands import HandFrames, joint_map
from dexfw_envs.backends.omnigibson.states import Row, start_row, width
from dexfw_envs.catalog import named_sampler
from dexfw_envs.catalog.surroundings import SURROUNDINGS
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.robots.kinematics import ArmKinematics
from dexfw_envs.robots.panda_inspire import panda_inspire, panda_inspire_upright
from dexfw_envs.robots.tree import robot_tree
from dexfw_envs.tasks.grasp import GraspTask
from dexfw_envs.tasks.lift import LiftTask
from dexfw_envs.tasks.pour import PourTask

WHOLE = Machine(
    python=(3, 10), omnigibson="1.1.1", torch=True, isaac_path="/isaac", isaac_package=False,
    isaac_version="4.1.0", gpus=("NVIDIA RTX A5000",), assets=None,
)  # fmt: skip


# --- what must be installed


def test_a_whole_machine_passes():
    assert check(WHOLE) == "1.1.1"
    assert check(dataclasses.replace(WHOLE, isaac_path=None, isaac_package=True)) == "1.1.1"
    newer = dataclasses.replace(WHOLE, omnigibson="3.8.0", isaac_version="5.1.0", python=(3, 11))
    assert check(newer) == "3."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"omnigibson": None}, r"not installed: pip install omnigibson==1\.1\.1 torch"),
        ({"omnigibson": "2.0.0"}, r"omnigibson 2\.0\.0 is installed.*Install omnigibson==1\.1\.1"),
        ({"omnigibson": "1.1.0"}, r"omnigibson 1\.1\.0 is installed"),
        ({"python": (3, 11)}, r"runs on Python 3\.10, this is 3\.11"),
        ({"python": (3, 12), "omnigibson": "3.9.0"}, r"Python 3\.10 or 3\.11, this is 3\.12"),
        ({"torch": False}, r"needs torch.*pip install torch"),
        ({"isaac_path": None}, r"Isaac Sim is not installed.*4\.0\.0 or 4\.1\.0"),
        (
            {"isaac_version": "4.2.0"},
            r"Isaac Sim 4\.2\.0 is installed; .* needs 4\.0\.0",
        ),
        ({"isaac_version": None}, r"ISAAC_PATH=/isaac has no VERSION file"),
        ({"gpus": ()}, r"no NVIDIA GPU.*RTX 2070"),
    ],
)
def test_what_is_missing_is_named_with_its_cure(change, message):
    with pytest.raises(MissingRequirementError, match=message) as raised:
        check(dataclasses.replace(WHOLE, **change))
    assert "docs/omnigibson.md" in str(raised.value)


def test_missing_assets_are_named(tmp_path):
    files = plans.FRANKA_FILES
    machine = dataclasses.replace(WHOLE, assets=str(tmp_path))
    with pytest.raises(MissingRequirementError, match=r"franka_inspire\.usd is not under.*install"):
        check(machine, files)
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert check(machine, files) == "1.1.1"


def test_3_x_has_its_robots_elsewhere(tmp_path):
    newer = dataclasses.replace(WHOLE, omnigibson="3.9.1", isaac_version="5.1.0", python=(3, 11))
    assert check(newer, plans.FRANKA_FILES) == "3.", "nothing is set: it says itself what it misses"
    told = dataclasses.replace(newer, assets=str(tmp_path))
    with pytest.raises(MissingRequirementError, match="holds no omnigibson-robot-assets"):
        check(told, plans.FRANKA_FILES)
    (tmp_path / "omnigibson-robot-assets").mkdir()
    assert check(told, plans.FRANKA_FILES) == "3."


def test_looking_imports_nothing_and_reads_what_is_there(tmp_path, monkeypatch):
    (tmp_path / "VERSION").write_text("4.1.0-rc.7+4.1.0\n")
    monkeypatch.setenv("ISAAC_PATH", str(tmp_path))
    monkeypatch.setenv("OMNIGIBSON_ASSET_PATH", "/assets")
    before = set(sys.modules)
    found = requirements.look()
    assert found.python == sys.version_info[:2]
    assert (found.isaac_version, found.assets) == ("4.1.0", "/assets")
    assert not {"omnigibson", "torch", "isaacsim"} & (set(sys.modules) - before)


# --- frames


def test_quaternions_go_there_and_back():
    turns = tf.quat_normalize(np.random.default_rng(0).normal(size=(20, 4)))
    assert np.array_equal(frames.to_xyzw(turns)[0], [*turns[0, 1:], turns[0, 0]])
    assert np.array_equal(frames.to_wxyz(frames.to_xyzw(turns)), turns)
    places = np.random.default_rng(1).normal(size=(20, 3))
    assert np.allclose(frames.to_table(frames.to_scene(places)), places)
    assert np.allclose(frames.to_scene(np.array([0.0, 0.0, -0.75])), 0.0), "the floor is at 0"


@pytest.mark.parametrize("task", [GraspTask, LiftTask])
def test_cameras_look_as_in_mujoco(task):
    model = build_model(task().needs, TIMESTEP)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    for name, (position, target, _) in CAMERAS[task().needs.robot.arms].items():
        turn = frames.look_at(np.array(position), np.array(target))
        expected = data.cam(name).xmat.reshape(3, 3)
        assert np.allclose(tf.matrix_from_quat(turn), expected, atol=1e-6), name


# --- configurations


def settings(**changes):
    return configs.Settings(files=Path("/files"), **changes)


def config_of(task, robot=None, **changes):
    needs = task().needs
    return configs.scene_config(plans.make_plan(needs.robot, robot), needs, settings(**changes))


CASES = [(GraspTask, None), (PourTask, None), (LiftTask, None), (LiftTask, "two_frankas")]


@pytest.mark.parametrize(("task", "robot"), CASES)
def test_configurations_hold_only_plain_values(task, robot):
    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(k, str) and plain(v) for k, v in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or isinstance(value, str | int | float | bool)

    config = config_of(task, robot, cameras=("front",))
    assert plain(config)
    assert config["env"]["physics_frequency"] == 120 and config["env"]["action_frequency"] == 20


def test_a_franka_for_grasp_and_pour():
    for task in (GraspTask, PourTask):
        [robot] = config_of(task)["robots"]
        assert (robot["type"], robot["end_effector"]) == ("FrankaPanda", "inspire")
        assert robot["action_normalize"] is False
        assert np.allclose(robot["position"], [-0.65, 0.0, 0.75])
        assert robot["orientation"] == [0.0, 0.0, 0.0, 1.0]
        assert set(robot["controller_config"]) == {"arm_0", "gripper_0"}


def test_controllers_take_absolute_positions_as_they_are():
    for group, controller in configs.controllers("left").items():
        assert controller["motor_type"] == "position"
        assert controller["command_input_limits"] is controller["command_output_limits"] is None
        if group == "gripper_left":
            assert controller["inverted"] is False and controller["mode"] == "independent"
        else:
            assert not controller["use_delta_commands"] and not controller["use_impedances"]


def test_one_robot_of_ours_or_two_frankas():
    [ours] = config_of(LiftTask)["robots"]
    assert ours["type"] == "DualRM75" and "end_effector" not in ours
    assert set(ours["controller_config"]) == {
        "arm_right", "gripper_right", "arm_left", "gripper_left"
    }  # fmt: skip
    two = config_of(LiftTask, "two_frankas")["robots"]
    assert [robot["name"] for robot in two] == ["right", "left"]
    assert two[0]["position"][1] == -two[1]["position"][1] < 0


def test_balls_only_where_a_task_has_contents():
    names = [entry["name"] for entry in config_of(PourTask)["objects"]]
    assert [name for name in names if name.startswith("content")] == [
        f"content{index}" for index in range(8)
    ]
    assert not [e for e in config_of(GraspTask)["objects"] if e["name"].startswith("content")]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (lambda c: c.update(objcts=[]), r"configuration: unknown keys \['objcts'\]"),
        (lambda c: c.pop("scene"), r"configuration: \['scene'\] are missing"),
        (lambda c: c["robots"][0].pop("name"), "every robot and object needs a name"),
        (lambda c: c["robots"][0].update(sensor_config={"VisionSensor": {"fov": 1}}),
         r"robot 'right': what is in \['sensor_config'\] would not be checked"),
        (lambda c: c["task"].update(reward_config={"speed": 1}), "task: what is in"),
        (lambda c: c["env"].update(physics_freq=1), r"env: unknown keys \['physics_freq'\]"),
        (lambda c: c["scene"].update(floor=True), r"scene: unknown keys \['floor'\]"),
        (lambda c: c["scene"].update(type="House"), r"unknown scene type 'House'"),
        (lambda c: c["robots"][0].update(hand=1), r"robot 'right': unknown keys \['hand'\]"),
        (lambda c: c["robots"][0].update(type="Franka"), "unknown robot class 'Franka' .did you"),
        (lambda c: c["robots"][0].update(end_effector="claw"), r"end_effector 'claw'.*inspire"),
        (lambda c: c["robots"][0].update(name="a__b"), "two underscores"),
        (lambda c: c["robots"][0]["controller_config"]["arm_0"].update(stiffness=1),
         r"robot 'right', arm_0: unknown keys \['stiffness'\].*use_impedances"),
        (lambda c: c["robots"][0]["controller_config"].update(wrist_0={}), "group 'wrist'"),
        (lambda c: c["objects"][0].update(colour=(1, 0, 0)), r"object 'key': unknown keys"),
        (lambda c: c["objects"][0].update(light_type="Laser"), "unknown light_type 'Laser'"),
        (lambda c: c["objects"].append(dict(c["objects"][0])), r"name of its own.*\['key'\]"),
        (lambda c: c["task"].update(type="BehaviorTask"), "unknown task type 'BehaviorTask'"),
        (lambda c: c["env"]["external_sensors"][0].update(fov=1), r"camera 'front': unknown keys"),
        (lambda c: c["env"]["external_sensors"][0]["sensor_kwargs"].update(fov=1),
         r"camera 'front': sensor_kwargs: unknown keys \['fov'\]"),
        (lambda c: c["env"]["external_sensors"][0].update(modalities=["rbg"]), "'rbg'"),
    ],
)  # fmt: skip
def test_what_omnigibson_would_drop_is_refused(where, message):
    config = config_of(GraspTask, cameras=("front",))
    assert strict.check_config(config) is config
    broken = copy.deepcopy(config)
    where(broken)
    with pytest.raises(ValueError, match=message):
        strict.check_config(broken)


def test_settings_that_do_not_fit():
    with pytest.raises(ValueError, match=r"timestep 0\.007 s does not divide"):
        config_of(GraspTask, timestep=0.007)
    with pytest.raises(ValueError, match=r"unknown camera 'head'; choose one of \('front', 'side'"):
        config_of(GraspTask, cameras=("head",))
    with pytest.raises(ValueError, match=r"unknown robot with 1 arm 'spot'; valid: franka_inspire"):
        plans.make_plan(panda_inspire(), "spot")
    with pytest.raises(ValueError, match="valid: dual_rm75, two_frankas"):
        plans.make_plan(dual_rm75_inspire(), "franka_inspire")


def test_lamps_follow_the_surroundings():
    for around in SURROUNDINGS:
        (red, green, blue), intensity = configs.lamp_colour("key", around)
        assert max(red, green, blue) == 1.0 and intensity > 0
        assert np.allclose(
            np.array([red, green, blue]) * max(around.light_diffuse), around.light_diffuse
        )
        along = np.array(TABLE_CENTRE) - configs.lamp_place("key", around.light_direction)
        direction = np.array(around.light_direction)
        assert np.allclose(np.cross(along, direction), 0.0, atol=1e-9) and along @ direction > 0


def test_parked_things_are_apart_and_away_from_the_table():
    places = np.array([configs.parking_place(index)[:2] for index in range(60)])
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + np.eye(60)
    assert gaps.min() > 0.9 and places[:, 0].max() < -2.0


# --- hands


@pytest.mark.parametrize("arm", [0, 1])
def test_the_palm_is_found_from_the_fingers(arm):
    """On the suite's own hands, left and right, the answer is known."""
    robot = dual_rm75_inspire()
    poses = straight(robot)
    side = robot.mounts[arm].side
    names = plans.make_plan(robot, "dual_rm75").arms[arm]
    near, far = zip(*names.finger_links, strict=True)
    found = HandFrames(
        np.array([poses[name][0] for name in near]),
        np.array([poses[name][0] for name in far]),
        np.array([poses[name][1] for name in far]),
        names.right_handed,
    )
    place, turn = found.palm()
    assert np.allclose(place, poses[f"{side}_palm"][0], atol=1e-9)
    assert apart(turn, poses[f"{side}_palm"][1]) < 1e-6
    expected = build_model(LiftTask().needs, TIMESTEP)
    tips = found.tips()
    for k, finger in enumerate(("thumb", "index", "middle", "ring", "little")):
        assert np.allclose(tips[k], expected.site(f"{side}_{finger}_tip").pos, atol=1e-9)


def test_a_hand_in_another_order_is_refused():
    robot, poses = panda_inspire(), straight(panda_inspire())
    [names] = plans.make_plan(dual_rm75_inspire(), "dual_rm75").arms[:1]
    near, far = zip(*names.finger_links, strict=True)
    order = [0, 4, 3, 2, 1]
    wrong = HandFrames(
        np.array([poses[near[k]][0] for k in order]),
        np.array([poses[far[k]][0] for k in order]),
        np.array([poses[far[k]][1] for k in order]),
        right_handed=True,
    )
    with pytest.raises(ValueError, match="not ordered thumb, index, middle, ring, little"):
        wrong.palm()
    with pytest.raises(ValueError, match="12 joints with finite ranges"):
        joint_map(robot.hand, np.zeros(12), np.full(12, np.inf))
    with pytest.raises(ValueError, match="12 joints with finite ranges"):
        joint_map(robot.hand, np.zeros(11), np.ones(11))


def test_joint_maps_go_there_and_back():
    hand = panda_inspire().hand
    lower, upper = np.linspace(-0.1, 0.1, 12), np.linspace(0.5, 1.7, 12)
    mapped = joint_map(hand, lower, upper)
    assert np.allclose(mapped.to_other(np.array(hand.lower)), lower)
    assert np.allclose(mapped.to_other(np.array(hand.upper)), upper)
    rng = np.random.default_rng(0)
    angles = rng.uniform(hand.lower, hand.upper, (5, 12))
    assert np.allclose(mapped.from_other(mapped.to_other(angles)), angles)
    rates = rng.normal(size=(5, 12))
    assert np.allclose(mapped.rates_from_other(mapped.to_other_rates(rates)), rates)
    moved = mapped.from_other(mapped.to_other(angles) + 1e-6 * mapped.to_other_rates(rates))
    assert np.allclose((moved - angles) / 1e-6, rates, atol=1e-4)


@pytest.mark.parametrize("robot", [panda_inspire(), panda_inspire_upright()], ids=lambda r: "")
def test_a_hand_mounted_as_asked_changes_nothing(robot):
    stub = StubSimulator(robot)
    stub.open([configs.scene_config(stub.plan, SceneNeeds(robot, 1), settings())])
    found, readers = reading.measured_robot(stub, stub.plan, robot)
    mount, asked = found.mounts[0], robot.mounts[0]
    assert np.allclose(mount.palm_offset, asked.palm_offset, atol=1e-9)
    assert apart(np.array(mount.palm_quaternion), np.array(asked.palm_quaternion)) < 1e-6
    assert np.allclose(mount.home, asked.home, atol=1e-2)
    assert len(readers) == 1 and found.hand == robot.hand


@pytest.mark.parametrize("fingers", [(1, 0, 0), (0, 1, 0), (0, -1, 0), (-1, 0, 0)])
@pytest.mark.parametrize(
    ("robot", "name"),
    [
        (panda_inspire(), None),
        (panda_inspire_upright(), None),
        (dual_rm75_inspire(), "two_frankas"),
    ],
    ids=["grasp", "pour", "two"],
)
def test_a_palm_starts_where_it_should_however_the_hand_is_mounted(robot, name, fingers):
    """Offset and palm direction after the comment in the Franka class; the fingers' is unknown."""
    plan = plans.make_plan(robot, name)
    x, z = np.array(fingers, dtype=float), np.array([0.0, 0.0, 1.0])
    turn = tf.quat_from_matrix(np.stack([x, np.cross(z, x), z], axis=1))
    for index, asked in enumerate(robot.mounts):
        offset = np.array([0.063, -0.025, -0.011])
        found = plans.remounted(plan.robot, index, offset, turn, robot).mounts[index]
        there = ArmKinematics(plan.robot, found).forward(np.array([found.home]))
        wanted = ArmKinematics(robot, asked).forward(np.array([asked.home]))
        assert np.linalg.norm(there[0] - wanted[0]) < 0.005
        assert apart(there[1][0], wanted[1][0]) < 0.05
        inside = np.minimum(np.array(found.home) - plan.robot.arm.lower,
                            plan.robot.arm.upper - np.array(found.home))  # fmt: skip
        assert inside.min() > 0.04


def test_a_hand_out_of_reach_is_refused():
    robot = panda_inspire()
    with pytest.raises(ValueError, match="out of reach by"):
        plans.remounted(robot, 0, np.array([0.0, 0.0, 1.5]), np.array([1.0, 0, 0, 0]), robot)


# --- states


@pytest.mark.parametrize("task", [GraspTask, PourTask, LiftTask])
def test_the_start_is_that_of_mujoco(task):
    """Same scenario, same draws: arms, contents and poses to the last bit."""
    scenario = named_sampler(task.name, "train(3)")(np.random.default_rng(0))
    env = started([scenario])
    row = start_row(task().needs.robot, task().needs, scenario)
    assert np.array_equal(row.joints[:, :7], env.world.arm_position[0])
    assert np.allclose(row.joints[:, 7:], env.world.hand_position[0])
    count = task().needs.objects
    assert np.array_equal(row.objects[:count, :3], env.world.object_position[0])
    assert np.array_equal(row.objects[:count, 3:7], env.world.object_quaternion[0])
    assert np.array_equal(row.objects[count:, :3], env.world.contents_position[0])
    vector = row.to_vector()
    assert vector.shape == (width(task().needs),)
    again = Row.from_vector(vector, task().needs)
    assert np.array_equal(again.to_vector(), vector)


# --- files for newer releases


def test_yaml_files_name_the_robots_joints():
    robot = dual_rm75_inspire()
    text = robot_yaml(robot)
    for name in (
        "right_joint1",
        "left_little_distal",
        "right_palm",
        "MultiFingerGripperController",
    ):
        assert name in text
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    read = yaml.safe_load(text)
    hand = read["manipulation"]["finger_joint_names"]["left"]
    assert hand == [f"left_{name}" for name in robot.hand.joint_names]
    assert len(read["default_joint_pos"]) == 38
    assert read["self_collisions"] is True
    assert ["right_palm", "right_index_distal"] in read["disabled_collision_pairs"]
    assert set(read) == set(importer.ROBOT_KEYS), "read strictly: any other key is an error"
    read = yaml.safe_load(importer.importer_yaml(robot, Path("robot.urdf")))
    assert set(read) == set(importer.IMPORTER_KEYS) and read["merge_fixed_joints"] is False
    assert read["urdf_path"] == str(Path("robot.urdf").resolve()), "the script wants the whole path"
    links = {link.name for link in robot_tree(robot).links}
    for entry in read["eef_vis_links"]:
        assert entry["link"] in links and entry["parent_link"] is None


def test_thumb_and_fingers_of_one_hand_touch_and_the_rest_of_a_side_does_not():
    pairs = {frozenset(pair) for pair in ignored_pairs(dual_rm75_inspire())}
    assert frozenset(("right_thumb_distal", "right_index_distal")) not in pairs
    assert frozenset(("right_index_distal", "right_middle_distal")) in pairs
    assert frozenset(("right_palm", "right_link3")) in pairs
    assert frozenset(("right_palm", "right_thumb_distal")) in pairs
    assert not any({name.split("_")[0] for name in pair} == {"left", "right"} for pair in pairs)
    assert len(finger_link_names("left")) == 12
