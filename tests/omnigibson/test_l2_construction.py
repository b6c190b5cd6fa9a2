"""L2: OmniGibson's true classes built from our configurations, without Isaac Sim."""

from pathlib import Path

import numpy as np
import pytest
from real import need_package

from dexfw_envs.backends.omnigibson.description import configs, plans
from dexfw_envs.backends.omnigibson.description.frames import to_scene
from dexfw_envs.backends.omnigibson.description.robot_class import CLASS_NAME, dual_arm_class
from dexfw_envs.backends.omnigibson.description.scene_class import CLASS_NAME as SCENE
from dexfw_envs.backends.omnigibson.description.scene_class import scene_class
from dexfw_envs.backends.omnigibson.usd_files.objects import write_object
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.catalog.shapes import volume
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.tasks.grasp import GraspTask
from dexfw_envs.tasks.lift import LiftTask
from dexfw_envs.tasks.pour import PourTask

FILES = Path("/files")
TASKS = {"grasp": (GraspTask, None), "pour": (PourTask, None), "lift": (LiftTask, None),
         "frankas": (LiftTask, "two_frankas")}  # fmt: skip


@pytest.fixture
def og():
    package = need_package()
    from omnigibson.scenes.scene_base import Scene

    known = dict(package.REGISTERED_SCENES)
    if SCENE not in known:
        scene_class(Scene, lambda index: None)
    if CLASS_NAME not in package.REGISTERED_ROBOTS:
        from omnigibson.robots.manipulation_robot import ManipulationRobot
        from omnigibson.utils.python_utils import classproperty

        dual_arm_class(ManipulationRobot, classproperty, "/files/robot.usda", "/files/robot.urdf")
    yield package
    package.REGISTERED_SCENES.clear()  # the facade registers its own, which marks
    package.REGISTERED_SCENES.update(known)


def built(entry, registry, kind):
    """Build an entry as `Environment` does, by the package's own function."""
    from omnigibson.utils.python_utils import create_class_from_registry_and_config

    entry = {k: v for k, v in entry.items() if k not in ("position", "orientation")}
    return create_class_from_registry_and_config(
        cls_name=entry["type"], cls_registry=registry, cfg=entry, cls_type_descriptor=kind
    )


def config_of(name, **changes):
    task, robot = TASKS[name]
    needs = task().needs
    settings = configs.Settings(FILES, **changes)
    return configs.scene_config(plans.make_plan(needs.robot, robot), needs, settings)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_everything_in_a_configuration_can_be_built(og, name):
    config = config_of(name)
    built(config["scene"], og.REGISTERED_SCENES, "scene")
    built(config["task"], og.REGISTERED_TASKS, "task")
    for entry in config["robots"]:
        robot = built(entry, og.REGISTERED_ROBOTS, "robot")
        assert robot.name == entry["name"] and type(robot).__name__ == entry["type"]
    for entry in config["objects"]:
        thing = built(entry, og.REGISTERED_OBJECTS, "object")
        assert thing.name == entry["name"]
        if entry["type"] == "USDObject":
            assert thing.usd_path == entry["usd_path"]
    settings, spot = configs.Settings(FILES), np.zeros(3)
    for entry in (
        configs.table_entry(settings, "oak_table", spot),
        configs.object_entry(settings, "pear", 0, spot),
    ):
        assert built(entry, og.REGISTERED_OBJECTS, "object").name == entry["name"]
        assert np.allclose(entry["position"], to_scene(spot))


def test_cameras_can_be_built(og):
    from omnigibson.sensors import create_sensor

    for name, cameras in (("grasp", ("front", "side")), ("lift", ("front", "side", "head"))):
        for entry in config_of(name, cameras=cameras)["env"]["external_sensors"]:
            taken = ("position", "orientation", "pose_frame", "include_in_obs")
            kept = {k: v for k, v in entry.items() if k not in taken}
            sensor = create_sensor(relative_prim_path=f"/{entry['name']}", **kept)
            assert sensor.name == entry["name"] and sensor.modalities == {"rgb"}


