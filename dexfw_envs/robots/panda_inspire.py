"""The single-arm robot of Grasp and Pour: a Panda with a right Inspire-like hand."""

from __future__ import annotations

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
