"""RealMan RM75-6F: kinematics, limits and dynamics as published."""

from __future__ import annotations

from math import pi, radians

import numpy as np

from dexfw_envs.robots.spec import ARM_RADII, ArmSpec

HALF = pi / 2
# Of every link, in its frame: mass [kg]; centre of mass x, y, z [mm]; inertia about the frame's
# origin Lxx, Lxy, Lxz, Lyy, Lyz, Lzz [kg mm^2]. The last row is the flange with the force sensor.
LINKS = (
    (1.574, (0.241, -13.273, -9.95), (2920.666, 14.703, -4.131, 2476.942, -28.462, 1727.926)),
    (1.217, (-0.357, -106.798, 5.329), (17404.207, -43.488, -3.297, 927.428, 108.523, 17319.77)),
    (1.110, (0.003, -10.398, -11.324), (2099.034, 2.292, -4.181, 1641.235, -93.542, 1182.557)),
    (0.685, (-0.005, -84.658, 4.747), (6204.576, -0.819, -0.615, 388.441, 43.054, 6162.881)),
    (0.619, (0.078, -12.937, -8.781), (778.615, 2.261, -0.921, 590.169, -35.324, 473.863)),
    (0.602, (-0.014, -78.524, 2.819), (4499.867, -0.802, -0.444, 294.76, 12.831, 4478.261)),
    (0.248, (-0.426, 0.237, -27.223), (308.844, -3.781, -1.468, 304.616, 0.888, 122.62)),
)


def rm75() -> ArmSpec:
    """Return the seven-joint RM75 with the six-axis force sensor in its flange.

    Kinematics, joint ranges (178, 130, 178, 135, 178, 128 and 360 degrees) and link dynamics:
    RealMan's documentation, "RM75 series, D-H model and parameters". Speeds and efforts: RealMan's
    robot description of the RM75. Gains are this project's choice: a critically damped response
    stiff enough that two pressing hands stay where they are commanded within a centimetre.
    """
    limits = tuple(radians(angle) for angle in (178.0, 130.0, 178.0, 135.0, 178.0, 128.0, 360.0))
    moments = tuple(_inertia_about_centre(*link) for link in LINKS)
    return ArmSpec(
        name="rm75",
        dh=(
            (0.0, 0.0, 0.2405),
            (0.0, -HALF, 0.0),
            (0.0, HALF, 0.256),
            (0.0, -HALF, 0.0),
            (0.0, HALF, 0.210),
            (0.0, -HALF, 0.0),
            (0.0, HALF, 0.1725),
        ),
        flange=0.0,  # the last frame lies on the flange's face
        lower=tuple(-limit for limit in limits),
        upper=limits,
        velocity=(3.14, 3.14, 3.92, 3.92, 3.92, 3.92, 3.92),
        effort=(60.0, 60.0, 30.0, 30.0, 10.0, 10.0, 10.0),
        stiffness=(3000.0, 3000.0, 2000.0, 2000.0, 800.0, 800.0, 800.0),
        damping=(300.0, 300.0, 200.0, 200.0, 80.0, 80.0, 80.0),
        masses=tuple(mass for mass, _, _ in LINKS),
        centres=tuple((x / 1e3, y / 1e3, z / 1e3) for _, (x, y, z), _ in LINKS),
        inertias=moments,
        source="RealMan documentation of the RM75 series (RM75-6F); RealMan robot description",
        # The last tube: the maker's meshes show 29 mm, 39 mm at the flange's ears.
        radii=(*ARM_RADII[:-1], 0.037),
    )


def _inertia_about_centre(
    mass: float, centre: tuple[float, ...], about_origin: tuple[float, ...]
) -> tuple[float, float, float, float, float, float]:
    """Move a published inertia to the centre of mass by the parallel axis theorem.

    Args:
        mass: Of the link [kg].
        centre: Centre of mass in the link frame [mm].
        about_origin: Lxx, Lxy, Lxz, Lyy, Lyz, Lzz about the frame's origin [kg mm^2].

    Returns:
        xx yy zz xy xz yz about the centre of mass [kg m^2].
    """
    c = np.array(centre)
    xx, xy, xz, yy, yz, zz = about_origin
    tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    tensor = 1e-6 * (tensor - mass * (c @ c * np.eye(3) - np.outer(c, c)))
    rows = (0, 1, 2, 0, 0, 1)
    columns = (0, 1, 2, 1, 2, 2)
    i = [float(value) for value in tensor[rows, columns]]
    return (i[0], i[1], i[2], i[3], i[4], i[5])
