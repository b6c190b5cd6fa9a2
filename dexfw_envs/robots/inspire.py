"""Inspire-like hand: six driven and six coupled joints, in the layout of the RH56 series."""

from __future__ import annotations

import numpy as np

from dexfw_envs.robots.spec import FINGERS, HandSpec

# Finger root positions on the palm [m] along y, index to little; one finger width apart.
FINGER_ROOTS = (-0.0285, -0.0095, 0.0095, 0.0285)
FINGER_LENGTHS = (0.0325, 0.044)  # proximal and distal link [m]
FINGER_ROOT_X = 0.05  # knuckles ahead of the palm centre [m]
FINGER_ROOT_Z = -0.012  # knuckles below the palm surface [m]
FINGER_RADIUS = 0.008
THUMB_ROOT = (-0.042, -0.026, -0.004)  # [m] in the palm frame of a right hand
THUMB_LENGTHS = (0.036, 0.030, 0.028)  # metacarpal, proximal, distal [m]
THUMB_RADIUS = 0.0085
THUMB_ALONG = (0.25, 0.0, float(np.sqrt(1 - 0.25**2)))  # link direction in the opposed frame
# At yaw 0 the thumb stands 30 degrees out of the palm's plane, at 1.31 rad across the palm.
THUMB_FOLD = float(np.deg2rad(-60.0))
PALM_HALF_SIZE = (0.048, 0.038, 0.012)
PALM_MASS, WRIST_MASS = 0.35, 0.15  # [kg]
# The wrist is drawn back behind the palm's surface: what lies in the palm does not touch it.
WRIST_RADIUS = 0.020  # [m]
WRIST_END_X, WRIST_END_Z = -0.038, -0.022  # centre of its front end in the palm frame [m]
LINK_DENSITY = 1100.0  # [kg/m^3], a plastic and aluminium mix


def inspire() -> HandSpec:
    """Return the hand's joints, limits and couplings.

    Ranges and couplings follow the published description of the RH56DFX (proximal range about
    1.34 rad, thumb pitch 0.48 rad, thumb yaw 1.31 rad; intermediate = 1.064 proximal - 0.167;
    thumb proximal = 1.33 pitch - 0.08, thumb distal = 0.5 thumb proximal). Force: 10 N at a
    fingertip 8 cm from the knuckle is 0.8 Nm; 1.2 Nm allows the thumb's 15 N.
    """
    names = ["thumb_yaw", "thumb_pitch"]
    lower = [0.0, 0.0]
    upper = [1.31, 0.48]
    names += ["thumb_proximal", "thumb_distal"]
    lower += [-0.10, -0.05]
    upper += [0.60, 0.30]
    driven = [0, 1]
    couplings = [(2, 1, -0.08, 1.33), (3, 1, -0.04, 0.665)]

    for finger in FINGERS[1:]:
        root = len(names)
        names += [f"{finger}_proximal", f"{finger}_distal"]
        lower += [0.0, -0.18]
        upper += [1.34, 1.27]
        driven.append(root)
        couplings.append((root + 1, root, -0.167, 1.064))

    return HandSpec(
        name="inspire",
        joint_names=tuple(names),
        lower=tuple(lower),
        upper=tuple(upper),
        driven=tuple(driven),
        couplings=tuple(couplings),
        stiffness=8.0,
        damping=0.2,
        effort=1.2,
        source="RH56 series data sheet and public robot descriptions; geometry from primitives",
    )
