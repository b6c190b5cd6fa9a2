"""The DexMimicGen script: sources, generation, and a tiny run that is killed and resumed."""

import json
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the scripts need the extra train")
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "baselines"))
import dexmimicgen as dm
from script_calls import call, success_tags
from test_dexflywheel import ACTION, CountingBase, Killed, fw, observation, short_env

from dexfw_envs.catalog.curricula import iterations
from dexfw_envs.catalog.splits import training_combinations
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.editing.augment import Tally
from dexfw_envs.episodes.store import EpisodeMismatch, EpisodeStore
from dexfw_envs.evaluation.records import read_records
from dexfw_envs.runs.checkpoints import load

SMALL = {"trajectories": 2, "num_envs": 2, "threads": 1, "base_steps": 4, "base_batch": 8,
         "width": 32, "layers": 1, "sampling_steps": 2, "eval_episodes": 2, "save_seconds": 0.0,
         "variant": "default-tiny"}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def arguments(runs, **changes):
    flags = ["--runs", str(runs)]
    for name, value in {**SMALL, **changes}.items():
        flags += ["--" + name.replace("_", "-"), str(value)]
    return flags


def run_script(script, argv, kill_at=None):
    """Run the script; raise `Killed` right after the save number `kill_at`."""
    saves, save = [0], script.Run._write

    def counted(self, *state):
        save(self, *state)
        saves[0] += 1
        if saves[0] == kill_at:
            raise Killed

    script.Run._write = counted
    try:
        return call(script, argv)
    finally:
        script.Run._write = save


def short_evaluation(script, monkeypatch):
    """Episodes of 20 steps where a policy is tested."""
    make = script.make_env
    usual = lambda args, *a, **k: (  # noqa: E731
        make(args, *a, **k) if a or k else short_env(make)(args)
    )
    monkeypatch.setattr(script, "make_env", usual)


def generated(run):
    store = EpisodeStore(run / "D_1")
    return {e.index: e for e in store.episodes()}


def test_killed_and_resumed_run_generates_and_learns_the_same(tmp_path, monkeypatch, capsys):
    short_evaluation(dm, monkeypatch)
    monkeypatch.setattr(dm, "evaluate_policies", without_films(dm.evaluate_policies))
    monkeypatch.setattr(dm, "ROUND", 2)
    records = {"records": tmp_path / "records"}
    assert run_script(dm, arguments(tmp_path / "a", **records)) == 0
    (whole,) = (tmp_path / "a").iterdir()
    with pytest.raises(Killed):  # after the first round of generation
        run_script(dm, arguments(tmp_path / "b"), kill_at=2)
    (broken,) = (tmp_path / "b").iterdir()
    with pytest.raises(Killed):  # while it learns
        run_script(dm, ["--resume", str(broken)], kill_at=4)
    assert run_script(dm, ["--resume", str(broken)]) == 0
    first, second = generated(whole), generated(broken)
    assert first.keys() == second.keys() == set(range(len(first)))
    assert all(np.array_equal(first[i].actions, second[i].actions) for i in first)
    weights = [load((run / "checkpoints/policy_1.pt").read_bytes())["base"]
               for run in (whole, broken)]  # fmt: skip
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    check_generation(whole, first)
    assert success_tags(whole) == {"charts/success_T_VAL_base"}
    rows = read_records(tmp_path / "records")
    assert {(r["method"], r["variant"], r["iteration"], r["policy"]) for r in rows} == {
        ("dexmimicgen", "default-tiny", 1, "base")
    }
    check_evaluation(dm, whole / "checkpoints/policy_1.pt", capsys)


def without_films(measure):
    return lambda *a, films, **options: measure(*a, **options)


def check_generation(run, episodes):
    found = json.loads((run / "data_1.json").read_text())["edited"]
    won = [e for e in episodes.values() if e.success]
    assert (found["tries"], found["successes"]) == (len(episodes), len(won))
    assert len(won) >= 2 and sum(found["failures"].values()) == len(episodes) - len(won)
    assert found["seconds_per_trajectory"] == pytest.approx(found["seconds"] / len(won))
    assert [source["objects"] for source in found["sources"]] == [["baseball"]]
    allowed = training_combinations("Grasp", iterations("Grasp"))
    for episode in episodes.values():
        scene = episode.scenario
        assert (scene.objects[0], scene.surroundings, scene.pose) in allowed
        assert episode.source == "augmented" and bool(episode.failure) is not episode.success


