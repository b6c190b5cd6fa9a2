"""L3: the real `Environment` runs our configurations on a simulator that only records."""

import copy
import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from real import BoundaryError, flat, recorder  # noqa: F401 (a fixture)
from script_calls import call
from source import ROOT

from dexfw_envs.backends.layout import CAMERAS
from dexfw_envs.backends.omnigibson import TIMESTEP, backend, session
from dexfw_envs.backends.omnigibson.description import configs, plans
from dexfw_envs.backends.omnigibson.description.contract import SCENE_MARGIN
from dexfw_envs.backends.omnigibson.description.frames import to_scene
from dexfw_envs.backends.omnigibson.description.scene_class import CLASS_NAME as SCENE
from dexfw_envs.backends.omnigibson.facade import requirements
from dexfw_envs.backends.omnigibson.facade.api import RERENDERS, OmniGibson
from dexfw_envs.registry import TASKS, entry
from dexfw_envs.tasks.grasp import GraspTask
from dexfw_envs.tasks.lift import LiftTask

FILES = Path("/files")


def config_of(task, robot=None, **changes):
    needs = task().needs
    settings = configs.Settings(FILES, **changes)
    return configs.scene_config(plans.make_plan(needs.robot, robot), needs, settings)


@pytest.fixture
def started(recorder):  # noqa: F811
    """The real facade on the recording simulator."""
    facade = OmniGibson(headless=True)
    facade.register_dual_arm(str(FILES / "robot.usda"), str(FILES / "robot.urdf"))
    return facade, recorder.calls


def test_the_simulator_is_launched_as_asked(started):
    facade, calls = started
    config = config_of(GraspTask, timestep=0.0025, cameras=("front",))
    before = copy.deepcopy(config)
    facade.open([config, config])
    assert config == before, "what we hand in stays as it was"
    [[settings]] = flat(calls, "launch")
    assert settings["physics_dt"] == pytest.approx(0.0025)
    assert settings["rendering_dt"] == settings["sim_step_dt"] == pytest.approx(0.05)
    assert (settings["viewer_width"], settings["viewer_height"]) == configs.VIEWER_SIZE
    assert [call[0] for call in calls].index("play") > max(
        index for index, call in enumerate(calls) if call[0] == "add_object"
    )
    assert len(flat(calls, "play")) == 1 and len(flat(calls, "post_play_load")) == 2
    assert len(facade.worlds) == 2


def test_macros_are_set_before_the_simulator_reads_them(started):
    from omnigibson.macros import gm

    assert gm["HEADLESS"] is True and gm["USE_GPU_DYNAMICS"] is False
    assert gm["ENABLE_OBJECT_STATES"] is False and gm["RENDER_VIEWER_CAMERA"] is False


@pytest.mark.parametrize("task", [item.name for item in TASKS])
def test_every_task_is_loaded_whole(started, task):
    facade, calls = started
    kind = type(entry(task).make())
    config = config_of(kind, cameras=tuple(CAMERAS[kind().needs.robot.arms]))
    facade.open([config])
    [[kind_of_scene, scene]] = flat(calls, "import_scene")
    assert kind_of_scene == SCENE and not scene._use_skybox
    added = [thing.name for _, thing in flat(calls, "add_object")]
    expected = [e["name"] for e in (*config["robots"], *config["objects"])]
    assert added == expected, "robots first, then objects, as 1.1.1 does"
    poses = {name: (place, turn, frame) for name, place, turn, frame in flat(calls, "pose")}
    sensors = config["env"]["external_sensors"]
    for item in (*config["robots"], *config["objects"], *sensors):
        place, turn, frame = poses[item["name"]]
        assert frame == "scene"
        assert np.allclose(place, item["position"], atol=1e-6)
        assert np.allclose(turn, item["orientation"], atol=1e-6)
    assert [name for (name,) in flat(calls, "load")] == [sensor["name"] for sensor in sensors]
    assert [name for (name,) in flat(calls, "ready")] == [sensor["name"] for sensor in sensors]
    assert list(facade.worlds[0].external_sensors) == [sensor["name"] for sensor in sensors]
    env = facade.worlds[0]
    assert type(env.task).__name__ == "DummyTask" and not env.task._termination_conditions
    assert env._automatic_reset is False and env._flatten_action_space is False


