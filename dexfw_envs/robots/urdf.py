"""Robots as URDF files: for importers of other simulators, planners and viewers.

`python -m dexfw_envs.robots.urdf dual_rm75_inspire robot.urdf` writes one. Coupled hand joints are
mimic joints only on request: importers of Isaac Sim give mimic joints no drive.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.catalog.lookup import find
from dexfw_envs.catalog.shapes import Part
from dexfw_envs.console.command import help_text, program, run_main
from dexfw_envs.files import atomic_write_bytes
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.robots.panda_inspire import panda_inspire, panda_inspire_upright
from dexfw_envs.robots.spec import RobotSpec
from dexfw_envs.robots.tree import Inertial, Joint, Link, Tree, robot_tree

Element = ElementTree.Element
ROBOTS: dict[str, Callable[[], RobotSpec]] = {
    "panda_inspire": panda_inspire,
    "panda_inspire_upright": panda_inspire_upright,
    "dual_rm75_inspire": dual_rm75_inspire,
}


def to_urdf(robot: RobotSpec, mimic: bool = False) -> str:
    """Return a robot as the text of a URDF file.

    Args:
        robot: The robot.
        mimic: Whether coupled joints are mimic joints, else they are joints of their own.
    """
    return tree_to_urdf(robot_tree(robot), mimic)


def tree_to_urdf(tree: Tree, mimic: bool = False) -> str:
    """Return a tree as the text of a URDF file."""
    root = Element("robot", name=tree.name)
    for link in tree.links:
        _add_link(root, link)
    for joint in tree.joints:
        _add_joint(root, joint, mimic)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _numbers(values: tuple[float, ...] | np.ndarray) -> str:
    return " ".join(f"{float(value):.10g}" for value in values)


def rpy(quaternion: tuple[float, ...]) -> tuple[float, float, float]:
    """Return roll, pitch and yaw [rad] of a rotation wxyz: about fixed x, then y, then z."""
    m = tf.matrix_from_quat(np.array(quaternion))
    pitch = math.atan2(-m[2, 0], math.hypot(m[0, 0], m[1, 0]))
    if abs(abs(pitch) - math.pi / 2) < 1e-6:  # roll and yaw turn about one axis: all to the roll
        return math.atan2(-m[1, 2], m[1, 1]), pitch, 0.0
    return math.atan2(m[2, 1], m[2, 2]), pitch, math.atan2(m[1, 0], m[0, 0])


def _origin(parent: Element, position: tuple[float, ...], quaternion: tuple[float, ...]) -> None:
    ElementTree.SubElement(parent, "origin", xyz=_numbers(position), rpy=_numbers(rpy(quaternion)))


def _add_link(root: Element, link: Link) -> None:
    element = ElementTree.SubElement(root, "link", name=link.name)
    _add_inertial(element, link.inertial)
    for part in link.parts:
        for kind in ("visual", "collision") if link.collides else ("visual",):
            for shape, size, position in _shapes(part):
                holder = ElementTree.SubElement(element, kind)
                _origin(holder, position, part.quaternion)
                geometry = ElementTree.SubElement(holder, "geometry")
                ElementTree.SubElement(geometry, shape, size)


def _add_inertial(parent: Element, inertial: Inertial) -> None:
    element = ElementTree.SubElement(parent, "inertial")
    _origin(element, inertial.centre, (1.0, 0.0, 0.0, 0.0))
    ElementTree.SubElement(element, "mass", value=_numbers((inertial.mass,)))
    names = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
    moments = {k: _numbers((v,)) for k, v in zip(names, inertial.inertia, strict=True)}
    ElementTree.SubElement(element, "inertia", moments)


def _shapes(part: Part) -> list[tuple[str, dict[str, str], tuple[float, ...]]]:
    """Return a part as URDF's primitives: a capsule is a cylinder and two spheres."""
    radius = _numbers((part.size[0],))
    if part.kind == "box":
        return [("box", {"size": _numbers(2.0 * np.array(part.size))}, part.position)]
    if part.kind == "sphere":
        return [("sphere", {"radius": radius}, part.position)]

    length = {"radius": radius, "length": _numbers((2.0 * part.size[1],))}
    if part.kind == "cylinder":
        return [("cylinder", length, part.position)]
    if part.kind != "capsule":
        raise ValueError(f"URDF has no {part.kind}; robots are made of boxes, capsules, spheres")

    axis = tf.quat_rotate(np.array(part.quaternion), np.array([0.0, 0.0, part.size[1]]))
    ends = [tuple(np.array(part.position) + sign * axis) for sign in (-1.0, 1.0)]
    return [
        ("cylinder", length, part.position),
        *(("sphere", {"radius": radius}, end) for end in ends),
    ]


def _add_joint(root: Element, joint: Joint, mimic: bool) -> None:
    kind = "fixed" if joint.axis is None else "revolute"
    element = ElementTree.SubElement(root, "joint", name=joint.name, type=kind)
    _origin(element, joint.position, joint.quaternion)
    ElementTree.SubElement(element, "parent", link=joint.parent)
    ElementTree.SubElement(element, "child", link=joint.child)

    if joint.axis is None:
        return
    ElementTree.SubElement(element, "axis", xyz=_numbers(joint.axis))
    names = ("lower", "upper", "velocity", "effort")
    limits = {name: _numbers((getattr(joint, name),)) for name in names}
    ElementTree.SubElement(element, "limit", limits)

    if mimic and joint.follows is not None:
        leader, offset, ratio = joint.follows
        numbers = {"multiplier": _numbers((ratio,)), "offset": _numbers((offset,))}
        ElementTree.SubElement(element, "mimic", {"joint": leader, **numbers})


def main(words: Sequence[str]) -> None:
    """Write the URDF of a robot named on the command line."""
    about = help_text("Write a robot as a URDF file.")
    parser = argparse.ArgumentParser(program(), description=about)
    parser.add_argument("robot", help=", ".join(ROBOTS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--mimic", action="store_true", help="coupled joints as mimic joints")
    args = parser.parse_args(words)
    robot = find(ROBOTS, args.robot, "robot")()
    atomic_write_bytes(args.file, to_urdf(robot, args.mimic).encode())
    print(f"wrote {args.file}")


if __name__ == "__main__":
    sys.exit(run_main(main))