def check_evaluation(script, checkpoint, capsys):
    capsys.readouterr()
    asked = ["--evaluate", str(checkpoint), "--split", "T_VAL", "--episodes", "2"]
    assert call(script, [*asked, "--threads", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 2
    state = load(checkpoint.read_bytes())
    with pytest.raises(ValueError, match="has method 'dexflywheel', needed is"):
        script.build_policy(state | {"method": "dexflywheel"}, script.Args())


# --- sources


def collected(tmp_path, **changes):
    args = replace(dm.Args(num_envs=2, threads=1), **changes)
    task = dm.entry(args.task).env_id
    run = SimpleNamespace(args=args, episodes=lambda name: EpisodeStore(tmp_path, task, "ee_pose"))
    dm.collect_sources(run)
    return list(EpisodeStore(tmp_path).episodes())


def test_the_default_source_is_the_shipped_seed(tmp_path):
    (source,) = collected(tmp_path, task="Lift")
    assert source.source == "scripted"
    assert np.array_equal(source.actions, load_seed("Lift").actions)


def test_enhanced_sources_are_scripted_and_of_different_objects(tmp_path, monkeypatch):
    monkeypatch.setitem(dm.SOURCES, "enhanced", 2)
    first = collected(tmp_path / "a", variant="enhanced")
    second = collected(tmp_path / "b", variant="enhanced-again", seed=7)
    assert len({e.scenario.objects for e in first}) == 2
    assert {e.source for e in first} == {"scripted"} and all(e.success for e in first)
    for one, other in zip(first, second, strict=True):
        assert one.scenario == other.scenario, "the same for every seed of a run"
        assert np.array_equal(one.actions, other.actions)


def test_sources_can_come_from_a_store(tmp_path):
    seed = load_seed("Grasp")
    store = EpisodeStore(tmp_path / "mine", seed.env_id, seed.control_mode)
    for index in range(3):
        store.add(seed, source="policy", seed=0, index=index)
    found = collected(tmp_path / "sources", demos=str(tmp_path / "mine"))
    assert [e.source for e in found] == ["policy"] * 3
    with pytest.raises(EpisodeMismatch, match="DexFW/Pour-v0"):
        collected(tmp_path / "others", demos=str(tmp_path / "mine"), task="Pour")


# --- generation


class FakeRun:
    def __init__(self, folder, **changes):
        self.args, self.path, self.seed = dm.Args(num_envs=1, threads=1, **changes), folder, 5
        seed = load_seed(self.args.task)
        self.episodes("sources").add(seed, source="scripted", seed=0)
        self.saved: dict = {}

    def episodes(self, name):
        return EpisodeStore(self.path / name, dm.entry(self.args.task).env_id, "ee_pose")

    def restore(self):
        return self.saved

    def save(self, **state):
        self.saved = state


def fake_augment(monkeypatch, wins):
    """Attempts that succeed where `wins` says so; returns what was asked for."""
    asked, seed = [], load_seed("Grasp")

    class Made:
        def __init__(self, env, sources, scenes, rng, options, choose, failures, progress):
            asked.append(SimpleNamespace(scenes=scenes, options=options, choose=choose,
                                         sources=sources, steps=env.max_episode_steps))  # fmt: skip
            self.scenes, self.tally = scenes, Tally()

        def __iter__(self):
            for index, scene in enumerate(self.scenes):
                failure = "" if wins(scene) else "dropped"
                self.tally += Tally.of(failure)
                yield replace(seed, index=index, scenario=scene, success=not failure,
                              failure=failure)  # fmt: skip

    monkeypatch.setattr(dm, "augment", Made)
    return asked


def test_attempts_go_on_until_enough_have_succeeded(tmp_path, monkeypatch):
    asked = fake_augment(monkeypatch, lambda scene: scene.seed % 3 == 0)
    run = FakeRun(tmp_path, trajectories=8)
    dm.generate(run)
    rows = run.episodes("D_1").manifest()
    assert [row["index"] for row in rows] == list(range(run.saved["attempts"]))
    assert sum(row["success"] for row in rows) == run.saved["successes"] >= 8
    assert len(asked[0].scenes) == 8 and len(asked) > 1
    assert len({row["scenario"]["seed"] for row in rows}) == len(rows), "each has its own scene"
    assert asked[0].steps == load_seed("Grasp").length + 40


def test_too_few_successes_end_at_the_limit(tmp_path, monkeypatch):
    fake_augment(monkeypatch, lambda scene: scene.objects[0] == "never")
    run = FakeRun(tmp_path, trajectories=4, max_attempts=6)
    with pytest.raises(RuntimeError, match=r"none of 6 attempts succeeded: \{'dropped': 6\}"):
        dm.generate(run)


def test_options_reach_the_editing(tmp_path, monkeypatch):
    asked = fake_augment(monkeypatch, lambda scene: True)
    changes = {"bridge": "straight", "interpolation_steps": 7, "noise": "white",
               "noise_position": 0.01, "noise_rotation": 0.1}  # fmt: skip
    dm.generate(FakeRun(tmp_path, trajectories=1, select="random", **changes))
    assert asked[0].choose is dm.choose_random
    assert {name: getattr(asked[0].options, name) for name in changes} == changes
    with pytest.raises(ValueError, match=r"cannot cut scripted-.*: .*no subtask is in"):
        dm.generate(FakeRun(tmp_path / "b", trajectories=1, coordination="replay"))


# --- learning


def data_of(script, episodes, args, *turn):
    return fw.make_dataset(episodes, args) if script is fw else episodes


def test_learning_is_that_of_dexflywheel(tmp_path):
    episodes = [load_seed("Grasp")]
    tiny = {"base_steps": 5, "base_batch": 8, "width": 32, "layers": 1, "threads": 1}
    kept = []
    for script in (dm, fw):
        torch.manual_seed(3)
        args = script.Args(**tiny)
        run = SimpleNamespace(
            args=args, data=partial(data_of, script, episodes, args),
            restore=dict, bar=lambda title, a, b: range(a, b),
            log=lambda *_: None, save=lambda **_: None,
            store=lambda name, state: kept.append(state["base"]),
            store_policy=lambda i, base, agent: kept.append(base.state_dict()),
        )  # fmt: skip
        script.train_base(*(run, 1)[: 1 + (script is fw)])
    assert kept[0].keys() == kept[1].keys()
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])


