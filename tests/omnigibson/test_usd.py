"""The USD files against the definitions that MuJoCo's model is made of."""

import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from stub import apart

from dexfw_envs import transforms as tf
from dexfw_envs.backends.layout import TABLE_HALF_SIZE
from dexfw_envs.backends.mjcf.objects import object_fields
from dexfw_envs.backends.omnigibson import assets
from dexfw_envs.backends.omnigibson.facade.importer import lowest_point
from dexfw_envs.backends.omnigibson.facade.requirements import MissingRequirementError
from dexfw_envs.backends.omnigibson.usd_files import objects
from dexfw_envs.backends.omnigibson.usd_files.meshes import Mesh, part_mesh
from dexfw_envs.catalog.objects import OBJECTS, get_object
from dexfw_envs.catalog.shapes import Part, volume
from dexfw_envs.catalog.surroundings import SURROUNDINGS
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.robots.tree import robot_tree

PARTS = [
    Part("box", (0.1, 0.2, 0.3)),
    Part("cylinder", (0.1, 0.2, 0.0)),
    Part("capsule", (0.1, 0.2, 0.0)),
    Part("sphere", (0.1, 0.0, 0.0)),
    Part("ellipsoid", (0.1, 0.2, 0.3)),
]
need_usd = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("pxr") is None,
    reason="usd-core is not installed here: run `make test-omnigibson`",
)


# --- without usd-core


def mesh_volume(mesh: Mesh) -> float:
    """Return the volume that a mesh encloses [m^3]; negative if its faces look inwards."""
    total = 0.0
    for face in mesh.faces:
        first = mesh.points[face[0]]
        for k in range(1, len(face) - 1):
            second, third = mesh.points[face[k]], mesh.points[face[k + 1]]
            total += float(first @ np.cross(second, third)) / 6.0
    return total


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.kind)
def test_meshes_are_closed_convex_and_as_large_as_their_parts(part):
    mesh = part_mesh(part)
    assert mesh_volume(mesh) == pytest.approx(volume(part), rel=0.03), "and its faces look out"
    edges = [(a, b) for face in mesh.faces for a, b in zip(face, (*face[1:], face[0]), strict=True)]
    assert len(set(edges)) == len(edges) and {(b, a) for a, b in edges} == set(edges)
    for face in mesh.faces:
        corners = mesh.points[list(face)]
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[1])
        assert ((mesh.points - corners[0]) @ normal < 1e-9).all()


def test_pictures_are_png(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    objects.write_png(tmp_path / "a.png", pixels)
    data = (tmp_path / "a.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (7, 5)
    start = data.index(b"IDAT")
    size = struct.unpack(">I", data[start - 4 : start])[0]
    rows = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + size]), np.uint8)
    assert np.array_equal(rows.reshape(5, 22)[:, 1:].reshape(5, 7, 3), pixels)


def test_textures_have_the_tables_colour():
    for around in SURROUNDINGS:
        if around.table_texture != "flat":
            pixels = objects.texture_pixels(around).astype(float) / 255
            assert np.allclose(pixels.max(axis=(0, 1)), around.table_rgba[:3], atol=0.01)
            assert pixels.std() > 0.01


def test_files_are_needed_whole_and_of_these_definitions(tmp_path):
    (tmp_path / assets.MANIFEST).write_text(json.dumps({"definitions": assets.fingerprint()}))
    assets.need_files(tmp_path, own_robot=False)
    with pytest.raises(MissingRequirementError, match=r"dual_rm75_inspire\.usda is missing"):
        assets.need_files(tmp_path, own_robot=True)


def test_without_usd_core_the_command_says_what_to_install(tmp_path):
    (tmp_path / "pxr.py").write_text("raise ImportError('none')\n")
    command = [sys.executable, "-m", "dexfw_envs.backends.omnigibson.assets", str(tmp_path / "to")]
    path = f"{tmp_path}:{':'.join(sys.path)}"
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": path})
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: {objects.NEEDS_USD}"


# --- with usd-core


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    assets.write_all(path)
    return path


def opened(path):
    from pxr import Usd

    return Usd.Stage.Open(str(path))


def geometries(stage, group):
    return [
        prim for prim in stage.Traverse()
        if prim.GetPath().GetParentPath().name == group and prim.GetTypeName() != "Xform"
    ]  # fmt: skip


@need_usd
def test_everything_is_written(folder):
    names = {path.name for path in folder.iterdir()}
    assert {f"{name}.usda" for name in OBJECTS} <= names
    assert len(OBJECTS) == 82, "80 and the two bowls"
    assert {f"table_{around.id}.usda" for around in SURROUNDINGS} <= names
    assert len(SURROUNDINGS) == 12
    assert {"content.usda", "column_1.usda", "column_2.usda", assets.MANIFEST} <= names
    assets.need_files(folder, own_robot=True)


