"""The layer for 3.x, as far as plain Python goes: it warns, and its differences are as written."""

import sys
import types

import pytest

from dexfw_envs.backends.omnigibson import api, api3
from dexfw_envs.backends.omnigibson.requirements import MissingRequirementError


@pytest.fixture
def newer(monkeypatch):
    """The layer without OmniGibson: a package of plain objects in its place."""

    def begin(version, batched):
        made = []

        class Environment:
            def __init__(self, configs, in_vec_env=False):
                made.append(configs)
                self.scenes, self.robots, self.external_sensors = ["s0", "s1"], [["a"], ["b"]], None

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
    assert [world.scene for world in facade.worlds] == ["s0", "s1"]
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