def test_acting_is_that_of_dexflywheels_base():
    actions = []
    for script in (dm, fw):
        args, env = script.Args(chunk=4, execute=3), SimpleNamespace(num_envs=3)
        base = CountingBase(4)
        policy = script.ChunkPolicy(*((base, None) if script is fw else (base,)), args, env)
        policy.reset(np.ones(3, bool))
        rows = []
        for step in range(9):
            if step == 4:
                policy.reset(np.array([False, True, False]))
            rows.append(policy.act(observation(3)))
        actions.append(np.stack(rows))
    assert actions[0].shape == (9, 3, ACTION)
    assert np.allclose(actions[0], actions[1], atol=1e-6)


@pytest.mark.parametrize("preset", fw.PRESETS)
def test_presets_give_the_policy_of_dexflywheel(preset):
    theirs = replace(fw.Args(), **fw.PRESETS[preset])
    ours = replace(dm.Args(), **dm.PRESETS[preset])
    names = [f.name for f in fields(dm.Args)]
    shared = ["precision", *names[names.index("obs") : names.index("obs_noise") + 1]]
    assert len(shared) == 17
    assert {n: getattr(ours, n) for n in shared} == {n: getattr(theirs, n) for n in shared}
    assert ours.trajectories == theirs.trajectories[-1]


# --- bad input


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"variant": "improved"}, "unknown --variant 'improved'; valid: default, default-NAME"),
        ({"chunk": 4, "execute": 8}, "--execute"),
        ({"trajectories": 0}, "--trajectories"),
        ({"nearest": 0}, "--nearest"),
        ({"noise_position": -1.0}, "noise_position must not be negative"),
        ({"generate_only": True, "records": "r"}, "leave out --records"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        dm.Args(**wrong)


def test_bad_input_is_refused(tmp_path):
    for flags in (["--select", "best"], ["--policy", "combined"], ["--task", "Fold"]):
        with pytest.raises(SystemExit):
            call(dm, flags)
    with pytest.raises(FileNotFoundError, match="no run at"):
        call(dm, ["--resume", str(tmp_path / "nothing")])
    with pytest.raises(FileNotFoundError, match=r"no episode file or folder .*nothing"):
        call(dm, arguments(tmp_path, demos=tmp_path / "nothing"))
    flags = arguments(tmp_path, records=tmp_path / "records", variant="enhanced")
    with pytest.raises(ValueError, match="need --variant enhanced-NAME; these differ"):
        call(dm, flags)
