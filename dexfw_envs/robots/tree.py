"""A robot as a tree of links and joints, from the same constants as the MuJoCo model.

Exporters (URDF, USD) read this; nothing here knows a file format. The root link stands in the table
frame, so one tree holds both arms of a robot.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.catalog.shapes import Part, diagonal_inertia, volume
from dexfw_envs.robots import inspire as hand_geometry
from dexfw_envs.robots.capsules import joint_offset, link_capsules
from dexfw_envs.robots.spec import FINGERS, ArmSpec, HandSpec, Mount, RobotSpec

ROOT = "base"
IDENTITY = (1.0, 0.0, 0.0, 0.0)
TINY_MASS = 1e-4  # of links that only separate two joints [kg]


@dataclass(frozen=True)
class Inertial:
    """Mass [kg], its centre [m], and xx yy zz xy xz yz about the centre [kg m^2]."""

    mass: float
    centre: tuple[float, ...]
    inertia: tuple[float, ...]


@dataclass(frozen=True)
class Link:
    """A rigid link; parts and centre of mass in its own frame."""

    name: str
    inertial: Inertial
    parts: tuple[Part, ...] = ()
    collides: bool = True


@dataclass(frozen=True)
class Joint:
    """A hinge, or a fixed joint where `axis` is None."""

    name: str
    parent: str
    child: str
    position: tuple[float, ...]  # of the child's frame in the parent's at angle 0 [m]
    quaternion: tuple[float, ...]  # wxyz
    axis: tuple[float, ...] | None = None  # in the child's frame
    lower: float = 0.0  # [rad]
    upper: float = 0.0
    velocity: float = 0.0  # [rad/s]
    effort: float = 0.0  # [Nm]
    stiffness: float = 0.0  # [Nm/rad]
    damping: float = 0.0  # [Nms/rad]
    follows: tuple[str, float, float] | None = None  # (leader, offset [rad], ratio)


@dataclass
class Tree:
    """Links and joints, parents first; the first link is the root."""

    name: str
    links: list[Link] = field(default_factory=list)
    joints: list[Joint] = field(default_factory=list)

    @property
    def hinges(self) -> list[Joint]:
        """The joints that move."""
        return [joint for joint in self.joints if joint.axis is not None]

    def link_poses(self, angles: dict[str, float]) -> dict[str, tf.Pose]:
        """Return position (3,) and quaternion (4,) of every link at joint angles [rad]."""
        poses = {self.links[0].name: (np.zeros(3), np.array(IDENTITY))}
        for joint in self.joints:
            position = np.array(joint.position)
            turn = np.array(joint.quaternion)
            if joint.axis is not None:
                angle = angles.get(joint.name, 0.0)
                turn = tf.quat_multiply(turn, tf.quat_from_rotvec(angle * np.array(joint.axis)))
            poses[joint.child] = tf.compose(*poses[joint.parent], position, turn)
        return poses


def robot_tree(robot: RobotSpec) -> Tree:
    """Return a robot's links and joints; names are those of the MuJoCo model."""
    tree = Tree(robot.name, [Link(ROOT, Inertial(1.0, (0.0, 0.0, 0.0), (0.01,) * 3 + (0.0,) * 3))])
    for mount in robot.mounts:
        _add_arm(tree, robot.arm, mount)
        _add_hand(tree, robot, mount)
    return tree


def capsule_between(start: np.ndarray, end: np.ndarray, radius: float) -> Part:
    """Return a capsule from one point to another [m]."""
    along = np.asarray(end, dtype=float) - start
    length = float(np.linalg.norm(along))
    axis = np.cross([0.0, 0.0, 1.0], along / length)
    sine = float(np.linalg.norm(axis))
    angle = float(np.arctan2(sine, along[2] / length))
    axis = axis / sine if sine > 1e-9 else np.array([1.0, 0.0, 0.0])
    centre = (np.asarray(start) + end) / 2
    turn = tf.quat_from_rotvec(angle * axis)
    return Part("capsule", (radius, length / 2, 0.0), _tuple(centre), _tuple(turn))


def _tuple(values: np.ndarray) -> tuple:
    return tuple(float(value) for value in values)


def _add_arm(tree: Tree, arm: ArmSpec, mount: Mount) -> None:
    side = f"{mount.side}_"
    parent = f"{mount.side}_base"
    zero = Inertial(TINY_MASS, (0.0, 0.0, 0.0), (1e-7,) * 3 + (0.0,) * 3)
    offsets = [joint_offset(row) for row in arm.dh]
    parts = [
        () if capsule is None else (capsule_between(capsule.start, capsule.end, capsule.radius),)
        for capsule in link_capsules(arm)
    ]
    tree.links.append(Link(parent, zero, parts[0], collides=False))
    position = mount.base_position
    turn = mount.base_quaternion
    tree.joints.append(Joint(f"{side}mount", ROOT, parent, position, turn))

    for i in range(arm.joints):
        name = f"{side}link{i + 1}"
        inertial = Inertial(arm.masses[i], arm.centres[i], arm.inertias[i])
        tree.links.append(Link(name, inertial, parts[i + 1]))
        turn = _tuple(tf.quat_from_rotvec(np.array([arm.dh[i][1], 0.0, 0.0])))
        tree.joints.append(
            Joint(
                *(f"{side}joint{i + 1}", parent, name, _tuple(offsets[i]), turn, (0.0, 0.0, 1.0)),
                *(arm.lower[i], arm.upper[i], arm.velocity[i], arm.effort[i]),
                *(arm.stiffness[i], arm.damping[i]),
            )
        )
        parent = name


