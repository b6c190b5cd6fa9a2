"""Demonstrations that methods start from: their scenes, the expert's, and those of a store."""

from collections import Counter

import numpy as np
import pytest

from dexfw_envs.catalog.curricula import CURRICULA, iterations, objects_for
from dexfw_envs.catalog.splits import training_combinations
from dexfw_envs.demos import demonstrations as made
from dexfw_envs.demos.collection import generation_report
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.store import EpisodeMismatch, EpisodeStore


@pytest.mark.parametrize("task", CURRICULA)
def test_ten_sources_are_of_ten_objects_and_not_held_out(task):
    scenes, again = (made.spread_scenes(task, 10) for _ in range(2))
    assert scenes == again
    items = [scene.objects[0] for scene in scenes]
    assert len(set(items)) == 10 and items[0] == objects_for(task, 1)[0]
    allowed = training_combinations(task, iterations(task))
    assert all((s.objects[0], s.surroundings, s.pose) in allowed for s in scenes)
    assert len({s.surroundings for s in scenes}) >= 8
    assert max(Counter(s.pose for s in scenes).values()) <= 2


def test_more_sources_than_objects_are_refused():
    assert len(made.spread_scenes("Pour", 12)) == 12
    for count in (0, 13):
        with pytest.raises(ValueError, match=f"Pour has 12 objects, {count} different ones"):
            made.spread_scenes("Pour", count)


def test_fixed_scenes_are_one_scene():
    scenes = made.fixed_scenes("Lift", 3)
    assert len(scenes) == 3
    assert {(s.objects, s.surroundings, s.pose) for s in scenes} == {(("milk_case",), "neutral", 0)}


class Clumsy:
    """Stands for the expert's outcomes: fails as often as asked in each scene, then succeeds."""

    def __init__(self, monkeypatch, failures):
        self.failures, self.tried = dict(failures), []
        monkeypatch.setattr(made, "make_expert", lambda env, **_: None)
        monkeypatch.setattr(made, "run_episodes", self.run)
        self.env = type("Env", (), {"task": type("Task", (), {"name": "Grasp"})})

    def run(self, env, expert, trials, progress):
        from dataclasses import replace

        self.tried.append([scene.seed for scene in trials])
        for index, scene in reversed(list(enumerate(trials))):
            left = self.failures.get(scene.objects[0], 0)
            self.failures[scene.objects[0]] = left - 1
            yield replace(load_seed("Grasp"), index=index, scenario=scene, success=left <= 0)


def test_a_scene_is_tried_again_with_another_jitter(monkeypatch):
    scenes = made.spread_scenes("Grasp", 3)
    items = [scene.objects[0] for scene in scenes]
    clumsy = Clumsy(monkeypatch, {items[1]: 2})
    found = made.demonstrate(clumsy.env, scenes, seed=1)
    assert [e.scenario.objects[0] for e in found] == items
    assert [e.index for e in found] == [0, 1, 2]
    assert [len(seeds) for seeds in clumsy.tried] == [3, 1, 1]
    assert len({seeds[-1 if k else 1] for k, seeds in enumerate(clumsy.tried)}) == 3
    again = Clumsy(monkeypatch, {items[1]: 2})
    made.demonstrate(again.env, scenes, seed=1)
    assert again.tried == clumsy.tried


def test_scenes_beyond_the_expert_are_passed_over_or_named(monkeypatch):
    scenes = made.spread_scenes("Grasp", 3)
    items = [scene.objects[0] for scene in scenes]
    clumsy = Clumsy(monkeypatch, {items[0]: 99})
    found = made.demonstrate(clumsy.env, scenes, seed=1, count=2)
    assert [e.scenario.objects[0] for e in found] == items[1:]
    assert len(clumsy.tried) == 1
    with pytest.raises(RuntimeError, match=f"gave 2 of 3 .*Grasp; it failed 10 .*{items[0]}"):
        made.demonstrate(Clumsy(monkeypatch, {items[0]: 99}).env, scenes, seed=1)


def test_the_expert_demonstrates_the_same_in_any_number_of_worlds():
    scenes, found = made.fixed_scenes("Grasp", 2), []
    for worlds in (1, 2):
        env = DexVectorEnv("Grasp", worlds, autoreset_mode="disabled", threads=1)
        found.append(made.demonstrate(env, scenes, seed=3))
        env.close()
    for one, other in zip(*found, strict=True):
        assert one.success and one.scenario == other.scenario
        assert np.array_equal(one.actions, other.actions)
    assert found[0][0].scenario != found[0][1].scenario


def store_of(folder, task="Grasp", successes=(True,)):
    from dataclasses import replace

    seed = load_seed(task)
    store = EpisodeStore(folder, seed.env_id, seed.control_mode)
    for index, success in enumerate(successes):
        failure = "" if success else "dropped"
        store.add(replace(seed, success=success, failure=failure), source="scripted", seed=0,
                  index=index)  # fmt: skip
    return store


def test_demonstrations_are_read_from_a_store(tmp_path):
    store_of(tmp_path / "a", successes=(False, True, True, True))
    where = (tmp_path / "a", "DexFW/Grasp-v0", "ee_pose")
    assert [e.index for e in made.read_demonstrations(*where, 2)] == [1, 2]
    assert len(made.read_demonstrations(*where)) == 3
    with pytest.raises(ValueError, match=r"a holds 3 successful .*Grasp-v0, .* 4"):
        made.read_demonstrations(*where, 4)


def test_stores_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no episode file or folder .*none"):
        made.read_demonstrations(tmp_path / "none", "DexFW/Grasp-v0", "ee_pose")
    store_of(tmp_path / "grasp")
    with pytest.raises(EpisodeMismatch, match="DexFW/Lift-v0"):
        made.read_demonstrations(tmp_path / "grasp", "DexFW/Lift-v0", "ee_pose")
    store_of(tmp_path / "lost", successes=(False,))
    with pytest.raises(ValueError, match=r"lost holds 0 successful .* needed are some"):
        made.read_demonstrations(tmp_path / "lost", "DexFW/Grasp-v0", "ee_pose")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no episodes \(\*\.h5\) in .*empty$"):
        made.read_demonstrations(tmp_path / "empty", "DexFW/Grasp-v0", "ee_pose")


def test_one_file_of_a_store_can_be_named_alone(tmp_path):
    store_of(tmp_path / "run" / "D_1")
    kind = ("DexFW/Grasp-v0", "ee_pose")
    first = next((tmp_path / "run" / "D_1").glob("*.h5"))
    (found,) = made.read_demonstrations(first, *kind)
    assert found.identifier == first.stem
    with pytest.raises(FileNotFoundError, match=r"in .*run, but in its folders D_1: name one of"):
        made.read_demonstrations(tmp_path / "run", *kind)


def test_generation_is_summed_up_from_the_store(tmp_path):
    found = generation_report(store_of(tmp_path, successes=(True, False, True)), "Grasp")
    assert (found["tries"], found["successes"], found["objects_handled"]) == (3, 2, 1)
    assert found["failures"] == {"dropped": 1}
    assert found["success"] == pytest.approx(2 / 3) and found["low"] < 2 / 3 < found["high"]
    assert found["jerk"] == found["duration"] == 1.0
    with pytest.raises(ValueError, match="no records"):
        generation_report(EpisodeStore(tmp_path / "none"), "Grasp")
