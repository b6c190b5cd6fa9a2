"""What every test of the conformance suite starts from."""

from __future__ import annotations

import dataclasses

import pytest
from scenes import need_drawing

from dexfw_envs.backends import backend_entry, check_backend
from dexfw_envs.backends.entry import MissingRequirementError
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.registry import TASKS

LACKING = 4  # exit code where something that the backend needs is missing


@pytest.fixture(scope="session", autouse=True)
def what_the_backend_needs(backend_name):
    """Stop with the one message that says what is missing."""
    try:
        check_backend(backend_name)
    except MissingRequirementError as error:
        pytest.exit(str(error), returncode=LACKING)


@pytest.fixture(scope="session")
def simulated(backend_name):
    """Whether scenes are set, and time passes, by computation alone."""
    return not backend_entry(backend_name).capabilities.real_time


@pytest.fixture(autouse=True)
def what_the_test_needs(request, backend_name, simulated):
    """Skip a test that is marked to need what the backend cannot do."""
    able = dataclasses.asdict(backend_entry(backend_name).capabilities)
    able["simulated"] = simulated
    for marker in request.node.iter_markers("needs"):
        for name in marker.args:
            if not able[name]:
                pytest.skip(f"backend {backend_name} has no {name}")


@pytest.fixture(params=[item.name for item in TASKS])
def task(request):
    return request.param


@pytest.fixture
def drawing(backend_name):
    """Skip where MuJoCo has no graphics to draw with; other backends bring their own."""
    if backend_name == "mujoco":
        need_drawing()


@pytest.fixture
def make(backend_name):
    """Make environments of the backend under test, of two worlds if it has several.

    They are closed afterwards.
    """
    made = []
    usual = 2 if backend_entry(backend_name).capabilities.parallel_worlds else 1

    def build(task, num_envs=usual, **options):
        try:
            env = DexVectorEnv(
                task, num_envs, backend=backend_name, autoreset_mode="disabled", **options
            )
        except MissingRequirementError as error:
            pytest.exit(str(error), returncode=LACKING)
        made.append(env)
        return env

    yield build
    for env in made:
        env.close()
