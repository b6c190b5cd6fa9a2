"""The real package, imported without a GPU and without Isaac Sim, and a simulator that records.

The recording simulator knows just what our own requests need. Whatever else OmniGibson asks of it
raises `Boundary`: there Isaac Sim begins, and nothing here says what it would do.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from types import SimpleNamespace

import pytest

from dexfw_envs.backends.omnigibson.facade.requirements import TESTED, _version

NOT_HERE = f"omnigibson {TESTED} is not installed here: run `make test-omnigibson`"


def need_package():
    """Import the package, or skip and say why."""
    if _version("omnigibson") != TESTED or importlib.util.find_spec("torch") is None:
        pytest.skip(NOT_HERE)
    return _load()


@cache
def _load():
    """Import with tensors for the GPU made on the processor, which three of its classes ask for."""
    import signal

    import torch
    from torch.overrides import TorchFunctionMode

    class OnProcessor(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = dict(kwargs or {})
            if kwargs.get("device") == "cuda" and not torch.cuda.is_available():
                kwargs["device"] = "cpu"
            return function(*args, **kwargs)

    handler = signal.getsignal(signal.SIGINT)
    with OnProcessor():
        import omnigibson as og
    signal.signal(signal.SIGINT, handler)  # the package puts its own there
    assert "isaacsim" not in sys.modules
    return og


class BoundaryError(AssertionError):
    """OmniGibson asked for something that only Isaac Sim can give."""


class RecordingSim:
    """Stands where `og.sim` stands; remembers what it was asked."""

    def __init__(self, calls, **launched):
        self.calls, self.launched = calls, launched
        self.scenes, self.playing = [], False
        self.device = launched["device"]
        self.initial_physics_dt = launched["physics_dt"]
        self.initial_rendering_dt = launched["rendering_dt"]
        self.viewer_width, self.viewer_height = launched["viewer_width"], launched["viewer_height"]

    def __getattr__(self, name):
        raise BoundaryError(f"og.sim.{name}")

    def get_sim_step_dt(self):
        return self.launched["sim_step_dt"]

    def is_stopped(self):
        return not self.playing

    def is_playing(self):
        return self.playing

    def import_scene(self, scene):
        self.calls.append(("import_scene", type(scene).__name__, scene))
        self.scenes.append(scene)

    def play(self):
        self.calls.append(("play",))
        self.playing = True

    def stop(self):
        self.calls.append(("stop",))
        self.playing = False

    def step(self):
        self.calls.append(("step",))


@pytest.fixture
def recorder(monkeypatch):
    """Replace the launch, and the few methods that reach into Isaac Sim, by ones that record."""
    og = need_package()
    from omnigibson.envs.env_base import Environment
    from omnigibson.prims.entity_prim import EntityPrim
    from omnigibson.prims.xform_prim import XFormPrim
    from omnigibson.robots.manipulation_robot import ManipulationRobot
    from omnigibson.scenes.scene_base import Scene
    from omnigibson.sensors.vision_sensor import VisionSensor

    from dexfw_envs.backends.omnigibson.facade.api import OmniGibson

    calls, added = [], {}

    def launch(**settings):
        calls.append(("launch", settings))
        og.sim = RecordingSim(calls, **settings)

    def add_object(self, obj, register=True):
        calls.append(("add_object", self, obj))
        added.setdefault(id(self), []).append(obj)

    def pose(self, position=None, orientation=None, frame="world"):
        calls.append(("pose", self.name, position, orientation, frame))

    def place(self):
        import torch

        return torch.tensor([10.0 * og.sim.scenes.index(self), 0.0, 0.0]), torch.tensor(
            [0, 0, 0, 1]
        )

    def robots(self):
        kinds = [obj for obj in added.get(id(self), []) if isinstance(obj, ManipulationRobot)]
        return sorted(kinds, key=lambda robot: robot.name)

    monkeypatch.setattr(og, "sim", None)
    monkeypatch.setattr(og, "launch", launch)
    monkeypatch.setattr(Scene, "add_object", add_object)
    monkeypatch.setattr(Scene, "robots", property(robots))
    monkeypatch.setattr(Scene, "get_position_orientation", place)
    for kind in (XFormPrim, EntityPrim, ManipulationRobot):
        monkeypatch.setattr(kind, "set_position_orientation", pose)
    monkeypatch.setattr(VisionSensor, "load", lambda self, s: calls.append(("load", self.name)))
    monkeypatch.setattr(VisionSensor, "initialize", lambda self: calls.append(("ready", self.name)))
    monkeypatch.setattr(
        OmniGibson, "_set_threads", lambda self: calls.append(("threads", self.threads))
    )
    monkeypatch.setattr(
        Environment, "post_play_load", lambda self: calls.append(("post_play_load", self))
    )
    return SimpleNamespace(og=og, calls=calls, added=added)


def flat(calls, kind):
    """The calls of one kind, without it."""
    return [call[1:] for call in calls if call[0] == kind]
