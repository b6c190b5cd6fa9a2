"""The two-armed robot for newer OmniGibson: what its URDF importer and robot loader read.

From 3.7 on OmniGibson has a script that turns a URDF into USD on a machine with a GPU, and from 3.9
a robot is a YAML file and no class. Both files are written from the same constants as the rest.
Written after public source; never run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.backends.omnigibson.description.configs import controllers
from dexfw_envs.backends.omnigibson.description.robot_class import (
    arm_joint_names,
    finger_link_names,
    hand_joint_names,
    ignored_pairs,
)
from dexfw_envs.catalog.shapes import reach
from dexfw_envs.robots.spec import RobotSpec
from dexfw_envs.robots.tree import Tree

Yaml = dict[str, Any]
# What the two files may hold, as far as public source shows; the robot's is read strictly.
IMPORTER_KEYS = (
    *("urdf_path", "name", "headless", "overwrite", "merge_fixed_joints", "base_motion"),
    *("collision", "eef_vis_links", "camera_links", "lidar_links", "curobo"),
)
ROBOT_KEYS = (
    *("raw_controller_order", "default_controllers", "default_joint_pos", "manipulation"),
    *("disabled_collision_pairs", "self_collisions"),
)


def importer_config(robot: RobotSpec, urdf: Path) -> Yaml:
    """Return what the script `import_custom_robot` reads (3.7 and later).

    Args:
        robot: The robot.
        urdf: Its URDF file; the script wants the whole path.
    """
    palms = [f"{mount.side}_palm" for mount in robot.mounts]
    return {
        "urdf_path": str(urdf.resolve()),
        "name": robot.name,
        "headless": True,
        "overwrite": True,
        "merge_fixed_joints": False,  # the palms are links of their own
        "base_motion": {"use_sphere_wheels": False, "use_holonomic_joints": False},
        "collision": {
            "decompose_method": "convex",
            "hull_count": 1,
            **{f"{k}_links": [] for k in ("coacd", "convex", "no_decompose", "no_collision")},
        },
        # A link that is there has no `parent_link`: with one, a new link would be made.
        "eef_vis_links": [{"link": name, "parent_link": None} for name in palms],
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
        "raw_controller_order": groups,
        "default_controllers": {group: config[group]["name"] for group in groups},
        "default_joint_pos": home,
        "manipulation": manipulation,
        "self_collisions": True,
        "disabled_collision_pairs": [list(pair) for pair in ignored_pairs(robot)],
    }


def lowest_point(tree: Tree) -> float:
    """Return the height of a robot's lowest point [m] with all joints at zero."""
    poses = tree.link_poses({})
    heights = []
    for link in tree.links:
        place, turn = poses[link.name]
        down = tf.quat_rotate(tf.quat_conjugate(turn), np.array([0.0, 0.0, -1.0]))
        if link.parts:
            heights.append(place[2] - reach(link.parts, down))
    return float(min(heights))


def importer_yaml(robot: RobotSpec, urdf: Path) -> str:
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
