"""A robot as an articulation in a USD file, from the same tree as its URDF.

So the two-armed robot needs no importer. A joint stands under its parent link, has a drive and the
joint state that OmniGibson asks for, and turns about the x axis of frames of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.backends.omnigibson.usd_files.objects import File
from dexfw_envs.robots.tree import Inertial, Joint, Tree

ARMATURE = {"arm": 0.1, "hand": 5e-4}  # [kg m^2], as in the MuJoCo model
HAND_FRICTION = 0.5
ARM_RGB, HAND_RGB = (0.92, 0.92, 0.94), (0.25, 0.27, 0.30)


def write_robot(tree: Tree, path: Path) -> None:
    """Write a robot with all joints at zero; its root stands in the table frame."""
    file = File(path, "robot")
    looks = {"arm": file.look("arm", ARM_RGB), "hand": file.look("hand", HAND_RGB)}
    grip = file.grip("grip", HAND_FRICTION, "max")
    poses = tree.link_poses({})
    paths = {}

    for link in tree.links:
        place, turn = poses[link.name]
        paths[link.name] = file.link(link.name, place, turn)
        file.mass(paths[link.name], *_principal(link.inertial))
        for index, part in enumerate(link.parts):
            look = looks["arm" if _is_arm(link.name) else "hand"]
            contact = grip if link.collides else None
            file.part(paths[link.name], f"part{index}", part, look, contact)

    for joint in tree.joints:
        _add_joint(file, joint, paths)
    file.save()


def _is_arm(name: str) -> bool:
    return "_link" in name or (name.endswith("base") and "thumb" not in name)


def _principal(inertial: Inertial) -> tuple[float, tuple, np.ndarray, np.ndarray]:
    """Return mass, centre, principal moments (3,) and the axes' orientation wxyz (4,)."""
    xx, yy, zz, xy, xz, yz = inertial.inertia
    moments, axes = np.linalg.eigh(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
    if np.linalg.det(axes) < 0:
        axes[:, 0] *= -1.0
    return inertial.mass, inertial.centre, moments, tf.quat_from_matrix(axes)


def _add_joint(file: File, joint: Joint, paths: dict[str, str]) -> None:
    physics = file.usd.UsdPhysics
    parent = paths[joint.parent]
    child = paths[joint.child]
    kind = physics.FixedJoint if joint.axis is None else physics.RevoluteJoint
    prim = kind.Define(file.stage, f"{parent}/{joint.name}")
    prim.CreateBody0Rel().SetTargets([parent])
    prim.CreateBody1Rel().SetTargets([child])
    turn = _x_to(joint.axis) if joint.axis is not None else np.array([1.0, 0.0, 0.0, 0.0])
    gf = file.usd.Gf
    first = tf.quat_multiply(np.array(joint.quaternion), turn)
    prim.CreateLocalPos0Attr(gf.Vec3f(*joint.position))
    prim.CreateLocalRot0Attr(gf.Quatf(*(float(v) for v in first)))
    prim.CreateLocalPos1Attr(gf.Vec3f(0.0, 0.0, 0.0))
    prim.CreateLocalRot1Attr(gf.Quatf(*(float(v) for v in turn)))

    if joint.axis is not None:
        _drive(file, prim, joint)


def _drive(file: File, prim: object, joint: Joint) -> None:
    """Add limits and a position drive; USD counts angles in degrees."""
    degree = np.pi / 180.0
    physics = file.usd.UsdPhysics
    kinds = file.usd.Sdf.ValueTypeNames
    prim.CreateAxisAttr("X")  # type: ignore[attr-defined]
    prim.CreateLowerLimitAttr(float(joint.lower / degree))  # type: ignore[attr-defined]
    prim.CreateUpperLimitAttr(float(joint.upper / degree))  # type: ignore[attr-defined]
    raw = prim.GetPrim()  # type: ignore[attr-defined]
    drive = physics.DriveAPI.Apply(raw, "angular")
    drive.CreateTypeAttr("force")
    drive.CreateStiffnessAttr(float(joint.stiffness * degree))
    drive.CreateDampingAttr(float(joint.damping * degree))
    drive.CreateMaxForceAttr(float(joint.effort))

    for schema in ("PhysicsJointStateAPI:angular", "PhysxJointAPI"):
        raw.AddAppliedSchema(schema)
    armature = ARMATURE["arm" if "_joint" in joint.name else "hand"]
    values = {
        "state:angular:physics:position": 0.0,
        "state:angular:physics:velocity": 0.0,
        "physxJoint:armature": armature,
        "physxJoint:maxJointVelocity": float(joint.velocity / degree),
    }

    for name, value in values.items():
        raw.CreateAttribute(name, kinds.Float).Set(value)


def _x_to(axis: tuple[float, ...]) -> np.ndarray:
    """Return a rotation wxyz that takes the x axis to a unit vector."""
    target = np.array(axis)
    across = np.cross([1.0, 0.0, 0.0], target)
    if np.linalg.norm(across) < 1e-9:
        return np.array([1.0, 0.0, 0.0, 0.0] if target[0] > 0 else [0.0, 0.0, 0.0, 1.0])
    angle = np.arctan2(np.linalg.norm(across), target[0])
    return tf.quat_from_rotvec(angle * across / np.linalg.norm(across))
