"""The single-arm robot of Grasp and Pour: a Panda with a right Inspire-like hand."""

from __future__ import annotations

from dataclasses import replace
from math import cos, pi, radians, sin

from dexfw_envs.robots.inspire import inspire
from dexfw_envs.robots.panda import panda
from dexfw_envs.robots.spec import Mount, RobotSpec

# The hand sits on a bracket that turns it 30 degrees up from the flange's axis: reaching low over a
# table with level fingers would otherwise bring the Panda's sixth joint to its limit.
BRACKET = (0.025, 0.0, 0.1033)  # flange to palm centre, in the flange frame [m]
BRACKET_QUATERNION = (cos(pi / 6), 0.0, -sin(pi / 6), 0.0)  # flange z to palm x, less 30 degrees
PALM_TILT = radians(25.0)  # nominal grasp: palm down, fingers forward and this far below level


def panda_inspire() -> RobotSpec:
    """Return the robot, standing 0.65 m behind the centre of the workspace."""
    mount = Mount(
        side="right",
        base_position=(-0.65, 0.0, 0.0),
        base_quaternion=(1.0, 0.0, 0.0, 0.0),
        palm_offset=BRACKET,
        palm_quaternion=BRACKET_QUATERNION,
        # Palm 18 cm behind and 16 cm above the centre of the workspace, in the nominal orientation.
        home=(0.0, 0.1253, 0.0, -2.8756, 0.0, 3.6118, 0.0),
        nominal_position=(-0.10, 0.0, 0.20),
        nominal_quaternion=(0.0, cos(PALM_TILT / 2), 0.0, -sin(PALM_TILT / 2)),
    )

    return RobotSpec(
        name="panda_inspire",
        arm=panda(),
        hand=inspire(),
        mounts=(mount,),
        home_hand=(1.25, 0.0, 0.0, 0.0, 0.0, 0.0),
    )


def panda_inspire_upright() -> RobotSpec:
    """Return the same robot with its hand as for holding a glass: palm to the left, thumb up.

    Turning the palm down tips what it holds over to the left. Action zero is the palm turned down
    by 55 degrees, half way through a pour, and rotations reach further than in a grasp.
    """
    robot = panda_inspire()
    mount = replace(
        robot.mounts[0],
        # Palm 20 cm behind, 14 cm to the right and 18 cm above the centre of the workspace, turned
        # to the left, fingers 15 degrees below level.
        home=(-0.0796, 0.0994, -0.5395, -2.6965, 1.8969, 1.8811, -1.0709),
        nominal_position=(-0.05, 0.0, 0.20),
        nominal_quaternion=(0.298133, -0.945558, 0.039250, 0.124485),
        rotation_unit=1.3,
    )
    return replace(robot, mounts=(mount,))