@pytest.mark.parametrize("name", ["franka_inspire", "dual_rm75"])
def test_the_classes_have_the_names_that_we_read(og, name):
    task = GraspTask if name == "franka_inspire" else LiftTask
    plan = plans.make_plan(task().needs.robot, name)
    [entry] = configs._robots(plan)
    robot = built(entry, og.REGISTERED_ROBOTS, "robot")
    for arm in plan.arms:
        assert tuple(robot.arm_joint_names[arm.group]) == arm.arm_joints
        assert tuple(robot.finger_joint_names[arm.group]) == arm.hand_joints
        assert set(robot.finger_link_names[arm.group]) < set(arm.hand_links)
        assert set(arm.arm_links) <= set(robot.arm_link_names[arm.group])
        assert arm.flange_link in robot.arm_link_names[arm.group]
    groups = [f"{g}_{arm.group}" for arm in plan.arms for g in ("arm", "gripper")]
    assert list(robot.controller_order) == groups
    if name == "franka_inspire":
        assert robot.usd_path.endswith(plans.FRANKA_FILES[0])
        assert robot.urdf_path.endswith(plans.FRANKA_FILES[1])
    else:
        assert robot.usd_path == "/files/robot.usda"
        assert len(robot.disabled_collision_pairs) > 100
        with pytest.raises(ValueError, match="no discrete actions"):
            robot._create_discrete_action_space()


def test_bodies_balance_where_omnigibson_finds_it(og, tmp_path):
    """It takes a body's centre of mass from the shapes, by its own meshes, not from the file."""
    pytest.importorskip("pxr", reason="usd-core is not installed here")
    import torch
    from omnigibson.utils import transform_utils
    from omnigibson.utils.usd_utils import get_mesh_volume_and_com
    from pxr import Usd

    for name in ("egg", "cube", "pint_glass", "baseball"):
        write_object(get_object(name), tmp_path / f"{name}.usda")
        stage = Usd.Stage.Open(str(tmp_path / f"{name}.usda"))
        volumes, centres = [], []
        for prim in stage.GetPrimAtPath("/object/base_link/collisions").GetChildren():
            size, centre = get_mesh_volume_and_com(prim)
            turn = prim.GetAttribute("xformOp:orient").Get()
            turn = torch.tensor([*turn.GetImaginary(), turn.GetReal()], dtype=torch.float32)
            place = torch.tensor(prim.GetAttribute("xformOp:translate").Get(), dtype=torch.float32)
            volumes.append(size)
            centres.append(transform_utils.quat2mat(turn) @ centre + place)
        found = np.average(np.array([c.numpy() for c in centres]), axis=0, weights=volumes)
        assert np.linalg.norm(found) < 1e-4, name
        parts = [part for part in get_object(name).parts if part.role != "hull"]
        assert sum(volumes) == pytest.approx(sum(map(volume, parts)), rel=0.05), name


# --- controllers


class FakeJoint:
    """A joint handle: the least that loading controllers asks for."""

    driven, n_dof = True, 1

    def set_control_type(self, control_type, kp=None, kd=None):
        self.control_type, self.gains = control_type, (kp, kd)


@pytest.fixture(params=["franka_inspire", "dual_rm75"])
def driven(og, request, monkeypatch):
    """A real robot with fake joints in an order of their own, and its real controllers."""
    import torch

    task = GraspTask if request.param == "franka_inspire" else LiftTask
    plan = plans.make_plan(task().needs.robot, request.param)
    [entry] = configs._robots(plan)
    robot = built(entry, og.REGISTERED_ROBOTS, "robot")
    names = [joint for arm in plan.arms for joint in (*arm.arm_joints, *arm.hand_joints)]
    order = sorted(names, key=lambda name: hash_of(name))
    limit = torch.linspace(1.0, 2.0, len(order))
    limits = {"position": (-limit, limit), "velocity": (-limit, limit), "effort": (-limit, limit),
              "has_limit": torch.ones(len(order), dtype=torch.bool)}  # fmt: skip
    robot._joints = {name: FakeJoint() for name in order}
    robot._reset_joint_pos = torch.zeros(len(order))
    monkeypatch.setattr(type(robot), "control_limits", property(lambda self: limits))
    monkeypatch.setattr(type(robot), "n_dof", property(lambda self: len(order)))
    robot._load_controllers()
    return robot, plan, order, limit


