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

from dexfw_envs.backends.omnigibson.robot_class import dual_arm_class

RERENDERS = 3  # frames by which the renderer lags behind physics


class OmniGibson:
    """One running simulator with N scenes; OmniGibson allows one per process.

    Args:
        headless: Whether to run without a window.
    """

    def __init__(self, headless: bool = True) -> None:
        import omnigibson as og
        import torch
        from omnigibson.controllers.controller_base import ControlType as control_type  # noqa: N813
        from omnigibson.macros import gm
        from omnigibson.objects import REGISTERED_OBJECTS as registry  # noqa: N811
        from omnigibson.utils.usd_utils import RigidContactAPI as contacts  # noqa: N813

        self._og, self._torch, self._registry = og, torch, registry
        self._contacts, self._position_control = contacts, control_type.POSITION
        self.version: str = og.__version__
        for name, value in self._macros(headless).items():
            _set_macro(gm, name, value)
        self.asset_folder = str(gm.ASSET_PATH)
        self.worlds: list[Any] = []

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
        """Start the simulator and load one scene per configuration, side by side."""
        og = self._og
        if og.sim is not None:
            og.clear()
        # `Environment` takes entries out of what it is given.
        self.worlds = [
            og.Environment(configs=copy.deepcopy(dict(config)), in_vec_env=True)
            for config in configs
        ]
        og.sim.play()
        for env in self.worlds:
            env.post_play_load()

    def register_dual_arm(self, usd_path: str, urdf_path: str) -> None:
        """Make the class of the two-armed robot known to OmniGibson."""
        dual_arm_class(self._manipulation_robot(), self._classproperty(), usd_path, urdf_path)

    def _manipulation_robot(self) -> Any:
        from omnigibson.robots.manipulation_robot import ManipulationRobot

        return ManipulationRobot

    def _classproperty(self) -> Any:
        from omnigibson.utils.python_utils import classproperty

        return classproperty

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
        og = self._og
        og.shutdown()

    # --- scenes

    def add(self, world: int, entry: Mapping[str, Any]) -> None:
        """Add an object to a scene; it takes part from the next step on.

        Args:
            world: Index of the scene.
            entry: Of the configuration's "objects".
        """
        rest = {k: v for k, v in entry.items() if k not in ("type", "position", "orientation")}
        registry, env = self._registry, self.worlds[world]
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
        linear, angular = thing.get_linear_velocity(), thing.get_angular_velocity()
        return np.concatenate([_array(v) for v in (position, orientation, linear, angular)])

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

    # --- robots

    def _robot(self, world: int, name: str) -> Any:
        env = self.worlds[world]
        for robot in env.robots:
            if robot.name == name:
                return robot
        raise KeyError(f"no robot {name!r} in scene {world}")

    def joint_names(self, world: int, name: str) -> list[str]:
        """Return the joints of a robot in the order of its state."""
        robot = self._robot(world, name)
        return list(robot.joints)

    def joint_limits(self, world: int, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Read lower and upper limits of all joints [rad]."""
        robot = self._robot(world, name)
        return _array(robot.joint_lower_limits), _array(robot.joint_upper_limits)

    def joint_state(self, world: int, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Read positions [rad] and velocities [rad/s] of all joints."""
        robot = self._robot(world, name)
        return _array(robot.get_joint_positions()), _array(robot.get_joint_velocities())

    def set_gains(
        self, world: int, name: str, gains: Mapping[str, tuple[float, float, float]]
    ) -> None:
        """Set stiffness [Nm/rad], damping [Nms/rad] and effort limit [Nm] of joints by name."""
        robot = self._robot(world, name)
        for joint_name, (stiffness, damping, effort) in gains.items():
            joint = robot.joints[joint_name]
            joint.set_control_type(self._position_control, kp=stiffness, kd=damping)
            joint.max_effort = effort

    def set_friction(self, world: int, name: str, links: Sequence[str], friction: float) -> None:
        """Give links a friction that yields to a higher one of what they touch."""
        import omnigibson.lazy as lazy

        robot, env = self._robot(world, name), self.worlds[world]
        scene = env.scene
        material = lazy.omni.isaac.core.materials.PhysicsMaterial(
            prim_path=f"{scene.prim_path}/friction_{name}",
            static_friction=friction,
            dynamic_friction=friction,
        )
        rule = lazy.pxr.PhysxSchema.PhysxMaterialAPI.Apply(material.prim)
        rule.CreateFrictionCombineModeAttr().Set("max")
        for link_name in links:
            link = robot.links[link_name]
            for mesh in link.collision_meshes.values():
                mesh.apply_physics_material(material)

    def link_pose(self, world: int, name: str, link_name: str) -> tuple[np.ndarray, np.ndarray]:
        """Read a link's position [m] (3,) and orientation xyzw (4,)."""
        robot = self._robot(world, name)
        link = robot.links[link_name]
        position, orientation = link.get_position_orientation(frame="scene")
        return _array(position), _array(orientation)

    def link_paths(self, world: int, name: str) -> dict[str, str]:
        """Return the prim path of every link of a robot."""
        robot = self._robot(world, name)
        return {key: str(link.prim_path) for key, link in robot.links.items()}

    def command(self, world: int, name: str, action: np.ndarray) -> None:
        """Give a robot's controllers their joint targets [rad], in the controllers' order."""
        robot = self._robot(world, name)
        robot.apply_action(self.tensor(action))

    # --- contacts

    def impulses(self, rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
        """Read the impulses of the last physics step [Ns], (rows, columns, 3), by prim paths."""
        contacts = self._contacts
        return _array(contacts.get_impulses(prim_paths_a=list(rows), prim_paths_b=list(columns)))

    # --- cameras

    def camera_names(self, world: int) -> list[str]:
        """Return the cameras of a scene."""
        env = self.worlds[world]
        return list(env.external_sensors or {})

    def picture(self, world: int, name: str, height: int, width: int, fovy: float) -> np.ndarray:
        """Take a picture, uint8 (height, width, 3), with a vertical field of view [rad]."""
        env = self.worlds[world]
        camera = env.external_sensors[name]
        if (camera.image_height, camera.image_width) != (height, width):
            camera.image_height, camera.image_width = height, width
            self.render()
        aperture = 2.0 * camera.focal_length * float(np.tan(fovy / 2.0)) * width / height
        if abs(camera.horizontal_aperture - aperture) > 1e-3:
            camera.horizontal_aperture = aperture
            self.render()
        observation, _ = camera.get_obs()
        return np.asarray(_array(observation["rgb"])[..., :3], dtype=np.uint8)

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


def _array(values: Any) -> np.ndarray:
    """Return a tensor on any device as a float64 array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=float)


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
