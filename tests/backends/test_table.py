"""The table of backends: what each states of itself, and what scripts may ask of it."""

import inspect
import subprocess
import sys

import pytest

from dexfw_envs.backends import (
    backend_entry,
    backend_names,
    backend_options,
    check_backend,
    make_backend,
    options_for,
)
from dexfw_envs.backends.mujoco import TIMESTEP as MUJOCO_STEP
from dexfw_envs.backends.mujoco.backend import MujocoBackend
from dexfw_envs.backends.omnigibson import TIMESTEP as OMNIGIBSON_STEP
from dexfw_envs.backends.omnigibson.backend import OmniGibsonBackend
from dexfw_envs.registry import entry
from dexfw_envs.runs.settings import ScriptArgs, parse

CLASSES = {"mujoco": MujocoBackend, "omnigibson": OmniGibsonBackend}

REAL_ARM = """
from dexfw_envs.backends.base import Capabilities
from dexfw_envs.backends.entry import BackendEntry, MissingRequirementError

ENTRY = BackendEntry(
    make="my_package.real_arm:Arm",
    options=("address",),
    capabilities=Capabilities(
        exact_restore=False, true_objects=False, parallel_worlds=False, real_time=True
    ),
    requirements="my_package.real_arm:check",
)


class Arm:
    def __init__(self, needs, num_worlds, address="here"):
        self.place = (needs, num_worlds, address)


def check():
    raise MissingRequirementError("no arm answers")
"""


@pytest.fixture
def real_arm(tmp_path, monkeypatch):
    """The name of a backend of a user's own, which has one option and nothing to perturb."""
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "real_arm.py").write_text(REAL_ARM)
    (folder / "no_backend.py").write_text("ENTRY = 'something else'\n")
    (folder / "broken.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_package.real_arm"
    for name in [name for name in sys.modules if name.startswith("my_package")]:
        del sys.modules[name]


def test_folders_with_an_entry_are_the_backends():
    assert set(backend_names()) == set(CLASSES), "mjcf, which builds models, is none"


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_entry_states_what_its_class_takes(name):
    _, _, *options = inspect.signature(CLASSES[name]).parameters
    assert set(backend_options(name)) == set(options)
    assert set(backend_entry(name).perturbations) <= set(options)
    assert CLASSES[name].capabilities == backend_entry(name).capabilities


def test_the_table_imports_no_simulator():
    code = (
        "import sys\n"
        "from dexfw_envs.backends import backend_names, options_for\n"
        "for name in backend_names():\n"
        "    options_for(name, 2, 0.5, 0.5)\n"
        "assert not {'mujoco', 'omnigibson', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_module_of_ones_own_is_a_backend(real_arm):
    worlds = make_backend(real_arm, entry("Grasp").make().needs, 1, address="there")
    assert worlds.place[1:] == (1, "there")
    with pytest.raises(TypeError, match=r"'threads'.* valid options of .*real_arm': address"):
        make_backend(real_arm, entry("Grasp").make().needs, 1, threads=2)
    with pytest.raises(RuntimeError, match="no arm answers"):
        check_backend(real_arm)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bullet", "unknown backend 'bullet'; choose one of .*'mujoco'.* or the module of your"),
        ("my_package.nothing", "no module 'my_package.nothing' was found"),
        ("nowhere.at_all", "no module 'nowhere' was found"),
        ("my_package.no_backend", "'my_package.no_backend' is no backend: it has no ENTRY"),
    ],
)
def test_a_name_that_is_no_backend_is_refused(real_arm, name, message):
    with pytest.raises(ValueError, match=message):
        backend_entry(name)


def test_what_a_backend_lacks_is_named_as_python_does(real_arm):
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        backend_entry("my_package.broken")


# --- what scripts ask for


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_scales_of_one_leave_a_backend_its_own_values(name):
    assert options_for(name, threads=3) == {"threads": 3}


@pytest.mark.parametrize(
    ("name", "usual"), [("mujoco", MUJOCO_STEP), ("omnigibson", OMNIGIBSON_STEP)]
)
def test_scales_multiply_the_backends_own_values(name, usual):
    found = options_for(name, threads=1, timestep_scale=0.5, friction_scale=0.8)
    assert found == {"threads": 1, "timestep": usual * 0.5, "friction_scale": 0.8}


def test_a_backend_gets_no_option_that_it_does_not_take(real_arm):
    assert options_for(real_arm, threads=2) == {}
    with pytest.raises(ValueError, match=r"'my_package.real_arm' cannot change the physics step"):
        options_for(real_arm, threads=2, timestep_scale=0.5)
    with pytest.raises(ValueError, match="friction: its scale must be 1, got"):
        options_for(real_arm, threads=2, friction_scale=0.8)


def test_a_script_refuses_a_scale_before_it_begins(real_arm, monkeypatch):
    import my_package.real_arm as module

    monkeypatch.setattr(module, "check", lambda: None)
    words = ["--backend", real_arm, "--friction-scale", "0.8"]
    with pytest.raises(ValueError, match="cannot change friction"):
        parse(ScriptArgs, words, {"default": {}}, {"Grasp": {}})
