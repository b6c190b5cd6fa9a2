"""The two-armed robot for newer OmniGibson: what its URDF importer and robot loader read.

From 3.7 on OmniGibson has a script that turns a URDF into USD on a machine with a GPU, and from 3.9
a robot is a YAML file and no class. Both files are written from the same constants as the rest.
Written after public source; never run.
"""

from __future__ import annotations

from typing import Any

from dexfw_envs.backends.omnigibson.configs import controllers
from dexfw_envs.backends.omnigibson.robot_class import (
    arm_joint_names,
    finger_link_names,
    hand_joint_names,
    ignored_pairs,
)
from dexfw_envs.robots.spec import RobotSpec

Yaml = dict[str, Any]


def importer_config(robot: RobotSpec, urdf: str) -> Yaml:
    """Return what the script `import_custom_robot` reads (3.7 and later)."""
    palms = [f"{mount.side}_palm" for mount in robot.mounts]
    return {
        "urdf_path": urdf,
        "name": robot.name,
        "headless": True,
        "overwrite": True,
        "merge_fixed_joints": False,  # the palms are links of their own
        "base_motion": {"use_sphere_wheels": False, "use_holonomic_joints": False},
        "collision": {"decompose_method": "convex", "hull_count": 1},
        "eef_vis_links": [{"link": name, "parent_link": name} for name in palms],
        "camera_links": [],
        "lidar_links": [],
        "curobo": None,
    }


def robot_definition(robot: RobotSpec) -> Yaml:
    """Return a robot's definition as 3.9 and later read it."""
    sides = [mount.side for mount in robot.mounts]
    groups = [f"{group}_{side}" for side in sides for group in ("arm", "gripper")]
    manipulation = {
        "n_arms": robot.arms,
        "arm_names": sides,
        "arm_link_names": {s: [f"{s}_link{i + 1}" for i in range(robot.arm.joints)] for s in sides},
        "arm_joint_names": {side: arm_joint_names(robot, side) for side in sides},
        "eef_link_names": {side: f"{side}_palm" for side in sides},
        "finger_link_names": {side: finger_link_names(side) for side in sides},
        "finger_joint_names": {side: hand_joint_names(robot, side) for side in sides},
    }
    home = [q for mount in robot.mounts for q in (*mount.home, *(0.0,) * 12)]
    config = {key: value for side in sides for key, value in controllers(side).items()}
    return {
        "model": robot.name,
        "raw_controller_order": groups,
        "default_controllers": {group: config[group]["name"] for group in groups},
        "default_joint_pos": home,
        "manipulation": manipulation,
        "self_collisions": True,
        "disabled_collision_pairs": [list(pair) for pair in ignored_pairs(robot)],
    }


def importer_yaml(robot: RobotSpec, urdf: str) -> str:
    """Return the importer's configuration as YAML."""
    return _yaml(importer_config(robot, urdf))


def robot_yaml(robot: RobotSpec) -> str:
    """Return the robot's definition as YAML."""
    return _yaml(robot_definition(robot))


def _yaml(value: Yaml, indent: str = "") -> str:
    """Write nested dictionaries of lists and plain values; YAML needs no package for that."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines.append(f"{indent}{key}:\n{_yaml(item, indent + '  ')}")
        elif isinstance(item, list) and item and isinstance(item[0], dict | list):
            rows = "".join(f"{indent}- {_flow(row)}\n" for row in item)
            lines.append(f"{indent}{key}:\n{rows}")
        else:
            lines.append(f"{indent}{key}: {_flow(item)}\n")
    return "".join(lines)


def _flow(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