def hash_of(name):
    return sum(ord(c) * (k + 7) for k, c in enumerate(name)) % 101


def test_actions_reach_the_joints_that_they_are_meant_for(driven):
    """Absolute, not scaled, not flipped: what we command is the drive's target."""
    import torch

    robot, plan, order, limit = driven
    robot._action_space = robot._create_continuous_action_space()
    names = [joint for arm in plan.arms for joint in (*arm.arm_joints, *arm.hand_joints)]
    assert robot.action_dim == len(names)
    assert np.isinf(robot.action_space.low).all(), "no limits, so nothing is scaled"
    rng = np.random.default_rng(0)
    action = torch.tensor(rng.uniform(-0.9, 0.9, len(names)), dtype=torch.float32)
    state = {"joint_position": torch.zeros(len(order)), "joint_velocity": torch.zeros(len(order))}
    start, target = 0, torch.full((len(order),), np.nan)
    for name in robot.controller_order:
        controller = robot._controllers[name]
        part = action[start : start + controller.command_dim]
        controller.update_goal(command=part, control_dict=state)
        target[controller.dof_idx] = controller.step(control_dict=state)
        start += controller.command_dim
    for joint, value in zip(names, action, strict=True):
        assert target[order.index(joint)] == pytest.approx(float(value), abs=1e-6), joint
    huge = torch.full((7,), 9.0)
    arm = robot._controllers[robot.controller_order[0]]
    arm.update_goal(command=huge, control_dict=state)
    assert torch.allclose(arm.step(control_dict=state), limit[arm.dof_idx]), "clipped to limits"


def test_all_joints_are_position_controlled(driven):
    robot, *_ = driven
    from omnigibson.controllers.controller_base import ControlType

    for joint in robot._joints.values():
        assert joint.control_type == ControlType.POSITION and joint.gains[0] > 0


def test_a_hand_without_a_command_goes_to_zero(driven):
    """Why the backend commands a hold after every reset."""
    import torch

    robot, _, order, _ = driven
    hand = robot._controllers[robot.controller_order[1]]
    state = {"joint_position": torch.full((len(order),), 0.4),
             "joint_velocity": torch.zeros(len(order))}  # fmt: skip
    assert torch.equal(hand.step(control_dict=state), torch.zeros(12))
    arm = robot._controllers[robot.controller_order[0]]
    assert torch.allclose(arm.step(control_dict=state), torch.full((7,), 0.4))


def test_why_inverted_is_said(og):
    """The package's own default for hands with fingers fails on commands without limits."""
    import torch
    from omnigibson.controllers import create_controller

    ones = torch.ones(12)
    limits = dict.fromkeys(("position", "velocity", "effort"), (-ones, ones))
    limits["has_limit"] = torch.ones(12, dtype=torch.bool)
    ours = configs.controllers("0")["gripper_0"]
    fixed = {"control_freq": 20, "control_limits": limits, "dof_idx": torch.arange(12)}
    wrong = create_controller(**ours | {"inverted": True}, **fixed)
    with pytest.raises(TypeError):
        wrong.update_goal(command=torch.zeros(12), control_dict={})
    right = create_controller(**ours, **fixed)
    right.update_goal(command=torch.full((12,), 0.3), control_dict={})
    assert torch.allclose(right._goal["target"], torch.full((12,), 0.3))


def test_the_dual_robot_has_as_many_joints_as_the_suites(og):
    robot = dual_rm75_inspire()
    [entry] = configs._robots(plans.dual_plan())
    real = built(entry, og.REGISTERED_ROBOTS, "robot")
    assert len(real._default_joint_pos) == 2 * (7 + len(robot.hand.joint_names))
    assert real.n_arms == 2 and real.arm_names == ["right", "left"]
    assert not real._action_normalize and real.fixed_base
