"""The facade's calls about robots; see `api`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dexfw_envs.backends.omnigibson.description.robot_class import dual_arm_class


class RobotCalls:
    """Joints, links and friction of robots; the other half of `api.OmniGibson`."""

    worlds: list[Any]
    _position_control: Any

    def tensor(self, values: Any) -> Any:
        """Return values as OmniGibson wants them."""
        raise NotImplementedError

    def _thing(self, world: int, name: str) -> Any:
        raise NotImplementedError

    def register_dual_arm(self, usd_path: str, urdf_path: str) -> None:
        """Make the class of the two-armed robot known to OmniGibson."""
        dual_arm_class(self._manipulation_robot(), self._classproperty(), usd_path, urdf_path)

    def _manipulation_robot(self) -> Any:
        from omnigibson.robots.manipulation_robot import ManipulationRobot

        return ManipulationRobot

    def _classproperty(self) -> Any:
        from omnigibson.utils.python_utils import classproperty

        return classproperty

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
        return array(robot.joint_lower_limits), array(robot.joint_upper_limits)

    def joint_state(self, world: int, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Read positions [rad] and velocities [rad/s] of all joints."""
        robot = self._robot(world, name)
        return array(robot.get_joint_positions()), array(robot.get_joint_velocities())

    def set_gains(
        self, world: int, name: str, gains: Mapping[str, tuple[float, float, float]]
    ) -> None:
        """Set stiffness [Nm/rad], damping [Nms/rad] and effort limit [Nm] of joints by name."""
        robot = self._robot(world, name)
        for joint_name, (stiffness, damping, effort) in gains.items():
            joint = robot.joints[joint_name]
            joint.set_control_type(self._position_control, kp=stiffness, kd=damping)
            joint.max_effort = effort

    def set_friction(
        self, world: int, name: str, links: Sequence[str] | None, friction: float, rule: str
    ) -> None:
        """Set the friction of links of a robot or object.

        Args:
            world: Which scene.
            name: Of the robot or object.
            links: Names of links; None for all.
            friction: Static and dynamic.
            rule: How PhysX combines it with that of what is touched: "average", "min", "max".
        """
        thing = self._thing(world, name)
        env = self.worlds[world]
        scene = env.scene
        material = self._physics_material(f"{scene.prim_path}/friction_{name}", friction, rule)
        for link_name in thing.links if links is None else links:
            link = thing.links[link_name]
            for mesh in link.collision_meshes.values():
                mesh.apply_physics_material(material)

    def _physics_material(self, path: str, friction: float, rule: str) -> Any:
        import omnigibson.lazy as lazy

        material = lazy.omni.isaac.core.materials.PhysicsMaterial(
            prim_path=path, static_friction=friction, dynamic_friction=friction
        )
        applied = lazy.pxr.PhysxSchema.PhysxMaterialAPI.Apply(material.prim)
        applied.CreateFrictionCombineModeAttr().Set(rule)
        return material

    def link_pose(self, world: int, name: str, link_name: str) -> tuple[np.ndarray, np.ndarray]:
        """Read a link's position [m] (3,) and orientation xyzw (4,)."""
        robot = self._robot(world, name)
        link = robot.links[link_name]
        position, orientation = link.get_position_orientation(frame="scene")
        return array(position), array(orientation)

    def link_paths(self, world: int, name: str) -> dict[str, str]:
        """Return the prim path of every link of a robot."""
        robot = self._robot(world, name)
        return {key: str(link.prim_path) for key, link in robot.links.items()}

    def command(self, world: int, name: str, action: np.ndarray) -> None:
        """Give a robot's controllers their joint targets [rad], in the controllers' order."""
        robot = self._robot(world, name)
        robot.apply_action(self.tensor(action))


def array(values: Any) -> np.ndarray:
    """Return a tensor on any device as a float64 array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=float)
