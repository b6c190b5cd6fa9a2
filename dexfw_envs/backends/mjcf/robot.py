"""The robot written into a MuJoCo specification from primitives."""

from __future__ import annotations

import mujoco
import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.backends.mjcf.collision import (
    FINGER,
    HAND,
    LINK,
    OBJECT,
    SOLREF,
    SUPPORT,
    THUMB,
    WALL,
    own,
    partner,
)
from dexfw_envs.robots import inspire as hand_geometry
from dexfw_envs.robots.capsules import (
    FOREARM,
    Capsule,
    joint_offset,
    link_capsules,
    wrist_capsule,
)
from dexfw_envs.robots.spec import FINGERS, HandSpec, Mount, RobotSpec

HAND_FRICTION = (0.5, 0.005, 0.0001)  # below every object's: the object's own value decides
ARM_RGBA = (0.92, 0.92, 0.94, 1.0)
HAND_RGBA = (0.25, 0.27, 0.30, 1.0)
TIP_RGBA = (0.55, 0.57, 0.60, 1.0)


def prefix(robot: RobotSpec, arm: int) -> str:
    """Return the name prefix of an arm's elements, such as "right_"."""
    return f"{robot.mounts[arm].side}_"


def add_robot(spec: mujoco.MjSpec, robot: RobotSpec) -> None:
    """Add every arm and hand of the robot, with actuators, couplings and sites."""
    for arm in range(robot.arms):
        flange = _add_arm(spec, robot, arm)
        _add_hand(spec, flange, robot.hand, robot.mounts[arm], prefix(robot, arm))


def _add_arm(spec: mujoco.MjSpec, robot: RobotSpec, index: int) -> mujoco.MjsBody:
    arm = robot.arm
    mount = robot.mounts[index]
    pre = prefix(robot, index)
    body = spec.worldbody.add_body(
        name=f"{pre}base", pos=mount.base_position, quat=mount.base_quaternion
    )

    capsules = link_capsules(arm)
    for i, row in enumerate(arm.dh):
        _add_link(body, robot, pre, i, capsules[i])
        body = body.add_body(
            name=f"{pre}link{i + 1}",
            pos=joint_offset(row),
            quat=tf.quat_from_rotvec(np.array([row[1], 0.0, 0.0])),
            gravcomp=1.0,
            explicitinertial=True,
            mass=arm.masses[i],
            ipos=arm.centres[i],
            fullinertia=arm.inertias[i],
        )
        body.add_joint(
            name=f"{pre}joint{i + 1}",
            axis=(0, 0, 1),
            range=(arm.lower[i], arm.upper[i]),
            limited=True,
            armature=0.1,
            damping=1.0,
        )
        _add_servo(spec, f"{pre}joint{i + 1}", arm.stiffness[i], arm.damping[i], arm.effort[i])

    _add_link(body, robot, pre, arm.joints, capsules[arm.joints])
    flange = body.add_body(name=f"{pre}flange", pos=(0.0, 0.0, arm.flange), gravcomp=1.0)
    _add_capsule(
        flange,
        wrist_capsule(mount),
        rgba=HAND_RGBA,
        mass=hand_geometry.WRIST_MASS,
        **_link_contact(pre, robot.arms == 2),
    )
    return flange


def _add_servo(spec: mujoco.MjSpec, joint: str, kp: float, kv: float, effort: float) -> None:
    spec.add_actuator(
        name=joint,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        target=joint,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE,
        gainprm=[kp] + [0.0] * 9,
        biasprm=[0.0, -kp, -kv] + [0.0] * 7,
        forcerange=(-effort, effort),
        forcelimited=True,
    )


def solid_links(robot: RobotSpec, pre: str) -> list[str]:
    """Return the names of an arm's bodies that objects and supports are solid to."""
    links = range(FOREARM, robot.arm.joints + 1)
    capsules = link_capsules(robot.arm)
    bodies = [f"{pre}link{i}" for i in links if capsules[i] is not None]
    return [*bodies, f"{pre}flange"]  # the flange carries the wrist


def _add_link(
    body: mujoco.MjsBody, robot: RobotSpec, pre: str, index: int, capsule: Capsule | None
) -> None:
    """Draw link `index`, the base being 0, and make it solid to what it may touch.

    From the forearm on that is all but its own hand; before it the partner arm alone, and for the
    base nothing.
    """
    if capsule is None:
        return

    two = robot.arms == 2
    if index >= FOREARM:
        contact = _link_contact(pre, two)
    elif index and two:
        contact = {"contype": own(pre), "conaffinity": partner(pre), "solref": SOLREF}
    else:
        contact = {"contype": 0, "conaffinity": 0}
    _add_capsule(body, capsule, rgba=ARM_RGBA, mass=0.0, **contact)


def _add_capsule(body: mujoco.MjsBody, capsule: Capsule, **options: object) -> None:
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=(*capsule.start, *capsule.end),
        size=(capsule.radius, 0, 0),
        **options,
    )


def _link_contact(pre: str, two: bool) -> dict[str, object]:
    """Return how a link from the forearm on touches; with two arms, the other one as well."""
    bit = own(pre) if two else 0
    other = partner(pre) if two else 0
    return _contact(LINK | bit, OBJECT | SUPPORT | WALL | other)


