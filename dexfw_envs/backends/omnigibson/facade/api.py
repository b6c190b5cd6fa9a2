"""The one module that touches OmniGibson 1.1.1: thin, and all of it in the contract's table.

Values pass in and out as NumPy arrays in the scene frame with OmniGibson's own quaternions (xyzw);
`frames` converts. Variable names of OmniGibson's handles are those of `contract.HANDLES`: a test
reads this file by them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dexfw_envs.backends.omnigibson.description.configs import SPACING
from dexfw_envs.backends.omnigibson.description.scene_class import GRAIN, scene_class
from dexfw_envs.backends.omnigibson.facade.api_robots import RobotCalls, array

RERENDERS = 3  # frames by which the renderer lags behind physics


class OmniGibson(RobotCalls):
    """One running simulator with N scenes; OmniGibson allows one per process.

    Args:
        headless: Whether to run without a window.
    """

    def __init__(self, headless: bool = True) -> None:
        import omnigibson as og
        import torch
        from omnigibson.controllers.controller_base import ControlType as control_type
        from omnigibson.macros import gm
        from omnigibson.objects import REGISTERED_OBJECTS as registry
        from omnigibson.scenes.scene_base import Scene
        from omnigibson.utils.usd_utils import RigidContactAPI as contacts

        self._og = og
        self._torch = torch
        self._registry = registry
        self._contacts = contacts
        self._position_control = control_type.POSITION
        self.version: str = og.__version__
        for name, value in self._macros(headless).items():
            _set_macro(gm, name, value)
        self.worlds: list[Any] = []
        self.threads: int | None = None  # of physics; its own choice if None
        scene_class(Scene, self._mark)

    def _macros(self, headless: bool) -> dict[str, bool]:
        """Return the macros: rigid bodies on the processor, and none of what we never ask for."""
        return {
            "HEADLESS": headless,
            "USE_GPU_DYNAMICS": False,
            "ENABLE_FLATCACHE": False,
            "ENABLE_OBJECT_STATES": False,
            "ENABLE_TRANSITION_RULES": False,
            "RENDER_VIEWER_CAMERA": not headless,
        }

    # --- simulator

    def open(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Load one more scene per configuration; all scenes then start from where they began."""
        og = self._og
        if og.sim is not None:
            sim = og.sim
            sim.stop()
        # `Environment` takes entries out of what it is given.
        self.worlds += self._environments([copy.deepcopy(dict(config)) for config in configs])
        self._check_places()

    def _environments(self, configs: list[dict[str, Any]]) -> list[Any]:
        og = self._og
        new = [og.Environment(configs=config, in_vec_env=True) for config in configs]
        if self.threads is not None:
            self._set_threads()
        sim = og.sim
        sim.play()
        for env in new:
            env.post_play_load()
        return new

    def _mark(self, index: int) -> None:
        """Put a grain below the floor of a scene under construction; see `scene_class`."""
        import omnigibson.lazy as lazy

        sim = self._og.sim
        path = f"/World/scene_{index}"
        side, height = GRAIN
        lazy.pxr.UsdGeom.Xform.Define(sim.stage, path)
        grain = lazy.pxr.UsdGeom.Cube.Define(sim.stage, f"{path}/grain")
        grain.CreateSizeAttr(side)
        grain.AddTranslateOp().Set(lazy.pxr.Gf.Vec3d(0.0, 0.0, height))

    def _check_places(self) -> None:
        """Raise unless every scene stands apart from the others.

        Raises:
            RuntimeError: Names the places; physics would be that of scenes in one another.
        """
        places = []
        for env in self.worlds:
            scene = env.scene
            places.append(array(scene.get_position_orientation()[0])[0])
        if not (np.diff(sorted(places)) > 0.9 * SPACING).all():
            raise RuntimeError(
                f"OmniGibson put the scenes at x = {np.round(places, 2).tolist()} m, which is not "
                f"{SPACING} m apart: please report it; see docs/omnigibson.md"
            )

    def _set_threads(self) -> None:
        """Tell PhysX before it starts on how many threads to run."""
        import omnigibson.lazy as lazy

        lazy.carb.settings.get_settings().set_int("/persistent/physics/numThreads", self.threads)

    def step(self) -> None:
        """Advance all scenes by one control period."""
        sim = self._og.sim
        sim.step()

    def render(self) -> None:
        """Draw until what is seen is what is simulated."""
        sim = self._og.sim
        for _ in range(RERENDERS):
            sim.render()

    def refresh(self) -> None:
        """Let poses of links follow joints that were set, without time passing."""
        sim = self._og.sim
        physics = sim.pi
        physics.update_simulation(elapsedStep=0, currentTime=sim.current_time)

    @property
    def running(self) -> bool:
        """Whether scenes are loaded and physics runs."""
        sim = self._og.sim
        return sim is not None and bool(self.worlds) and bool(sim.is_playing())

    def shutdown(self) -> None:
        """End Isaac Sim, and with it perhaps this process."""
        self._og.shutdown()

    # --- scenes

    def add(self, world: int, entry: Mapping[str, Any]) -> None:
        """Add an object to a scene; it takes part from the next step on.

        Args:
            world: Index of the scene.
            entry: Of the configuration's "objects".
        """
        rest = {k: v for k, v in entry.items() if k not in ("type", "position", "orientation")}
        registry = self._registry
        env = self.worlds[world]
        scene = env.scene
        thing = registry[entry["type"]](**copy.deepcopy(rest))
        scene.add_object(thing)
        position, orientation = (self.tensor(entry[k]) for k in ("position", "orientation"))
        thing.set_position_orientation(position=position, orientation=orientation, frame="scene")

    def _thing(self, world: int, name: str) -> Any:
        env = self.worlds[world]
        scene = env.scene
        return scene.object_registry("name", name)

    def dump(self, world: int) -> dict[str, Any]:
        """Read the state of one scene as nested dictionaries of tensors."""
        env = self.worlds[world]
        scene = env.scene
        return scene.dump_state(serialized=False)

    def load(self, world: int, state: dict[str, Any]) -> None:
        """Set one scene to a state; no time passes in it or in any other."""
        env = self.worlds[world]
        scene = env.scene
        scene.load_state(state, serialized=False)

    def body(self, world: int, name: str) -> np.ndarray:
        """Read an object: position [m], xyzw, linear [m/s] and angular velocity [rad/s], (13,)."""
        thing = self._thing(world, name)
        position, orientation = thing.get_position_orientation(frame="scene")
        linear = thing.get_linear_velocity()
        angular = thing.get_angular_velocity()
        return np.concatenate([array(v) for v in (position, orientation, linear, angular)])

    def body_path(self, world: int, name: str) -> str:
        """Return the prim path of an object's body."""
        thing = self._thing(world, name)
        link = thing.root_link
        return str(link.prim_path)

    def set_light(
        self, world: int, name: str, color: Sequence[float], intensity: float,
        position: np.ndarray,
    ) -> None:  # fmt: skip
        """Change colour, intensity and place [m] of a light."""
        light = self._thing(world, name)
        light.color = tuple(float(channel) for channel in color)
        light.intensity = float(intensity)
        light.set_position_orientation(position=self.tensor(position), frame="scene")

    # --- contacts

    def impulses(self, rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
        """Read the impulses of the last physics step [Ns], (rows, columns, 3), by prim paths."""
        contacts = self._contacts
        return array(contacts.get_impulses(prim_paths_a=list(rows), prim_paths_b=list(columns)))

    def touching(self, world: int, name: str) -> set[str]:
        """Return prim paths of all that touches an object, things that cannot move included."""
        thing = self._thing(world, name)
        return {str(body) for c in thing.contact_list() for body in (c.body0, c.body1)}

    # --- cameras

    def picture(self, world: int, name: str, height: int, width: int, fovy: float) -> np.ndarray:
        """Take a picture, uint8 (height, width, 3), with a vertical field of view [rad]."""
        env = self.worlds[world]
        camera = env.external_sensors[name]
        if (camera.image_height, camera.image_width) != (height, width):
            camera.image_height = height
            camera.image_width = width
            self.render()
        aperture = 2.0 * camera.focal_length * float(np.tan(fovy / 2.0)) * width / height
        if abs(camera.horizontal_aperture - aperture) > 1e-3:
            camera.horizontal_aperture = aperture
            self.render()
        observation, _ = camera.get_obs()
        return np.asarray(array(observation["rgb"])[..., :3], dtype=np.uint8)

    def look(self, position: np.ndarray, orientation: np.ndarray) -> None:
        """Place the window's camera, in world coordinates."""
        sim = self._og.sim
        camera = sim.viewer_camera
        camera.set_position_orientation(
            position=self.tensor(position), orientation=self.tensor(orientation)
        )
        sim.render()

    def tensor(self, values: Any) -> Any:
        """Return values as OmniGibson wants them: a float32 tensor."""
        return self._torch.as_tensor(np.asarray(values, dtype=np.float32))


def _set_macro(gm: Any, name: str, value: bool) -> None:
    """Set a macro before the simulator reads it."""
    if gm[name] == value:  # reading by key does not lock it
        return
    try:
        setattr(gm, name, value)
    except AttributeError as error:
        raise RuntimeError(
            f"OmniGibson already runs in this process with {name}={gm[name]}, and {value} is "
            "needed: start a new process"
        ) from error
