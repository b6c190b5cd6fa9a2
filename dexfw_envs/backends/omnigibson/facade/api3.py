"""The facade for OmniGibson 3.x. UNVERIFIED: written from public source, never run, not even built.

What differs from 1.1.1 as far as public files show: paths of Isaac Sim's modules, writes to USD
inside `sim.editing_usd()`, a scene's state one level deeper and its poses in the world frame,
robots named by `model` instead of a class (3.9), an imported one with its lowest point at 0, and
one environment of many scenes (after 3.9.1). Signatures of the tagged releases were not compared.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from dexfw_envs.backends.omnigibson.description.robot_class import CLASS_NAME
from dexfw_envs.backends.omnigibson.facade.api import OmniGibson
from dexfw_envs.backends.omnigibson.facade.importer import lowest_point
from dexfw_envs.backends.omnigibson.facade.requirements import MissingRequirementError
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.robots.tree import robot_tree

# Class of 1.1.1: robot model of 3.9 and later.
MODELS = {"FrankaPanda": "franka", CLASS_NAME: dual_rm75_inspire().name}
WARNING = (
    "omnigibson {version}: this project's layer for 3.x was written from public source and has "
    "never been run. Please run the conformance suite and report what it says; "
    "see docs/omnigibson.md"
)


class _World:
    """One scene of a batched environment, in the shape of an environment of 1.1.1."""

    def __init__(self, env: Any, index: int) -> None:
        self._env = env
        self._index = index

    @property
    def scene(self) -> Any:
        return self._env.scenes[self._index]

    @property
    def robots(self) -> Any:
        return self._env.robots[self._index]

    @property
    def external_sensors(self) -> Any:
        sensors = self._env.external_sensors
        return sensors[self._index] if sensors else None


class OmniGibson3(OmniGibson):
    """The facade of 1.1.1 with the differences of 3.x; see the module's warning."""

    def __init__(self, headless: bool = True) -> None:
        super().__init__(headless)
        warnings.warn(WARNING.format(version=self.version), RuntimeWarning, stacklevel=2)
        numbers = [int(part) for part in self.version.split(".")[:2]]
        self._by_model = (numbers[0], numbers[1]) >= (3, 9)

    def _environments(self, configs: list[dict[str, Any]]) -> list[Any]:
        if self._by_model:
            for config in configs:
                config["robots"] = [_by_model(robot) for robot in config["robots"]]
        og = self._og
        if "in_vec_env" in inspect.signature(og.Environment.__init__).parameters:
            return super()._environments(configs)
        config = configs[0]  # all alike: the session opens scenes of one kind
        config["env"]["num_envs"] = len(configs)
        env = og.Environment(configs=config)
        if self.threads is not None:
            self._set_threads()
        return [_World(env, index) for index in range(len(configs))]

    def _editing(self) -> AbstractContextManager[Any]:
        sim = self._og.sim
        return sim.editing_usd() if hasattr(sim, "editing_usd") else nullcontext()

    def _mark(self, index: int) -> None:
        with self._editing():
            super()._mark(index)

    def dump(self, world: int) -> dict[str, Any]:
        """Read the state of one scene in the form of 1.1.1: poses in the scene frame."""
        state = super().dump(world)
        if "registry" not in state:
            return state
        to_scene = self.worlds[world].scene.convert_world_pose_to_scene_relative
        things = state["registry"]["object_registry"]
        return {"object_registry": _moved(things, to_scene), "whole": state}

    def load(self, world: int, state: dict[str, Any]) -> None:
        """Set one scene to a state that `dump` gave."""
        whole = state.get("whole")
        if whole is not None:
            to_world = self.worlds[world].scene.convert_scene_relative_pose_to_world
            things = _moved(state["object_registry"], to_world)
            state = {**whole, "registry": {**whole["registry"], "object_registry": things}}
        super().load(world, state)

    def register_dual_arm(self, usd_path: str, urdf_path: str) -> None:
        """Register the class, or look for the robot's definition from 3.9 on."""
        if not self._by_model:
            super().register_dual_arm(usd_path, urdf_path)
            return
        name = dual_rm75_inspire().name
        from omnigibson.macros import gm

        folder = Path(str(gm.DATA_PATH))
        if not list(folder.glob(f"*/models/{name}/*.yaml")):
            raise MissingRequirementError(
                f"omnigibson {self.version} knows no robot {name!r}: import "
                f"{Path(usd_path).with_suffix('.urdf')} and copy {name}_definition.yaml to "
                f"{folder}/<dataset>/models/{name}/; see docs/omnigibson.md"
            )

    def _physics_material(self, path: str, friction: float, rule: str) -> Any:
        import omnigibson.lazy as lazy

        with self._editing():
            material = lazy.isaacsim.core.api.materials.PhysicsMaterial(
                prim_path=path, static_friction=friction, dynamic_friction=friction
            )
            applied = lazy.pxr.PhysxSchema.PhysxMaterialAPI.Apply(material.prim)
            applied.CreateFrictionCombineModeAttr().Set(rule)
        return material


def _moved(
    things: dict[str, Any], convert: Callable[[Any, Any], tuple[Any, Any]]
) -> dict[str, Any]:
    """Return states of things with the poses of their bodies in another frame."""
    moved = dict(things)
    for name, entry in things.items():
        root = entry.get("root_link", {})
        if "pos" in root:
            place, turn = convert(root["pos"], root["ori"])
            moved[name] = {**entry, "root_link": {**root, "pos": place, "ori": turn}}
    return moved


def _by_model(robot: dict[str, Any]) -> dict[str, Any]:
    """Return a robot's entry with a model in place of a class."""
    entry = {"model": MODELS[robot["type"]], **robot}
    if entry.pop("type") == CLASS_NAME:  # the importer puts a robot's lowest point at height 0
        x, y, z = robot["position"]
        entry["position"] = [x, y, z + lowest_point(robot_tree(dual_rm75_inspire()))]
    return entry
