"""The catalogue as USD files, in the form in which OmniGibson 1.1.1 takes objects.

One Xform per link under the root, "visuals" and "collisions" below it. Materials carry both an
OmniPBR shader, which OmniGibson reads, and a preview surface for other viewers. PhysX schemas are
not in `usd-core`: their names and attributes are written as plain text would be.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.backends.layout import COLUMN_RADII, FLOOR, HEAD, HEAD_HALF_SIZE, TABLE_HALF_SIZE
from dexfw_envs.backends.omnigibson.usd_files.meshes import part_mesh
from dexfw_envs.backends.starts import BALL_MASS, BALL_RADIUS
from dexfw_envs.catalog.object_spec import ObjectSpec
from dexfw_envs.catalog.shapes import Part, Vec3, diagonal_inertia
from dexfw_envs.catalog.surroundings import Surroundings
from dexfw_envs.console.extras import install_line
from dexfw_envs.robots.spec import RobotSpec

# How PhysX combines the friction of two surfaces. Of two rules the later of average, min, multiply,
# max counts: so a table's own friction holds on it, and an object's in the hand, as in MuJoCo.
OBJECT_RULE, TABLE_RULE = "average", "min"
BALL_RGB: Vec3 = (0.95, 0.45, 0.10)
COLUMN_RGB: Vec3 = (0.30, 0.32, 0.35)
ROUGHNESS = 0.6
TEXTURE_SIZE = 64  # [px]
NEEDS_USD = f"writing USD files needs usd-core: {install_line('omnigibson')}"


def pxr() -> Any:
    """Import USD's modules when they are needed.

    Raises:
        ImportError: It is not installed; says what to install.
    """
    try:
        import pxr.Gf
        import pxr.Sdf
        import pxr.Usd
        import pxr.UsdGeom
        import pxr.UsdPhysics
        import pxr.UsdShade
    except ImportError as error:
        raise ImportError(NEEDS_USD) from error
    return pxr


class File:
    """A USD file under construction: root Xform, links, materials.

    Args:
        path: Where it is written; a `.usda` file.
        name: Of the root prim.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.usd = pxr()
        self.path = path
        self.root = f"/{name}"
        self.stage = self.usd.Usd.Stage.CreateNew(str(path))
        self.usd.UsdGeom.SetStageUpAxis(self.stage, self.usd.UsdGeom.Tokens.z)
        self.usd.UsdGeom.SetStageMetersPerUnit(self.stage, 1.0)
        self.usd.UsdPhysics.SetStageKilogramsPerUnit(self.stage, 1.0)
        self.stage.SetDefaultPrim(self._xform(self.root))
        self.stage.DefinePrim(f"{self.root}/Looks", "Scope")

    def _xform(self, path: str, place: Any = (0, 0, 0), turn: Any = (1, 0, 0, 0)) -> Any:
        prim = self.usd.UsdGeom.Xform.Define(self.stage, path)
        self._pose(prim, place, turn)
        return prim.GetPrim()

    def _pose(self, prim: Any, place: Any, turn: Any) -> None:
        w, x, y, z = (float(v) for v in turn)
        gf = self.usd.Gf
        prim.AddTranslateOp(self.usd.UsdGeom.XformOp.PrecisionDouble).Set(
            gf.Vec3d(*(float(v) for v in place))
        )
        prim.AddOrientOp(self.usd.UsdGeom.XformOp.PrecisionDouble).Set(gf.Quatd(w, x, y, z))
        prim.AddScaleOp(self.usd.UsdGeom.XformOp.PrecisionDouble).Set(gf.Vec3d(1.0, 1.0, 1.0))

    def link(self, name: str, place: Any = (0, 0, 0), turn: Any = (1, 0, 0, 0)) -> str:
        """Add a rigid link at a pose in the root's frame; return its path."""
        path = f"{self.root}/{name}"
        prim = self._xform(path, place, turn)
        self.usd.UsdPhysics.RigidBodyAPI.Apply(prim)
        for group in ("visuals", "collisions"):
            self._xform(f"{path}/{group}")
        return path

    def mass(self, link: str, mass: float, centre: Any, moments: Any, axes: Any = None) -> None:
        """Give a link mass [kg], centre [m], moments [kg m^2] and their axes wxyz."""
        gf = self.usd.Gf
        api = self.usd.UsdPhysics.MassAPI.Apply(self.stage.GetPrimAtPath(link))
        api.CreateMassAttr(float(mass))
        api.CreateCenterOfMassAttr(gf.Vec3f(*(float(v) for v in centre)))
        api.CreateDiagonalInertiaAttr(gf.Vec3f(*(float(v) for v in moments)))
        w, x, y, z = (1.0, 0.0, 0.0, 0.0) if axes is None else (float(v) for v in axes)
        api.CreatePrincipalAxesAttr(gf.Quatf(w, x, y, z))

    def part(self, link: str, name: str, part: Part, look: str, grip: str | None) -> None:
        """Add a part to a link: its look, and its contact if `grip` is a physics material."""
        self._bind(self._geometry(f"{link}/visuals/{name}", part), look, "allPurpose")
        if grip is not None:
            prim = self._geometry(f"{link}/collisions/{name}", part)
            self.usd.UsdPhysics.CollisionAPI.Apply(prim)
            if prim.GetTypeName() == "Mesh":
                api = self.usd.UsdPhysics.MeshCollisionAPI.Apply(prim)
                api.CreateApproximationAttr("convexHull")
            self.usd.UsdGeom.Imageable(prim).CreatePurposeAttr("guide")
            self._bind(prim, grip, "physics")

    def _bind(self, prim: Any, material: str, purpose: str) -> None:
        api = self.usd.UsdShade.MaterialBindingAPI.Apply(prim)
        strength = self.usd.UsdShade.Tokens.weakerThanDescendants
        which = "" if purpose == "allPurpose" else purpose
        api.Bind(self.usd.UsdShade.Material.Get(self.stage, material), strength, which)

    def _geometry(self, path: str, part: Part) -> Any:
        """Define a part as a sphere or cylinder where PhysX has them, else as a mesh."""
        geom = self.usd.UsdGeom
        if part.kind == "sphere":
            prim = geom.Sphere.Define(self.stage, path)
            prim.CreateRadiusAttr(float(part.size[0]))
        elif part.kind == "cylinder":
            prim = geom.Cylinder.Define(self.stage, path)
            prim.CreateRadiusAttr(float(part.size[0]))
            prim.CreateHeightAttr(float(2.0 * part.size[1]))
            prim.CreateAxisAttr("Z")
        else:
            prim = self._mesh(path, part)

        self._pose(prim, part.position, part.quaternion)
        return prim.GetPrim()

    def _mesh(self, path: str, part: Part) -> Any:
        mesh = part_mesh(part)
        prim = self.usd.UsdGeom.Mesh.Define(self.stage, path)
        prim.CreatePointsAttr([tuple(point) for point in mesh.points.tolist()])
        prim.CreateFaceVertexCountsAttr([len(face) for face in mesh.faces])
        prim.CreateFaceVertexIndicesAttr([index for face in mesh.faces for index in face])
        prim.CreateSubdivisionSchemeAttr("none")
        return prim

    def look(self, name: str, rgb: Vec3, texture: str | None = None) -> str:
        """Add a coloured or textured material; return its path."""
        path = f"{self.root}/Looks/{name}"
        sdf = self.usd.Sdf
        gf = self.usd.Gf
        material = self.usd.UsdShade.Material.Define(self.stage, path)
        shader = self.usd.UsdShade.Shader.Define(self.stage, f"{path}/Shader")
        shader.SetSourceAsset(sdf.AssetPath("OmniPBR.mdl"), "mdl")
        shader.SetSourceAssetSubIdentifier("OmniPBR", "mdl")
        kinds = sdf.ValueTypeNames
        inputs = (
            ("diffuse_color_constant", kinds.Color3f, gf.Vec3f(*rgb)),
            ("diffuse_texture", kinds.Asset, sdf.AssetPath(texture or "")),
            ("reflection_roughness_constant", kinds.Float, ROUGHNESS),
            ("enable_emission", kinds.Bool, False),
            ("emissive_color", kinds.Color3f, gf.Vec3f(1.0, 1.0, 1.0)),
            ("emissive_intensity", kinds.Float, 0.0),
        )

        for name_, kind, value in inputs:
            shader.CreateInput(name_, kind).Set(value)
        output = shader.CreateOutput("out", kinds.Token)
        material.CreateSurfaceOutput("mdl").ConnectToSource(output)
        preview = self.usd.UsdShade.Shader.Define(self.stage, f"{path}/Preview")
        preview.CreateIdAttr("UsdPreviewSurface")
        preview.CreateInput("diffuseColor", kinds.Color3f).Set(gf.Vec3f(*rgb))
        preview.CreateInput("roughness", kinds.Float).Set(ROUGHNESS)
        surface = preview.CreateOutput("surface", kinds.Token)
        material.CreateSurfaceOutput().ConnectToSource(surface)

        return path

    def grip(self, name: str, friction: float, rule: str) -> str:
        """Add a physics material of given friction; return its path."""
        path = f"{self.root}/Looks/{name}"
        material = self.usd.UsdShade.Material.Define(self.stage, path)
        api = self.usd.UsdPhysics.MaterialAPI.Apply(material.GetPrim())
        api.CreateStaticFrictionAttr(float(friction))
        api.CreateDynamicFrictionAttr(float(friction))
        api.CreateRestitutionAttr(0.0)
        material.GetPrim().AddAppliedSchema("PhysxMaterialAPI")
        token = self.usd.Sdf.ValueTypeNames.Token
        material.GetPrim().CreateAttribute("physxMaterial:frictionCombineMode", token).Set(rule)
        return path

    def save(self) -> None:
        """Write the file."""
        self.stage.GetRootLayer().Save()


