"""The scene of a task as one MuJoCo model: table, robot, object slots, cameras, sensors."""

from __future__ import annotations

import mujoco
import numpy as np

from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.backends.layout import (
    CAMERAS,
    COLUMN_RADII,
    FLOOR,
    HEAD,
    HEAD_HALF_SIZE,
    TABLE_CENTRE,
    TABLE_HALF_SIZE,
)
from dexfw_envs.backends.mjcf.collision import OBJECT, SOLREF, SUPPORT
from dexfw_envs.backends.mjcf.contents import add_contents
from dexfw_envs.backends.mjcf.robot import add_robot, prefix, solid_links
from dexfw_envs.robots.spec import FINGERS, RobotSpec

IMPRATIO = 10.0  # friction grasps creep at 1; see Todorov's notes on elliptic cones
SUPPORTS = ("table", "floor")
# Of MuJoCo's contact sensors: what they tell, and which contact goes first.
FOUND = 1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND)
DISTANCE = 1 << int(mujoco.mjtConDataField.mjCONDATA_DIST)
NEAREST = 1
MATT = 0.1  # specularity of the table: no glare at the lamp's mirror image


def build_model(needs: SceneNeeds, timestep: float) -> mujoco.MjModel:
    """Compile the scene with placeholder objects.

    Args:
        needs: The task's scene.
        timestep: Physics step [s].
    """
    spec = mujoco.MjSpec()
    _set_options(spec, timestep)
    _add_surroundings(spec)
    _add_columns(spec, needs.robot)
    add_robot(spec, needs.robot)
    for index in range(needs.objects):
        _add_object_slot(spec, index, needs.parts)
    add_contents(spec, needs.contents)
    _add_cameras(spec, needs.robot)
    _add_sensors(spec, needs)
    return spec.compile()


def _set_options(spec: mujoco.MjSpec, timestep: float) -> None:
    spec.compiler.degree = False
    option = spec.option
    option.timestep = timestep
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = IMPRATIO
    option.jacobian = mujoco.mjtJacobian.mjJAC_SPARSE

    # Bounding trees depend on the object's shape; without the mid-phase no model field does.
    option.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
    spec.memory = 4 * 2**20
    visual = spec.visual
    visual.headlight.ambient = (0.15, 0.15, 0.15)
    visual.headlight.diffuse = (0.15, 0.15, 0.15)
    visual.headlight.specular = (0.0, 0.0, 0.0)
    visual.quality.shadowsize = 1024
    visual.quality.offsamples = 0
    visual.global_.offwidth = 1280
    visual.global_.offheight = 960
    visual.map.znear = 0.01


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    world.add_light(
        name="key",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=(0, 0, 2),
        dir=(0, 0, -1),
        diffuse=(0.7, 0.7, 0.7),
        ambient=(0.2, 0.2, 0.2),
        castshadow=True,  # where a renderer asks for shadows at all
    )
    _add_materials(spec)
    world.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=TABLE_CENTRE,
        size=TABLE_HALF_SIZE,
        material="flat",
        condim=6,
        solref=SOLREF,
        priority=1,  # its own friction, sliding and rolling, decides
        contype=SUPPORT,
        conaffinity=OBJECT,
    )
    world.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        pos=(0, 0, FLOOR),
        size=(3, 3, 0.1),
        rgba=(0.35, 0.36, 0.38, 1),
        contype=SUPPORT,
        conaffinity=OBJECT,
    )


def _add_columns(spec: mujoco.MjSpec, robot: RobotSpec) -> None:
    """Stand the robot on a column, for show only; that of two arms carries the head."""
    base = np.mean([mount.base_position for mount in robot.mounts], axis=0)
    top = base[2] if robot.arms == 1 else HEAD[2]
    radius = COLUMN_RADII[robot.arms]
    look = {"rgba": (0.30, 0.32, 0.35, 1.0), "contype": 0, "conaffinity": 0}
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=(base[0], base[1], (top + FLOOR) / 2),
        size=(radius, (top - FLOOR) / 2, 0.0),
        **look,
    )

    if robot.arms == 2:
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, pos=HEAD, size=HEAD_HALF_SIZE, **look
        )


