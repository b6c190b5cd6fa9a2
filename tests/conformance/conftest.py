"""What every test of the conformance suite starts from."""

from __future__ import annotations

import pytest

from dexfw_envs.backends.omnigibson.assets import file_folder, need_files
from dexfw_envs.backends.omnigibson.description.plans import FRANKA_FILES
from dexfw_envs.backends.omnigibson.facade import requirements
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.registry import TASKS


@pytest.fixture(scope="session", autouse=True)
def what_the_backend_needs(backend_name):
    """Stop with the one message that says what is missing."""
    if backend_name == "omnigibson":
        try:
            requirements.check(requirements.look(), FRANKA_FILES)
            need_files(file_folder(None), own_robot=True)
        except requirements.MissingRequirementError as error:
            pytest.exit(str(error), returncode=4)


@pytest.fixture(params=[item.name for item in TASKS])
def task(request):
    return request.param


@pytest.fixture
def make(backend_name):
    """Make environments of the backend under test; they are closed afterwards."""
    made = []

    def build(task, num_envs=2, **options):
        if backend_name == "mujoco":
            options.setdefault("threads", 1)
        made.append(
            DexVectorEnv(task, num_envs, backend=backend_name, autoreset_mode="disabled", **options)
        )
        return made[-1]

    yield build
    for env in made:
        env.close()