def write_object(item: ObjectSpec, path: Path) -> None:
    """Write one object of the catalogue; its origin is its centre of mass."""
    file = File(path, "object")
    look = file.look("colour", item.rgba[:3])
    grip = file.grip("grip", item.friction, OBJECT_RULE)
    link = file.link("base_link")
    file.mass(link, item.mass, (0.0, 0.0, 0.0), item.inertia)
    # A hull stands in for walls where that is faster; here the walls themselves touch everything.
    for index, part in enumerate(part for part in item.parts if part.role != "hull"):
        file.part(link, f"part{index}", part, look, grip)
    file.save()


def write_content(path: Path) -> None:
    """Write one ball of a vessel's contents: smooth, as in the MuJoCo model."""
    file = File(path, "object")
    part = Part("sphere", (BALL_RADIUS, 0.0, 0.0))
    link = file.link("base_link")
    file.mass(link, BALL_MASS, (0.0, 0.0, 0.0), diagonal_inertia((part,), BALL_MASS))
    file.part(link, "part0", part, file.look("colour", BALL_RGB), file.grip("grip", 0.0, "min"))
    file.save()


def write_table(around: Surroundings, path: Path) -> None:
    """Write the table of some surroundings, with its texture beside it."""
    texture = None
    if around.table_texture != "flat":
        texture = f"{path.stem}.png"
        write_png(path.parent / texture, texture_pixels(around))
    file = File(path, "object")
    part = Part("box", TABLE_HALF_SIZE)
    link = file.link("base_link")
    look = file.look("top", around.table_rgba[:3], texture and f"./{texture}")
    file.part(link, "top", part, look, file.grip("grip", around.table_friction, TABLE_RULE))
    _map_texture(file, f"{link}/visuals/top", TABLE_HALF_SIZE)
    file.save()


