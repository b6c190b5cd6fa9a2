"""The two-arm robot of Lift and Handover: two RM75 on a column, with two Inspire-like hands."""

from __future__ import annotations

from math import cos, radians, sin, sqrt

from dexfw_envs.robots.inspire import inspire
from dexfw_envs.robots.rm75 import rm75
from dexfw_envs.robots.spec import Mount, RobotSpec

Quat = tuple[float, float, float, float]

COLUMN = (-0.48, 0.0)  # of the column's axis in the table frame, x and y [m]
SHOULDER = (0.05, 0.58)  # foot of an arm beside the column's axis and above the table [m]
HANG = radians(60.0)  # the first joint's axis points sideways and this far below level
# The hand sits on a bracket that turns it 30 degrees towards the palm's side, so that wrist and
# forearm stay clear of what two palms press between them.
WRIST = (-0.0146, 0.0, 0.0893)  # flange to palm centre, in the flange frame [m]
BRACKET = radians(30.0)
FINGERS_DOWN = radians(25.0)  # nominal: palms facing each other, fingers forward and this far down
# Right palm 8 cm behind, 31 cm right of and 24 cm above the workspace's centre, as in the nominal
# orientation.
HOME = (1.7959, 0.4604, 0.8676, 1.6330, 1.2291, -1.8420, -2.1318)
NEUTRAL = (-0.04, 0.15, 0.22)  # palm position of action zero, sideways mirrored [m]


def dual_rm75_inspire() -> RobotSpec:
    """Return the robot. Right and left are mirror images in the plane y = 0.

    The hands published with this body (PsiBot G0-R) have no public model; the hand of the
    single-arm robot takes their place, mirrored on the left.
    """
    return RobotSpec(
        name="dual_rm75_inspire",
        arm=rm75(),
        hand=inspire(),
        mounts=(_mount("right", -1.0), _mount("left", 1.0)),
        home_hand=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    )


def _mount(side: str, y: float) -> Mount:
    """Mount an arm on the side of the column that lies along y (-1 or 1)."""
    # Base: z out of the column and down, x down and inwards; quarter turns give the factor.
    half = (radians(90.0) + HANG) / 2
    tilt = FINGERS_DOWN / 2
    scale = sqrt(0.5)
    turned = (radians(90.0) - BRACKET) / 2
    base = (cos(half), -y * sin(half), sin(half), y * cos(half))
    nominal = (cos(tilt), y * cos(tilt), sin(tilt), -y * sin(tilt))

    return Mount(
        side=side,
        base_position=(COLUMN[0], COLUMN[1] + y * SHOULDER[0], SHOULDER[1]),
        base_quaternion=_scaled(base, scale),
        palm_offset=WRIST,
        palm_quaternion=(0.0, sin(turned), 0.0, cos(turned)),
        # Mirroring turns every other joint's axis round.
        home=tuple(-y * q if joint % 2 == 0 else q for joint, q in enumerate(HOME)),
        nominal_position=(NEUTRAL[0], y * NEUTRAL[1], NEUTRAL[2]),
        nominal_quaternion=_scaled(nominal, scale),
    )


def _scaled(quaternion: Quat, scale: float) -> Quat:
    w, x, y, z = quaternion
    return (scale * w, scale * x, scale * y, scale * z)
