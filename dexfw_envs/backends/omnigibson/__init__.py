"""Worlds in OmniGibson, side by side in one Isaac Sim."""

from dexfw_envs.backends.base import Capabilities
from dexfw_envs.backends.entry import BackendEntry

TIMESTEP = 1.0 / 120.0  # [s]; OmniGibson's own default

ENTRY = BackendEntry(
    make="dexfw_envs.backends.omnigibson.backend:OmniGibsonBackend",
    options=(
        "robot",
        "files",
        "cameras",
        "headless",
        "gains",
        "timestep",
        "threads",
        "friction_scale",
    ),
    capabilities=Capabilities(
        exact_restore=False, true_objects=True, parallel_worlds=True, real_time=False
    ),
    perturbations={"timestep": TIMESTEP, "friction_scale": 1.0},
    requirements="dexfw_envs.backends.omnigibson.facade.requirements:check_here",
)
