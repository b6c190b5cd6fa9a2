"""L1: signatures of OmniGibson's true classes, imported without Isaac Sim."""

import importlib
import inspect

import pytest
from real import need_package

from dexfw_envs.backends.omnigibson.description import contract
from dexfw_envs.backends.omnigibson.description.contract import HANDLES, USES

IMPORTABLE = [use for use in USES if use.owner not in ("og", "sim", "physics")]


def resolve(path):
    """The object at a dotted path below the package."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        name = "omnigibson." + ".".join(parts[:end])
        if importlib.util.find_spec(name) is not None if end == 1 else _is_module(name):
            found = importlib.import_module(name)
            for part in parts[end:]:
                found = getattr(found, part)
            return found
    raise AssertionError(path)


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("name", sorted(contract.CLASSES))
def test_constructors_take_the_keys(name):
    need_package()
    signature = inspect.signature(resolve(contract.CLASSES[name]).__init__)
    known = [p.name for p in signature.parameters.values() if p.kind != p.VAR_KEYWORD][1:]
    assert sorted(contract.KEYS[name]) == sorted(known)


@pytest.mark.parametrize("use", IMPORTABLE, ids=lambda use: f"{use.owner}.{use.member}")
def test_members_are_what_the_table_says(use):
    need_package()
    owner = resolve(HANDLES[use.owner])
    if use.kind == "property":
        found = inspect.getattr_static(owner, use.member)
        assert not inspect.isfunction(found)
    elif use.kind == "method":
        bound = inspect.signature(getattr(owner, use.member))
        bound.bind(None, **dict.fromkeys(use.parameters))
    else:
        assert hasattr(owner, use.member)


WRITTEN = ("light.color", "light.intensity", "camera.image_height", "camera.horizontal_aperture")


@pytest.mark.parametrize("name", [*WRITTEN, "camera.image_width", "joint.max_effort"])
def test_properties_that_we_set_can_be_set(name):
    need_package()
    handle, member = name.split(".")
    assert inspect.getattr_static(resolve(HANDLES[handle]), member).fset is not None


def test_the_environment_and_what_stands_at_the_top():
    og = need_package()
    assert og.__version__ == "1.1.1"
    inspect.signature(og.Environment.__init__).bind(None, configs={}, in_vec_env=True)
    assert {"FrankaPanda"} <= set(og.REGISTERED_ROBOTS)
    assert {"USDObject", "LightObject"} <= set(og.REGISTERED_OBJECTS)
    assert {"Scene"} <= set(og.REGISTERED_SCENES) and "DummyTask" in og.REGISTERED_TASKS
    from omnigibson.utils.usd_utils import RigidContactAPI

    assert type(RigidContactAPI).__name__ == HANDLES["contacts"].split(".")[-1]


def test_macros_can_be_set_before_they_are_read():
    need_package()
    from omnigibson.macros import MacroDict

    from dexfw_envs.backends.omnigibson.facade.api import _set_macro

    macros = MacroDict()
    macros.HEADLESS = False
    _set_macro(macros, "HEADLESS", True)
    assert macros["HEADLESS"] is True
    assert macros.HEADLESS is True  # reading it so locks it
    _set_macro(macros, "HEADLESS", True)  # the same is no change
    with pytest.raises(RuntimeError, match="already runs in this process with HEADLESS=True"):
        _set_macro(macros, "HEADLESS", False)