def _map_texture(file: File, path: str, half: Vec3) -> None:
    """Spread the texture over the table as seen from above."""
    mesh = file.usd.UsdGeom.Mesh.Get(file.stage, path)
    places = [
        (p[0] / half[0] / 2 + 0.5, p[1] / half[1] / 2 + 0.5) for p in mesh.GetPointsAttr().Get()
    ]
    kind = file.usd.Sdf.ValueTypeNames.TexCoord2fArray
    api = file.usd.UsdGeom.PrimvarsAPI(mesh)
    api.CreatePrimvar("st", kind, file.usd.UsdGeom.Tokens.vertex).Set(places)


def write_column(robot: RobotSpec, path: Path) -> None:
    """Write what the robot stands on, for show only; that of two arms carries the head."""
    file = File(path, "object")
    look = file.look("colour", COLUMN_RGB)
    link = file.link("base_link")
    base = np.mean([mount.base_position for mount in robot.mounts], axis=0)
    top = base[2] if robot.arms == 1 else HEAD[2]
    size = (COLUMN_RADII[robot.arms], (top - FLOOR) / 2, 0.0)
    place = (float(base[0]), float(base[1]), (top + FLOOR) / 2)
    file.part(link, "column", Part("cylinder", size, place), look, None)
    if robot.arms == 2:
        file.part(link, "head", Part("box", HEAD_HALF_SIZE, HEAD), look, None)
    file.save()


def texture_pixels(around: Surroundings) -> np.ndarray:
    """Return the table's pattern in its colour, uint8 (64, 64, 3), as MuJoCo draws it."""
    import mujoco

    spec = mujoco.MjSpec()
    spec.add_texture(
        name="pattern",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=getattr(mujoco.mjtBuiltin, f"mjBUILTIN_{around.table_texture.upper()}"),
        rgb1=(1.0, 1.0, 1.0),
        rgb2=(0.62, 0.62, 0.62),
        width=TEXTURE_SIZE,
        height=TEXTURE_SIZE,
    )
    pixels = spec.compile().tex_data.reshape(TEXTURE_SIZE, TEXTURE_SIZE, 3)
    repeat = 8 if around.table_texture == "checker" else 1
    return np.rint(np.tile(pixels, (repeat, repeat, 1)) * around.table_rgba[:3]).astype(np.uint8)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write an RGB picture, uint8 (height, width, 3)."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    blocks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in blocks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