def test_a_second_opening_stops_and_plays_again(started):
    facade, calls = started
    facade.open([config_of(LiftTask)])
    calls.clear()
    facade.open([config_of(LiftTask)])
    kinds = [call[0] for call in calls]
    assert kinds[0] == "stop" and kinds.count("play") == 1 and "launch" not in kinds
    assert len(facade.worlds) == 2


def test_another_physics_step_in_one_process_is_refused_by_omnigibson(started):
    """Why the session refuses it first, with a message that says what to do."""
    facade, _ = started
    facade.open([config_of(GraspTask)])
    with pytest.raises(AssertionError, match="Physics frequency mismatch"):
        facade.open([config_of(GraspTask, timestep=0.005)])


def test_an_object_is_added_while_the_simulator_plays(started):
    facade, calls = started
    facade.open([config_of(GraspTask)])
    spot = np.array([-3.0, 0.0, -0.7])
    calls.clear()
    facade.add(0, configs.object_entry(configs.Settings(FILES), "pear", 0, spot))
    [[scene, thing]] = flat(calls, "add_object")
    assert scene is facade.worlds[0].scene
    assert type(thing).__name__ == "USDObject" and thing.usd_path == "/files/pear.usda"
    [[name, place, turn, frame]] = flat(calls, "pose")
    assert (name, frame) == ("pear_0", "scene")
    assert np.allclose(place, to_scene(spot), atol=1e-6) and turn.tolist() == [0, 0, 0, 1]


# --- scenes side by side


class FakePrim:
    """A scene's prim: remembers where it was put."""

    def __init__(self, relative_prim_path, name):
        self.prim_path = f"/World{relative_prim_path}"

    def load(self, scene):
        pass

    def set_position_orientation(self, position, orientation=None):
        import torch

        self.position = torch.as_tensor(position, dtype=torch.float32)

    def get_position_orientation(self):
        import torch

        return self.position, torch.tensor([0.0, 0.0, 0.0, 1.0])


@pytest.fixture
def load_scenes(recorder, monkeypatch):  # noqa: F811
    """The release's own loading of three scenes of a class, with USD's own bounding boxes."""
    pytest.importorskip("pxr", reason="usd-core is not installed here")
    from omnigibson.scenes import scene_base
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.CreateInMemory()
    UsdGeom.Xform.Define(stage, "/World")
    sim = SimpleNamespace(stage=stage, is_stopped=lambda: True, add_ground_plane=lambda **_: None)

    def box(path):  # the scene's box at the stage's origin; Isaac Sim gives an empty one inverted
        prim = stage.GetPrimAtPath(path)
        cache = UsdGeom.BBoxCache(Usd.TimeCode.Default(), ["default"])
        found = cache.ComputeWorldBound(prim).ComputeAlignedRange() if prim else None
        empty = found is None or found.IsEmpty()
        return ([3.4e38] * 3, [-3.4e38] * 3) if empty else (found.GetMin(), found.GetMax())

    context = SimpleNamespace(compute_path_world_bounding_box=box)
    usd = SimpleNamespace(get_context=lambda: context)
    monkeypatch.setattr(scene_base, "lazy", SimpleNamespace(omni=SimpleNamespace(usd=usd)))
    monkeypatch.setattr(scene_base, "XFormPrim", FakePrim)
    monkeypatch.setattr(recorder.og, "sim", sim)

    def load(kind):
        places, edge = [], None
        for index in range(3):
            scene = kind(use_skybox=False)
            edge = scene.load(index, last_scene_edge=edge, initial_scene_prim_z_offset=-100.0,
                              scene_margin=SCENE_MARGIN)  # fmt: skip
            places.append(scene._scene_prim.position.tolist())
        return places

    return load