def _add_materials(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.90, 0.92, 0.95),
        rgb2=(0.52, 0.57, 0.64),
        width=64,
        height=384,
    )
    spec.add_material(name="flat", specular=MATT, rgba=(1, 1, 1, 1))

    for name, builtin, repeat in (
        ("checker", mujoco.mjtBuiltin.mjBUILTIN_CHECKER, 8),
        ("gradient", mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, 1),
    ):
        spec.add_texture(
            name=name,
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=builtin,
            rgb1=(1.0, 1.0, 1.0),
            rgb2=(0.62, 0.62, 0.62),
            width=64,
            height=64,
        )
        material = spec.add_material(
            name=name, texrepeat=(repeat, repeat), specular=MATT, rgba=(1, 1, 1, 1)
        )
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _add_object_slot(spec: mujoco.MjSpec, index: int, parts: int) -> None:
    """Add a free body of `parts` geoms; unused ones are switched off."""
    body = spec.worldbody.add_body(
        name=f"object{index}",
        pos=(0, 0.1 * index, 0.1),
        explicitinertial=True,
        ipos=(0, 0, 0),  # left out, MjSpec would copy the body's own pose
        iquat=(1, 0, 0, 0),
        mass=0.1,
        inertia=(1e-4, 1e-4, 1e-4),
    )
    body.add_freejoint(name=f"object{index}")

    for slot in range(parts):
        body.add_geom(
            name=f"object{index}_{slot}",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=(0.03, 0, 0),
            condim=4,
            solref=SOLREF,
            contype=OBJECT,
            conaffinity=OBJECT,
        )


def _add_cameras(spec: mujoco.MjSpec, robot: RobotSpec) -> None:
    for name, (position, target, fovy) in CAMERAS[robot.arms].items():
        aim = spec.worldbody.add_body(name=f"{name}_target", pos=target)
        spec.worldbody.add_camera(
            name=name,
            pos=position,
            fovy=fovy,
            mode=mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODY,
            targetbody=aim.name,
        )


def _add_sensors(spec: mujoco.MjSpec, needs: SceneNeeds) -> None:
    """Add contact sensors: read in batch they spare a Python loop over contacts."""
    for arm in range(needs.robot.arms):
        pre = prefix(needs.robot, arm)
        for index in range(needs.objects):
            item = (mujoco.mjtObj.mjOBJ_BODY, f"object{index}")
            palm = (mujoco.mjtObj.mjOBJ_XBODY, f"{pre}palm")
            _add_depth(spec, f"{pre}object{index}_contact", palm, item)
            for link in solid_links(needs.robot, pre):
                body = (mujoco.mjtObj.mjOBJ_BODY, link)
                _add_depth(spec, f"{link}_object{index}_contact", body, item)
        for finger in FINGERS:
            _add_force(spec, f"{pre}{finger}_force", f"{pre}{finger}_distal")

    for index in range(needs.objects):
        for support in SUPPORTS:
            _add_depth(
                spec,
                f"object{index}_{support}_contact",
                (mujoco.mjtObj.mjOBJ_GEOM, support),
                (mujoco.mjtObj.mjOBJ_BODY, f"object{index}"),
            )

    if needs.objects == 2:
        kinds = [(mujoco.mjtObj.mjOBJ_BODY, f"object{index}") for index in range(2)]
        _add_contact(spec, "object_object_contact", *kinds)

    if needs.robot.arms == 2:
        bases = [f"{prefix(needs.robot, arm)}base" for arm in range(2)]
        kinds = [(mujoco.mjtObj.mjOBJ_XBODY, base) for base in bases]
        _add_contact(spec, "arm_arm_contact", *kinds)


def _add_contact(spec: mujoco.MjSpec, name: str, first: tuple, second: tuple) -> None:
    _add_contact_sensor(spec, name, first, second, data=FOUND, reduce=0)


def _add_depth(spec: mujoco.MjSpec, name: str, first: tuple, second: tuple) -> None:
    """Add a sensor of how many contacts there are, and of the smallest distance [m], below zero.

    Where there is no contact both numbers are 0.
    """
    _add_contact_sensor(spec, name, first, second, data=FOUND | DISTANCE, reduce=NEAREST)


def _add_force(spec: mujoco.MjSpec, name: str, body: str) -> None:
    first = (mujoco.mjtObj.mjOBJ_BODY, body)
    second = (mujoco.mjtObj.mjOBJ_UNKNOWN, "")
    _add_contact_sensor(spec, name, first, second, data=2, reduce=3)  # net force, world frame


def _add_contact_sensor(
    spec: mujoco.MjSpec, name: str, first: tuple, second: tuple, data: int, reduce: int
) -> None:
    spec.add_sensor(
        name=name,
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=first[0],
        objname=first[1],
        reftype=second[0],
        refname=second[1],
        intprm=[data, reduce, 1],
    )