@need_usd
@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_objects_are_those_of_the_catalogue(folder, name):
    from pxr import Usd, UsdGeom, UsdPhysics

    item, stage = get_object(name), opened(folder / f"{name}.usda")
    root = stage.GetDefaultPrim()
    assert root.GetTypeName() == "Xform" and UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    links = [child for child in root.GetChildren() if child.GetTypeName() == "Xform"]
    assert [link.GetName() for link in links] == ["base_link"], "one link, the rest is a scope"
    mass = UsdPhysics.MassAPI(links[0])
    assert mass.GetMassAttr().Get() == pytest.approx(item.mass, rel=1e-6)
    assert np.allclose(mass.GetDiagonalInertiaAttr().Get(), item.inertia, rtol=1e-5)
    assert np.allclose(mass.GetCenterOfMassAttr().Get(), 0.0)
    parts = [part for part in item.parts if part.role != "hull"]
    for group in ("visuals", "collisions"):
        assert len(geometries(stage, group)) == len(parts)
    box = UsdGeom.BBoxCache(Usd.TimeCode.Default(), ["default", "guide"]).ComputeWorldBound(root)
    reached = np.array(box.ComputeAlignedRange().GetMax())
    expected = extent(parts)
    assert np.allclose(reached, expected, rtol=0.02, atol=1e-4)
    for prim in geometries(stage, "collisions"):
        assert prim.HasAPI(UsdPhysics.CollisionAPI)
        material = bound(prim, "physics")
        api = UsdPhysics.MaterialAPI(material)
        assert api.GetDynamicFrictionAttr().Get() == pytest.approx(item.friction)
        rule = material.GetAttribute("physxMaterial:frictionCombineMode").Get()
        assert rule == objects.OBJECT_RULE
    for prim in geometries(stage, "visuals"):
        shader = stage.GetPrimAtPath(bound(prim, "allPurpose").GetPath().AppendChild("Shader"))
        colour = shader.GetAttribute("inputs:diffuse_color_constant").Get()
        assert np.allclose(colour, item.rgba[:3], atol=1e-6)


def bound(prim, purpose):
    from pxr import UsdShade

    api = UsdShade.MaterialBindingAPI(prim)
    name = "" if purpose == "allPurpose" else purpose
    return api.GetDirectBinding(name).GetMaterial().GetPrim()


def extent(parts):
    """How far parts reach along x, y and z [m]."""
    from dexfw_envs.catalog.shapes import reach

    return [reach(tuple(parts), axis) for axis in np.eye(3)]


@need_usd
@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_parts_stand_as_in_mujoco(folder, name):
    """Kind, size and pose of every part that touches; the hulls of cups are MuJoCo's alone."""
    item, stage = get_object(name), opened(folder / f"{name}.usda")
    rows = object_fields(name, len(item.parts))
    solid = [index for index, part in enumerate(item.parts) if part.role != "hull"]
    for number, row in enumerate(solid):
        prim = stage.GetPrimAtPath(f"/object/base_link/collisions/part{number}")
        place = np.array(prim.GetAttribute("xformOp:translate").Get())
        turn = as_array(prim.GetAttribute("xformOp:orient").Get())
        assert np.allclose(place, rows["geom_pos"][row], atol=1e-9)
        assert apart(turn, rows["geom_quat"][row]) < 1e-6
        reached = reach_of(prim)
        assert np.allclose(reached, rows["geom_aabb"][row][3:], rtol=1e-2, atol=1e-6), number
        assert (prim.GetTypeName() == "Mesh") == (item.parts[row].kind not in PLAIN)


PLAIN = {"sphere", "cylinder"}  # what PhysX has itself


def reach_of(prim):
    """How far a shape reaches along its own axes [m]."""
    if prim.GetTypeName() == "Mesh":
        return np.abs(np.array(prim.GetAttribute("points").Get())).max(axis=0)
    radius = prim.GetAttribute("radius").Get()
    if prim.GetTypeName() == "Sphere":
        return np.full(3, radius)
    return np.array([radius, radius, prim.GetAttribute("height").Get() / 2])


@need_usd
def test_tables_have_their_friction_and_texture(folder):
    from pxr import UsdPhysics

    for around in SURROUNDINGS:
        stage = opened(folder / f"table_{around.id}.usda")
        [top] = geometries(stage, "collisions")
        assert np.allclose(reach_of(top), TABLE_HALF_SIZE)
        material = bound(top, "physics")
        api = UsdPhysics.MaterialAPI(material)
        assert api.GetStaticFrictionAttr().Get() == pytest.approx(around.table_friction)
        shader = stage.GetPrimAtPath("/object/Looks/top/Shader")
        texture = shader.GetAttribute("inputs:diffuse_texture").Get().path
        assert bool(texture) == (around.table_texture != "flat")
        if texture:
            assert (folder / texture).read_bytes()[1:4] == b"PNG"
        colour = shader.GetAttribute("inputs:diffuse_color_constant").Get()
        assert np.allclose(colour, around.table_rgba[:3], atol=1e-6)


