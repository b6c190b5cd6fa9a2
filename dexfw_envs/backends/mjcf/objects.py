"""Catalogue objects as rows of MuJoCo model fields, ready to be written into a running world."""

from __future__ import annotations

from functools import cache

import mujoco
import numpy as np

from dexfw_envs.backends.mjcf.collision import CONTENT, FINGER, HAND, OBJECT, THUMB, WALL
from dexfw_envs.catalog.object_spec import ObjectSpec
from dexfw_envs.catalog.objects import get_object

GEOM_FIELDS = (
    "geom_type",
    "geom_size",
    "geom_pos",
    "geom_quat",
    "geom_rbound",
    "geom_aabb",
    "geom_sameframe",
    "geom_friction",
    "geom_rgba",
    "geom_contype",
    "geom_conaffinity",
)
BODY_FIELDS = ("body_mass", "body_inertia")
LENGTHS = ("geom_size", "geom_pos", "geom_rbound", "geom_aabb")  # fields in metres
KINDS = {
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
}


CONTACT = {  # role of a part: (contype, conaffinity)
    "solid": (OBJECT, OBJECT),
    "wall": (WALL, HAND | FINGER | THUMB | OBJECT | CONTENT),
    "lining": (WALL, CONTENT),
    "hull": (OBJECT, OBJECT),
}


@cache
def object_fields(object_id: str, slots: int) -> dict[str, np.ndarray]:
    """Compile one object alone and return its rows of `GEOM_FIELDS` and `BODY_FIELDS`.

    Args:
        object_id: Catalogue id.
        slots: Geoms that the scene keeps for it.
    """
    spec = mujoco.MjSpec()
    item = get_object(object_id)
    body = spec.worldbody.add_body(
        name="object",
        explicitinertial=True,
        ipos=(0, 0, 0),
        iquat=(1, 0, 0, 0),
        mass=item.mass,
        inertia=item.inertia,
    )
    body.add_freejoint()

    for slot in range(slots):
        _add_part(body, item, slot)
    model = spec.compile()
    fields = {name: np.array(getattr(model, name)) for name in GEOM_FIELDS}
    fields |= {name: np.array(getattr(model, name)[1]) for name in BODY_FIELDS}

    return fields


def scaled_fields(rows: dict[str, np.ndarray], size: float, mass: float) -> dict[str, np.ndarray]:
    """Return the rows of an object of another size and mass.

    Args:
        rows: What `object_fields` returned; left as they are.
        size: Factor on all lengths. Moments of inertia grow with its square.
        mass: Factor on the mass, the size aside.
    """
    if size == 1.0 and mass == 1.0:
        return rows

    scaled = dict(rows)
    for name in LENGTHS:
        scaled[name] = rows[name] * size
    scaled["body_mass"] = rows["body_mass"] * mass
    scaled["body_inertia"] = rows["body_inertia"] * mass * size**2
    return scaled


def _add_part(body: mujoco.MjsBody, item: ObjectSpec, slot: int) -> None:
    if slot >= len(item.parts):  # an unused slot: a grain that touches nothing and is not drawn
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=(1e-3, 0, 0),
            contype=0,
            conaffinity=0,
            rgba=(0, 0, 0, 0),
        )
        return

    part = item.parts[slot]
    body.add_geom(
        type=KINDS[part.kind],
        size=part.size,
        pos=part.position,
        quat=part.quaternion,
        friction=(item.friction, 0.01, 0.0005),
        rgba=item.rgba if part.role != "hull" else (0, 0, 0, 0),
        contype=CONTACT[part.role][0],
        conaffinity=CONTACT[part.role][1],
    )
