"""The two-armed robot as an OmniGibson class; 1.1.1 wants one class per robot.

The class is made when OmniGibson is there: its bases are handed in, nothing is imported here.
"""

from __future__ import annotations

from typing import Any

from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.robots.spec import FINGERS, RobotSpec

CLASS_NAME = "DualRM75"


def arm_joint_names(robot: RobotSpec, side: str) -> list[str]:
    """Return an arm's joints, base first."""
    return [f"{side}_joint{i + 1}" for i in range(robot.arm.joints)]


def hand_joint_names(robot: RobotSpec, side: str) -> list[str]:
    """Return a hand's joints in the suite's order, thumb first."""
    return [f"{side}_{name}" for name in robot.hand.joint_names]


def finger_link_names(side: str) -> list[str]:
    """Return the links of all fingers, thumb first, proximal before distal."""
    thumb = [f"{side}_thumb_{part}" for part in ("base", "metacarpal", "proximal", "distal")]
    rest = [f"{side}_{finger}_{part}" for finger in FINGERS[1:] for part in ("proximal", "distal")]
    return thumb + rest


def ignored_pairs(robot: RobotSpec) -> list[tuple[str, str]]:
    """Return links of one side that may overlap: all but thumb against fingers, as in MuJoCo."""
    pairs = []
    for side in (mount.side for mount in robot.mounts):
        arm = [f"{side}_base", *(f"{side}_link{i + 1}" for i in range(robot.arm.joints))]
        names = [*arm, f"{side}_palm", *finger_link_names(side)]
        for index, first in enumerate(names):
            for second in names[index + 1 :]:
                thumbs = ("thumb" in first) + ("thumb" in second)
                digits = (first in names[9:]) + (second in names[9:])
                if not (thumbs == 1 and digits == 2):
                    pairs.append((first, second))
    return pairs


def dual_arm_class(base: Any, classproperty: Any, usd_path: str, urdf_path: str) -> Any:
    """Define the class, which registers itself with OmniGibson; return it.

    Args:
        base: OmniGibson's `ManipulationRobot`.
        classproperty: OmniGibson's decorator of that name.
        usd_path: The robot's USD file.
        urdf_path: Its URDF file.
    """
    robot = dual_rm75_inspire()
    sides = [mount.side for mount in robot.mounts]

    def per_side(make: Any) -> property:
        table = {side: make(side) for side in sides}
        return property(lambda self: dict(table))

    def refuse(self: Any) -> None:
        raise ValueError("this robot has no discrete actions")

    def default_controllers(self: Any) -> dict[str, str]:
        names = base._default_controllers.fget(self)
        names |= {f"gripper_{side}": "MultiFingerGripperController" for side in sides}
        return names

    body = {
        "__module__": __name__,
        "__doc__": "Two RM75 arms on a column with two Inspire-like hands.",
        "__init__": _initializer(base),
        "n_arms": classproperty(lambda cls: len(sides)),
        "arm_names": classproperty(lambda cls: list(sides)),
        "controller_order": property(lambda self: [f"{g}_{s}" for s in sides for g in GROUPS]),
        "_default_controllers": property(default_controllers),
        "_default_joint_pos": property(lambda self: _zeros(self, robot)),
        "_create_discrete_action_space": refuse,
        "discrete_action_list": property(refuse),
        "usd_path": property(lambda self: usd_path),
        "urdf_path": property(lambda self: urdf_path),
        # Only inverse kinematics would read it, which the suite does by itself.
        "robot_arm_descriptor_yamls": per_side(lambda side: ""),
        "arm_link_names": per_side(lambda s: [f"{s}_link{i + 1}" for i in range(robot.arm.joints)]),
        "arm_joint_names": per_side(lambda side: arm_joint_names(robot, side)),
        "eef_link_names": per_side(lambda side: f"{side}_palm"),
        "finger_link_names": per_side(finger_link_names),
        "finger_joint_names": per_side(lambda side: hand_joint_names(robot, side)),
        "disabled_collision_pairs": property(lambda self: [list(p) for p in ignored_pairs(robot)]),
    }
    return type(base)(CLASS_NAME, (base,), body)


GROUPS = ("arm", "gripper")


def _initializer(base: Any) -> Any:
    """Write the arguments out: OmniGibson drops those that a signature does not name."""

    def __init__(
        self: Any,
        name: str,
        relative_prim_path: str | None = None,
        scale: Any = None,
        visible: bool = True,
        visual_only: bool = False,
        self_collisions: bool = True,
        load_config: Any = None,
        fixed_base: bool = True,
        abilities: Any = None,
        control_freq: float | None = None,
        controller_config: Any = None,
        action_type: str = "continuous",
        action_normalize: bool = True,
        reset_joint_pos: Any = None,
        obs_modalities: Any = ("rgb", "proprio"),
        proprio_obs: Any = "default",
        sensor_config: Any = None,
        grasping_mode: str = "physical",
    ) -> None:
        given = {key: value for key, value in locals().items() if key not in ("self", "base")}
        base.__init__(self, grasping_direction="upper", **given)

    return __init__


def _zeros(self: Any, robot: RobotSpec) -> Any:
    import torch

    return torch.zeros(len(robot.mounts) * (robot.arm.joints + len(robot.hand.joint_names)))
