"""The layer for 3.x, as far as plain Python goes: it warns, and its differences are as written."""

import contextlib
import sys
import types

import numpy as np
import pytest

from dexfw_envs.backends.omnigibson.facade import api, api3
from dexfw_envs.backends.omnigibson.facade.importer import lowest_point
from dexfw_envs.backends.omnigibson.facade.requirements import MissingRequirementError
from dexfw_envs.backends.omnigibson.states import Placement, edited
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.robots.tree import robot_tree


class Scene:
    """A scene 10 m beside the one before, whose state is as deep as that of later releases."""

    def __init__(self, index):
        self.place, self.loaded = np.array([10.0 * index, 0.0, 0.0]), None

    def get_position_orientation(self):
        return self.place, np.array([0.0, 0.0, 0.0, 1.0])

    def convert_world_pose_to_scene_relative(self, position, orientation):
        return position - self.place, orientation

    def convert_scene_relative_pose_to_world(self, position, orientation):
        return position + self.place, orientation

    def dump_state(self, serialized):
        still = {"pos": self.place + 1.0, "ori": np.array([0.0, 0.0, 0.0, 1.0])}
        things = {"cube": {"root_link": still}, "other": {"root_link": dict(still)}}
        registry = {"object_registry": things, "system_registry": {}}
        return {"pos": self.place, "ori": still["ori"], "registry": registry}

    def load_state(self, state, serialized):
        self.loaded = state


@pytest.fixture
def newer(monkeypatch):
    """The layer without OmniGibson: a package of plain objects in its place."""

    def begin(version, batched):
        made = []

        class Environment:
            def __init__(self, configs, in_vec_env=False):
                made.append(configs)
                self.scenes, self.robots = [Scene(0), Scene(1)], [["a"], ["b"]]
                self.scene, self.external_sensors = Scene(len(made) - 1), None

            def post_play_load(self):
                made.append("loaded")

        class Batched(Environment):
            def __init__(self, configs):
                super().__init__(configs)

        kind = Batched if batched else Environment
        sim = types.SimpleNamespace(play=lambda: None, stop=lambda: None)
        package = types.SimpleNamespace(sim=sim, Environment=kind, __version__=version)

        def start(self, headless=True):
            self._og, self.version, self.worlds, self.threads = package, version, [], None

        monkeypatch.setattr(api.OmniGibson, "__init__", start)
        with pytest.warns(RuntimeWarning, match=rf"omnigibson {version}: .*has\s+never been run"):
            return api3.OmniGibson3(), made

    return begin


CONFIG = {"env": {}, "robots": [{"type": "FrankaPanda", "name": "right"}]}


def test_states_one_level_deeper_and_in_world_coordinates(newer):
    """What is edited is in the scene frame, as in 1.1.1; what is loaded is as it was dumped."""
    facade, _ = newer("3.9.2", batched=True)
    facade.open([CONFIG, CONFIG])
    state = facade.dump(1)
    assert np.allclose(state["object_registry"]["cube"]["root_link"]["pos"], 1.0)
    wanted = {"cube": Placement(np.array([0.2, 0.0, 0.1]), np.array([1.0, 0, 0, 0]))}
    facade.load(1, edited(state, wanted, {}, np.asarray))
    scene = facade.worlds[1].scene
    loaded = scene.loaded["registry"]["object_registry"]
    assert np.allclose(loaded["cube"]["root_link"]["pos"], [10.2, 0.0, 0.85])
    assert np.allclose(loaded["other"]["root_link"]["pos"], scene.place + 1.0)
    assert set(scene.loaded) == {"pos", "ori", "registry"}
    assert set(scene.loaded["registry"]) == {"object_registry", "system_registry"}


def test_an_imported_robot_stands_on_its_lowest_point():
    robot = {"type": "DualRM75", "name": "robot", "position": [0.0, 0.0, 0.75]}
    moved = api3._by_model(robot)
    tree = robot_tree(dual_rm75_inspire())
    assert moved["model"] == "dual_rm75_inspire" and "type" not in moved
    assert moved["position"][2] == pytest.approx(0.75 + lowest_point(tree))
    assert robot["position"] == [0.0, 0.0, 0.75], "what we hand in stays as it was"


def test_usd_is_written_where_it_may_be(newer, monkeypatch):
    facade, _ = newer("3.8.0", batched=False)
    entered = []
    monkeypatch.setattr(api.OmniGibson, "_mark", lambda self, index: entered.append(index))
    facade._mark(0)
    sim = facade._og.sim
    sim.editing_usd = lambda: contextlib.nullcontext(entered.append("editing"))
    facade._mark(1)
    assert entered == [0, "editing", 1]


def test_it_warns_and_keeps_classes_before_3_9(newer):
    facade, made = newer("3.8.0", batched=False)
    facade.open([CONFIG, CONFIG])
    assert made[0]["robots"] == CONFIG["robots"] and made.count("loaded") == 2
    assert len(facade.worlds) == 2


def test_robots_by_model_and_batched_environments(newer):
    facade, made = newer("3.9.2", batched=True)
    facade.open([CONFIG, CONFIG])
    assert len(made) == 1 and made[0]["env"]["num_envs"] == 2
    assert made[0]["robots"] == [{"model": "franka", "name": "right"}]
    assert [world.scene.place[0] for world in facade.worlds] == [0.0, 10.0]
    assert [world.robots for world in facade.worlds] == [["a"], ["b"]]
    assert facade.worlds[1].external_sensors is None
    assert CONFIG["robots"][0]["type"] == "FrankaPanda", "what we hand in stays as it was"


def test_a_robot_that_was_not_imported_is_named(newer, monkeypatch, tmp_path):
    facade, _ = newer("3.9.0", batched=True)
    macros = types.ModuleType("omnigibson.macros")
    macros.gm = types.SimpleNamespace(DATA_PATH=tmp_path)
    monkeypatch.setitem(sys.modules, "omnigibson", types.ModuleType("omnigibson"))
    monkeypatch.setitem(sys.modules, "omnigibson.macros", macros)
    with pytest.raises(MissingRequirementError, match=r"no robot 'dual_rm75_inspire': import"):
        facade.register_dual_arm("/files/dual_rm75_inspire.usda", "/files/dual_rm75_inspire.urdf")
    folder = tmp_path / "own" / "models" / "dual_rm75_inspire"
    folder.mkdir(parents=True)
    (folder / "dual_rm75_inspire.yaml").write_text("")
    facade.register_dual_arm("/files/dual_rm75_inspire.usda", "/files/dual_rm75_inspire.urdf")