def _add_hand(
    spec: mujoco.MjSpec, flange: mujoco.MjsBody, hand: HandSpec, mount: Mount, pre: str
) -> None:
    palm = flange.add_body(
        name=f"{pre}palm", pos=mount.palm_offset, quat=mount.palm_quaternion, gravcomp=1.0
    )
    palm.add_site(name=f"{pre}end_effector", size=(0.004, 0, 0), rgba=(0, 0, 0, 0))
    _add_palm(palm, pre)
    _add_thumb(palm, hand, pre)

    for row in range(4):
        _add_finger(palm, hand, pre, row)
    for index in hand.driven:
        name = f"{pre}{hand.joint_names[index]}"
        _add_servo(spec, name, hand.stiffness, hand.damping, hand.effort)

    for follower, leader, offset, ratio in hand.couplings:
        spec.add_equality(
            type=mujoco.mjtEq.mjEQ_JOINT,
            objtype=mujoco.mjtObj.mjOBJ_JOINT,
            name1=f"{pre}{hand.joint_names[follower]}",
            name2=f"{pre}{hand.joint_names[leader]}",
            data=[offset, ratio] + [0.0] * 10,
            solref=SOLREF,
        )


def _side(pre: str) -> float:
    return 1.0 if pre == "right_" else -1.0


def _add_palm(palm: mujoco.MjsBody, pre: str) -> None:
    half = hand_geometry.PALM_HALF_SIZE
    palm.add_geom(
        name=f"{pre}palm",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(0.0, 0.0, -half[2]),
        size=half,
        mass=hand_geometry.PALM_MASS,
        rgba=HAND_RGBA,
        **_contact(HAND | own(pre), OBJECT | SUPPORT | partner(pre)),
    )


def _contact(own: int, others: int) -> dict[str, object]:
    return {
        "contype": own,
        "conaffinity": others,
        "friction": HAND_FRICTION,
        "condim": 4,
        "solref": SOLREF,
    }


def _add_joint(body: mujoco.MjsBody, hand: HandSpec, pre: str, name: str, axis: tuple) -> None:
    index = hand.joint_names.index(name)
    body.add_joint(
        name=f"{pre}{name}",
        axis=axis,
        range=(hand.lower[index], hand.upper[index]),
        limited=True,
        damping=0.05,
        armature=5e-4,
        solref_limit=SOLREF,
    )


def _add_phalanx(body: mujoco.MjsBody, name: str, tip: np.ndarray, radius: float, bit: int) -> None:
    others = OBJECT | SUPPORT | partner(name) | (THUMB if bit == FINGER else 0)
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=(0.0, 0.0, 0.0, *tip),
        size=(radius, 0, 0),
        density=hand_geometry.LINK_DENSITY,
        rgba=TIP_RGBA if name.endswith("distal") else HAND_RGBA,
        **_contact(bit | own(name), others),
    )


def _add_finger(palm: mujoco.MjsBody, hand: HandSpec, pre: str, row: int) -> None:
    name = FINGERS[1 + row]
    g = hand_geometry
    root = (g.FINGER_ROOT_X, _side(pre) * g.FINGER_ROOTS[row], g.FINGER_ROOT_Z)
    body = palm
    for link, length in zip(("proximal", "distal"), g.FINGER_LENGTHS, strict=True):
        body = body.add_body(name=f"{pre}{name}_{link}", pos=root, gravcomp=1.0)
        _add_joint(body, hand, pre, f"{name}_{link}", (0, -1, 0))
        _add_phalanx(body, f"{pre}{name}_{link}", np.array([length, 0, 0]), g.FINGER_RADIUS, FINGER)
        root = (length, 0.0, 0.0)
    body.add_site(name=f"{pre}{name}_tip", pos=root, size=(0.003, 0, 0), rgba=(0, 0, 0, 0))


def _add_thumb(palm: mujoco.MjsBody, hand: HandSpec, pre: str) -> None:
    g = hand_geometry
    side = _side(pre)
    x, y, z = g.THUMB_ROOT
    along = np.array(g.THUMB_ALONG)
    folded = tf.quat_from_rotvec(np.array([-side, 0.0, 0.0]) * g.THUMB_FOLD)
    body = palm.add_body(
        name=f"{pre}thumb_metacarpal", pos=(x, side * y, z), quat=folded, gravcomp=1.0
    )
    _add_joint(body, hand, pre, "thumb_yaw", (-side, 0, 0))
    _add_joint(body, hand, pre, "thumb_pitch", (0, 1, 0))
    root = np.zeros(3)

    for link, length in zip(("metacarpal", "proximal", "distal"), g.THUMB_LENGTHS, strict=True):
        if link != "metacarpal":
            body = body.add_body(name=f"{pre}thumb_{link}", pos=root, gravcomp=1.0)
            _add_joint(body, hand, pre, f"thumb_{link}", (0, 1, 0))
        root = along * length
        _add_phalanx(body, f"{pre}thumb_{link}", root, g.THUMB_RADIUS, THUMB)

    body.add_site(name=f"{pre}thumb_tip", pos=root, size=(0.003, 0, 0), rgba=(0, 0, 0, 0))
