"""Franka Emika Panda: kinematics, limits and dynamics as published."""

from __future__ import annotations

from math import pi

from dexfw_envs.robots.spec import ArmSpec

HALF = pi / 2


def panda() -> ArmSpec:
    """Return the seven-joint Panda arm.

    Kinematics and limits: Franka Control Interface documentation, "Denavit-Hartenberg parameters"
    and "Limits for Panda". Masses, centres and inertias: Gaz et al., "Dynamic identification of
    the Franka Emika Panda robot", RA-L 2019. Gains are this project's choice: a critically damped
    response stiff enough that the measured pose follows the commanded one within millimetres.
    """
    return ArmSpec(
        name="panda",
        dh=(
            (0.0, 0.0, 0.333),
            (0.0, -HALF, 0.0),
            (0.0, HALF, 0.316),
            (0.0825, HALF, 0.0),
            (-0.0825, -HALF, 0.384),
            (0.0, HALF, 0.0),
            (0.088, HALF, 0.0),
        ),
        flange=0.107,
        lower=(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
        upper=(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
        velocity=(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
        effort=(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0),
        stiffness=(4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0),
        damping=(450.0, 450.0, 350.0, 350.0, 200.0, 200.0, 200.0),
        masses=(4.970684, 0.646926, 3.228604, 3.587895, 1.225946, 1.666555, 0.735522),
        centres=(
            (0.003875, 0.002081, -0.04762),
            (-0.003141, -0.02872, 0.003495),
            (0.027518, 0.039252, -0.066502),
            (-0.05317, 0.104419, 0.027454),
            (-0.011953, 0.041065, -0.038437),
            (0.060149, -0.014117, -0.010517),
            (0.010517, -0.004252, 0.061597),
        ),
        inertias=(
            (0.70337, 0.70661, 0.009117, -0.000139, 0.006772, 0.019169),
            (0.007962, 0.02811, 0.025995, -0.003925, 0.010254, 0.000704),
            (0.037242, 0.036155, 0.01083, -0.004761, -0.011396, -0.012805),
            (0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641),
            (0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229),
            (0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341),
            (0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741),
        ),
        source="Franka FCI documentation; Gaz et al., RA-L 2019",
    )
