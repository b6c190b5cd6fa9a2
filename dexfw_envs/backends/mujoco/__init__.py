"""Worlds in MuJoCo, on the CPU: the backend that comes with the package."""

from dexfw_envs.backends.base import Capabilities
from dexfw_envs.backends.entry import BackendEntry
from dexfw_envs.variation import PHYSICAL

TIMESTEP = 0.0025  # [s]

ENTRY = BackendEntry(
    make="dexfw_envs.backends.mujoco.loading:make_worlds",
    options=("threads", "timestep", "friction_scale", "fault_folder"),
    capabilities=Capabilities(
        exact_restore=True,
        true_objects=True,
        parallel_worlds=True,
        real_time=False,
        penetration=True,
        varies=PHYSICAL,
    ),
    perturbations={"timestep": TIMESTEP, "friction_scale": 1.0},
)