@need_usd
def test_the_robot_is_the_tree(folder):
    """Poses by the joints' own frames, at random angles, against the tree and so MuJoCo."""
    from pxr import UsdPhysics

    tree = robot_tree(dual_rm75_inspire())
    stage = opened(folder / "dual_rm75_inspire.usda")
    root = stage.GetDefaultPrim()
    links = [child.GetName() for child in root.GetChildren() if child.GetTypeName() == "Xform"]
    assert links == [link.name for link in tree.links]
    joints = {prim.GetName(): prim for prim in stage.Traverse() if prim.IsA(UsdPhysics.Joint)}
    assert set(joints) == {joint.name for joint in tree.joints}
    rng = np.random.default_rng(0)
    angles = {j.name: float(rng.uniform(j.lower, j.upper)) for j in tree.hinges}
    poses, expected = {"base": (np.zeros(3), np.array([1.0, 0, 0, 0]))}, tree.link_poses(angles)
    for joint in tree.joints:
        prim = joints[joint.name]
        assert prim.GetPath().GetParentPath().name == joint.parent, "OmniGibson looks there"
        frames = [
            (np.array(prim.GetAttribute(f"physics:localPos{k}").Get()),
             as_array(prim.GetAttribute(f"physics:localRot{k}").Get()))
            for k in (0, 1)
        ]  # fmt: skip
        turn = np.array([1.0, 0, 0, 0])
        if joint.axis is not None:
            assert prim.GetAttribute("physics:axis").Get() == "X"
            turn = tf.quat_from_rotvec(np.array([angles[joint.name], 0.0, 0.0]))
        first = tf.compose(*poses[joint.parent], *frames[0])
        spun = tf.compose(*first, np.zeros(3), turn)
        poses[joint.child] = tf.compose(*spun, *tf.invert(*frames[1]))
    for name, (place, turn) in expected.items():
        assert np.allclose(poses[name][0], place, atol=1e-5), name
        assert apart(tf.quat_normalize(poses[name][1]), turn) < 1e-3, name


@need_usd
def test_the_lowest_point_is_that_of_the_file(folder):
    """By which the importer of later releases moves a robot."""
    from pxr import Usd, UsdGeom

    stage = opened(folder / "dual_rm75_inspire.usda")
    cache = UsdGeom.BBoxCache(Usd.TimeCode.Default(), ["default"])
    box = cache.ComputeWorldBound(stage.GetDefaultPrim()).ComputeAlignedRange()
    lowest = lowest_point(robot_tree(dual_rm75_inspire()))
    assert box.GetMin()[2] == pytest.approx(lowest, abs=0.005)  # curved parts are meshes there


def as_array(quaternion):
    return np.array([quaternion.GetReal(), *quaternion.GetImaginary()])


@need_usd
def test_the_robots_joints_have_drives_limits_and_a_state(folder):
    from pxr import UsdPhysics

    tree = robot_tree(dual_rm75_inspire())
    stage = opened(folder / "dual_rm75_inspire.usda")
    hinges = {j.name: j for j in tree.hinges}
    found = [prim for prim in stage.Traverse() if prim.IsA(UsdPhysics.RevoluteJoint)]
    assert len(found) == len(hinges) == 38
    for prim in found:
        joint, api = hinges[prim.GetName()], UsdPhysics.RevoluteJoint(prim)
        assert np.deg2rad(api.GetLowerLimitAttr().Get()) == pytest.approx(joint.lower, abs=1e-5)
        assert np.deg2rad(api.GetUpperLimitAttr().Get()) == pytest.approx(joint.upper, abs=1e-5)
        drive = UsdPhysics.DriveAPI(prim, "angular")
        stiffness = np.rad2deg(drive.GetStiffnessAttr().Get())
        assert stiffness == pytest.approx(joint.stiffness, rel=1e-5)
        assert drive.GetMaxForceAttr().Get() == pytest.approx(joint.effort, rel=1e-6)
        applied = prim.GetMetadata("apiSchemas").GetAddedOrExplicitItems()
        assert "PhysicsJointStateAPI:angular" in applied
    for link in tree.links:
        api = UsdPhysics.MassAPI(stage.GetPrimAtPath(f"/robot/{link.name}"))
        assert api.GetMassAttr().Get() == pytest.approx(link.inertial.mass, rel=1e-5)