def _add_hand(tree: Tree, robot: RobotSpec, mount: Mount) -> None:
    hand = robot.hand
    side = f"{mount.side}_"
    half = hand_geometry.PALM_HALF_SIZE
    box = Part("box", half, (0.0, 0.0, -half[2]))
    mass = hand_geometry.PALM_MASS + hand_geometry.WRIST_MASS
    moments = diagonal_inertia((Part("box", half),), mass)
    inertial = Inertial(mass, box.position, (*moments, 0.0, 0.0, 0.0))
    tree.links.append(Link(f"{side}palm", inertial, (box,)))
    x, y, z = mount.palm_offset
    position = (x, y, z + robot.arm.flange)
    names = (f"{side}wrist", f"{side}link{robot.arm.joints}", f"{side}palm")
    tree.joints.append(Joint(*names, position, mount.palm_quaternion))
    _add_thumb(tree, hand, side)

    for row, finger in enumerate(FINGERS[1:]):
        y = _mirror(side) * hand_geometry.FINGER_ROOTS[row]
        root = np.array([hand_geometry.FINGER_ROOT_X, y, hand_geometry.FINGER_ROOT_Z])
        parent = f"{side}palm"
        for name, length in zip(("proximal", "distal"), hand_geometry.FINGER_LENGTHS, strict=True):
            tip = np.array([length, 0.0, 0.0])
            parent = _add_phalanx(
                tree, hand, side, parent, f"{finger}_{name}", root, tip, (0.0, -1.0, 0.0)
            )
            root = tip


def _mirror(side: str) -> float:
    return 1.0 if side == "right_" else -1.0


def _add_thumb(tree: Tree, hand: HandSpec, side: str) -> None:
    mirror = _mirror(side)
    (x, y, z) = hand_geometry.THUMB_ROOT
    folded = tf.quat_from_rotvec(np.array([-mirror, 0.0, 0.0]) * hand_geometry.THUMB_FOLD)
    yaw = Link(f"{side}thumb_base", Inertial(TINY_MASS, (0.0,) * 3, (1e-7,) * 3 + (0.0,) * 3))
    tree.links.append(yaw)
    tree.joints.append(
        _hand_joint(
            hand, side, "thumb_yaw", f"{side}palm", yaw.name,
            np.array([x, mirror * y, z]), folded, (-mirror, 0.0, 0.0),
        )
    )  # fmt: skip
    parent = yaw.name
    root = np.zeros(3)
    names = ("pitch", "proximal", "distal")

    for name, length in zip(names, hand_geometry.THUMB_LENGTHS, strict=True):
        tip = np.array(hand_geometry.THUMB_ALONG) * length
        parent = _add_phalanx(tree, hand, side, parent, f"thumb_{name}", root, tip, (0.0, 1.0, 0.0))
        root = tip


def _add_phalanx(
    tree: Tree,
    hand: HandSpec,
    side: str,
    parent: str,
    joint: str,
    root: np.ndarray,
    tip: np.ndarray,
    axis: tuple[float, float, float],
) -> str:
    """Add one phalanx and the joint it hangs on; return the link's name."""
    thumb = joint.startswith("thumb")
    radius = hand_geometry.THUMB_RADIUS if thumb else hand_geometry.FINGER_RADIUS
    part = capsule_between(np.zeros(3), tip, radius)
    name = f"{side}{joint}".replace("thumb_pitch", "thumb_metacarpal")
    tree.links.append(Link(name, _inertial(part, hand_geometry.LINK_DENSITY), (part,)))
    tree.joints.append(_hand_joint(hand, side, joint, parent, name, root, np.array(IDENTITY), axis))
    return name


def _inertial(part: Part, density: float) -> Inertial:
    mass = density * volume(part)
    moments = np.diag(diagonal_inertia((Part(part.kind, part.size),), mass))
    turn = tf.matrix_from_quat(np.array(part.quaternion))
    tensor = turn @ moments @ turn.T
    rows = (0, 1, 2, 0, 0, 1)
    columns = (0, 1, 2, 1, 2, 2)
    return Inertial(mass, part.position, _tuple(tensor[rows, columns]))


def _hand_joint(
    hand: HandSpec,
    side: str,
    name: str,
    parent: str,
    child: str,
    root: np.ndarray,
    turn: np.ndarray,
    axis: tuple[float, float, float],
) -> Joint:
    index = hand.joint_names.index(name)
    follows = None
    for follower, leader, offset, ratio in hand.couplings:
        if follower == index:
            follows = (f"{side}{hand.joint_names[leader]}", offset, ratio)
    return Joint(
        *(f"{side}{name}", parent, child, _tuple(root), _tuple(turn), axis),
        *(hand.lower[index], hand.upper[index], 3.0, hand.effort),
        *(hand.stiffness, hand.damping),
        follows,
    )