def test_scenes_are_put_side_by_side(load_scenes, recorder):  # noqa: F811
    OmniGibson(headless=True)
    places = np.array(load_scenes(recorder.og.REGISTERED_SCENES[SCENE]))
    assert np.allclose(places[:, 0], SCENE_MARGIN * np.arange(3), atol=0.05)
    assert np.allclose(places[:, 1:], 0.0)


def test_why_the_scene_is_of_a_class_of_our_own(load_scenes, recorder):  # noqa: F811
    places = np.array(load_scenes(recorder.og.REGISTERED_SCENES["Scene"]))
    assert not np.isfinite(places[1:, 0]).any() or np.abs(places[1:, 0]).min() > 1e30


def test_scenes_in_one_another_are_refused(started, monkeypatch):
    import torch
    from omnigibson.scenes.scene_base import Scene

    facade, _ = started
    same = (torch.tensor([float("nan"), 0.0, 0.0]), torch.tensor([0.0, 0.0, 0.0, 1.0]))
    monkeypatch.setattr(Scene, "get_position_orientation", lambda self: same)
    with pytest.raises(RuntimeError, match=r"put the scenes at x = \[nan, nan\] m"):
        facade.open([config_of(GraspTask)] * 2)


def test_pictures_are_drawn_until_they_are_up_to_date(started, monkeypatch):
    facade, calls = started
    facade.open([config_of(GraspTask)])
    monkeypatch.setattr(type(facade._og.sim), "render", lambda self: calls.append(("render",)),
                        raising=False)  # fmt: skip
    calls.clear()
    facade.render()
    assert calls == [("render",)] * RERENDERS and RERENDERS == 3


@pytest.fixture
def whole(monkeypatch, recorder):  # noqa: F811
    """All checks pass and a process's session begins anew."""
    monkeypatch.setattr(requirements, "check", lambda machine, files=(): "1.1.1")
    monkeypatch.setattr(backend, "need_files", lambda folder, own: None)
    monkeypatch.setattr(session, "_sessions", [])
    return recorder


@pytest.mark.parametrize("task", [item.name for item in TASKS])
def test_gymnasium_gets_as_far_as_isaac_sim(whole, task):
    """`gym.make_vec` runs everything up to the first reading of a joint, which is Isaac Sim's."""
    with pytest.raises((BoundaryError, AttributeError, TypeError)) as raised:
        gym.make_vec(f"DexFW/{task}-v0", num_envs=2, backend="omnigibson")
    assert raised.traceback[-1].path.name != "vector_env.py"
    assert any(step.path.name == "reading.py" and step.name == "measured_robot"
               for step in raised.traceback)  # fmt: skip
    assert len(flat(whole.calls, "import_scene")) == 2
    assert len(flat(whole.calls, "post_play_load")) == 2


def test_the_flywheel_script_gets_as_far_as_isaac_sim(whole, monkeypatch, tmp_path):
    """`python baselines/dexflywheel.py --backend omnigibson --task Grasp`, its command line too."""
    torch = pytest.importorskip("torch")
    for module in ("av", "diffusers", "safetensors", "tensorboard"):
        pytest.importorskip(module, reason=f"the extra [train] is not installed: no {module}")
    monkeypatch.syspath_prepend(str(ROOT / "baselines"))
    monkeypatch.delitem(sys.modules, "dexflywheel", raising=False)
    import dexflywheel

    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on: None)
    command = ("--backend", "omnigibson", "--task", "Grasp", "--rl-envs", "2", "--runs")
    with pytest.raises((BoundaryError, AttributeError, TypeError)) as raised:
        call(dexflywheel, [*command, str(tmp_path)])
    names = [step.name for step in raised.traceback]
    assert names.index("build_data") < names.index("make_env"), "the first turn's first work"
    assert any(step.path.name == "reading.py" for step in raised.traceback)
    [[settings]] = flat(whole.calls, "launch")
    assert settings["physics_dt"] == pytest.approx(TIMESTEP), "the backend's own step"
    assert len(flat(whole.calls, "import_scene")) == 2
    kinds = [call[0] for call in whole.calls]
    assert flat(whole.calls, "threads") == [(dexflywheel.Args().threads,)]
    assert kinds.index("threads") < kinds.index("play")
