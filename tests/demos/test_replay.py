"""Replay of stored episodes, and of the seed demonstration on other objects."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sample_episodes import ORIGIN, make_episode
from scenes import NEEDS_SEEDS_MUJOCO, actions, make, scene

from dexfw_envs.demos import replay as replaying
from dexfw_envs.demos import transfer as transferring
from dexfw_envs.demos.replay import Args, episode_files, main, replay
from dexfw_envs.demos.rerun import check_fits, replay_actions, replay_states
from dexfw_envs.demos.seeds import load_seed, seed_path
from dexfw_envs.demos.transfer import transfer, transfer_table, write_transfer
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.episodes.store import EpisodeMismatch, EpisodeStore, load_episode, save_episode

SEED = load_seed("Grasp")
RATES = ("n", "state", "action", "recorded", "success")


class Recorded:
    """A policy that plays the same actions in every world."""

    def __init__(self, commands):
        self.commands, self.step = commands, 0

    def reset(self, mask):
        self.step = 0

    def act(self, observation):
        self.step += 1
        return self.commands[self.step - 1]


@cache
def recorded_here():
    """The seed demonstration on this machine; another kind of processor has other last bits."""
    policy = Recorded(SEED.actions[:, None])
    [made] = run_episodes(make(1, autoreset_mode="disabled"), policy, [SEED.scenario])
    assert (made.success, made.length) == (True, SEED.length)
    names = ("states", "actions", "rewards", "observations")
    return replace(SEED, **{name: getattr(made, name) for name in names})


def head(steps, **changes):
    """The seed demonstration up to a step, long before its success."""
    episode = recorded_here()
    return replace(
        episode,
        identifier=f"head{steps}",
        length=steps,
        states=episode.states[: steps + 1],
        actions=episode.actions[:steps],
        rewards=episode.rewards[:steps],
        observations={key: value[: steps + 1] for key, value in episode.observations.items()},
        **{"success": False, "hold": 0, "failure": "timeout", **changes},
    )


def changed(array, row, amount):
    array = array.copy()
    array[row, 0] += amount
    return array


def outcomes(found):
    return [(o.identifier, o.exact, o.success, o.recorded, o.differs) for o in found]


def test_a_demonstration_recorded_here_replays_exactly(tmp_path, capsys):
    save_episode(tmp_path / "here.h5", recorded_here(), **ORIGIN)
    asked = Args(paths=(tmp_path / "here.h5",), threads=1, num_envs=8)
    assert main(replace(asked, json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found[name] for name in RATES] == [1, 1.0, 1.0, 1, 1.0]
    assert found["gap"] == 0.0
    assert main(asked) == 0
    text = capsys.readouterr().out
    assert text.startswith("1 episodes replayed\n") and text.count("100.0 %") == 3


@NEEDS_SEEDS_MUJOCO
def test_the_shipped_demonstration_replays_up_to_rounding(capsys):
    main(Args(json=True, threads=1))
    found = json.loads(capsys.readouterr().out)
    assert [found[name] for name in ("n", "state", "recorded", "success")] == [1, 1.0, 1, 1.0]
    assert found["gap"] < 1e-7
    assert (found["action"] == 1.0) == (found["gap"] == 0.0)


@NEEDS_SEEDS_MUJOCO
@pytest.mark.parametrize("num_envs", [1, 3])
def test_what_differs_is_found_in_any_batch(num_envs):
    env = make(num_envs, autoreset_mode="disabled")
    moved = replace(head(12), identifier="moved", actions=changed(SEED.actions[:12], 4, 0.2))
    episodes = [head(12), moved, head(20), head(5)]
    same = [(f"head{n}", True, False, False, -1) for n in (12, 20, 5)]
    expected = [same[0], ("moved", False, False, False, 5), *same[1:]]
    assert outcomes(replay_actions(env, episodes)) == expected
    assert outcomes(replay_states(env, [head(12), head(20), head(5)])) == same


@NEEDS_SEEDS_MUJOCO
def test_states_that_do_not_fit_what_was_seen():
    env = make(4, autoreset_mode="disabled")
    shown = {**SEED.observations, "object": changed(SEED.observations["object"], 7, 1e-3)}
    [seen] = replay_states(env, [replace(SEED, observations=shown)])
    assert (seen.exact, seen.success, seen.differs) == (False, True, 7)
    [held] = replay_states(env, [replace(SEED, hold=SEED.hold - 1)])
    assert (held.exact, held.differs) == (False, SEED.length)
    [lost] = replay_states(env, [replace(SEED, success=False)])
    assert (lost.exact, lost.recorded) == (False, False)


def test_joint_episodes_with_touch_in_a_store(tmp_path):
    """Recorded in one batch, replayed in others: any mode, any outcome."""
    options = {"control_mode": "joint", "obs_mode": "state+touch", "max_episode_steps": 9}
    env = make(3, autoreset_mode="disabled", **options)
    store = EpisodeStore(tmp_path, "DexFW/Grasp-v0", "joint")
    scenes = [scene("cube"), scene("egg", "tile_table", 3), scene("bottle", cell=7)]
    for episode in run_episodes(env, Recorded(actions(9, 3, size=13)), scenes):
        store.add(episode, source="policy", seed=0)
    save_episode(tmp_path / "pose.h5", recorded_here(), **ORIGIN)
    found = replay([tmp_path], num_envs=2, threads=1)
    assert [found[name] for name in RATES] == [4, 1.0, 1.0, 1, 1.0]
    assert not found["refused"] and not found["damaged"]


@NEEDS_SEEDS_MUJOCO
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_id": "DexFW/Grasp-v9"}, r"env_id 'DexFW/Grasp-v9', but 'DexFW/Grasp-v0' is needed"),
        ({"control_mode": "joint"}, "'joint', but 'ee_pose' is needed"),
        ({"mujoco_version": "3.2.1"}, r"made by mujoco '3\.2\.1' and replays exactly only there"),
        ({"mujoco_version": ""}, "made by mujoco 'none'"),
        ({"states": np.zeros((SEED.length + 1, 0))}, "has no states, as its backend cannot"),
        ({"states": np.zeros((SEED.length + 1, 7))}, "states of 7 numbers, this env's have"),
    ],
)
def test_what_cannot_come_out_the_same_is_refused(changes, message):
    env = make(1, autoreset_mode="disabled")
    episode = replace(SEED, **changes)
    for attempt in (replay_states, replay_actions):
        with pytest.raises(EpisodeMismatch, match=message):
            attempt(env, [episode])
    check_fits(env, SEED)


def test_a_folder_of_sound_foreign_and_damaged_files(tmp_path, capsys):
    good = {**ORIGIN, "index": 0}
    save_episode(tmp_path / "good.h5", head(5), **good)
    save_episode(tmp_path / "version.h5", head(5), **{**good, "env_id": "DexFW/Grasp-v9"})
    save_episode(tmp_path / "mode.h5", head(5), **{**good, "control_mode": "delta"})
    save_episode(tmp_path / "mujoco.h5", head(5), **good, mujoco_version="3.2.1")
    content = (tmp_path / "good.h5").read_bytes()
    (tmp_path / "torn.h5").write_bytes(content[: len(content) // 2])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(Args(paths=(tmp_path,), json=True, threads=1)) == 1
    found = json.loads(capsys.readouterr().out)
    assert [found[name] for name in RATES] == [1, 1.0, 1.0, 0, None]
    refused = {path.rpartition("/")[2]: why for path, why in found["refused"].items()}
    assert set(refused) == {"version.h5", "mode.h5", "mujoco.h5"}
    assert "'DexFW/Grasp-v9'" in refused["version.h5"] and "ee_pose" in refused["mode.h5"]
    assert [path.rpartition("/")[2] for path in found["damaged"]] == ["torn.h5"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    main(Args(paths=(tmp_path / "torn.h5",), threads=1))
    assert "damaged: " in capsys.readouterr().out


def test_differences_are_printed_and_fail(tmp_path, capsys):
    moved = replace(head(6), actions=changed(SEED.actions[:6], 2, 0.2))
    save_episode(tmp_path / "a.h5", moved, **ORIGIN)
    assert main(Args(paths=(tmp_path / "a.h5",), threads=1)) == 1
    text = capsys.readouterr().out
    assert "by action, a differs from step 3" in text and "by state, a" not in text
    assert "largest difference of a number in a state: 0\n" not in text


def test_paths_that_hold_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no episodes"):
        replay([tmp_path])
    with pytest.raises(ValueError, match="num_envs must be an integer of at least 1, got 0"):
        replay([seed_path("Grasp")], num_envs=0)
    with pytest.raises(FileNotFoundError, match=r"no episode file or folder .*nowhere"):
        replay([tmp_path / "nowhere"])
    save_episode(tmp_path / "b.h5", make_episode(), **ORIGIN)
    (tmp_path / ".a.h5").write_bytes(b"left behind")
    assert [path.name for path in episode_files([tmp_path])] == ["b.h5"]
    (tmp_path / "link.h5").symlink_to("nothing.h5")
    found = replay([tmp_path])
    assert found["damaged"] == {str(tmp_path / "link.h5"): "it is a link to nothing"}
    with pytest.raises(FileNotFoundError, match="but in its folders"):
        replay([tmp_path.parent])
    assert load_episode(tmp_path / "b.h5").identifier == "b"


# --- on other objects


def test_transfer_does_not_depend_on_the_number_of_worlds():
    found, again = (transfer("Grasp", 3, seed=5, num_envs=n, threads=1) for n in (1, 3))
    assert found == again
    assert found["own"]["n"] == found["objects"]["n"] == 3
    assert list(found["own"]["per_object"]) == ["baseball"]
    assert len(found["objects"]["per_object"]) == 3
    for part in (found["own"], found["objects"]):
        assert part["low"] <= part["success"] <= part["high"]
        assert sum(part["reasons"].values()) == 3 - round(3 * part["success"])
    assert found["demonstration"] == "scripted"
    assert found["command"].endswith("--task Grasp --episodes 3 --seed 5 --noise smooth")
    assert {"commit", "versions", "machine"} <= found.keys()
    assert transfer_table(found).count("\n") == 2 + 2 + 3


def test_objects_command_writes_its_results(tmp_path, monkeypatch, capsys):
    rate = {"success": 0.5, "n": 2, "low": 0.1, "high": 0.9}
    one = {**rate, "per_object": {"baseball": rate}, "reasons": {"dropped": 1}}
    asked = []

    def fake(*arguments):
        asked.append(arguments)
        return {"task": "Grasp", "noise": arguments[3], "own": {**one, "split": "T_O(1)"},
                "objects": one}  # fmt: skip

    monkeypatch.setattr(replaying, "transfer", fake)
    monkeypatch.chdir(tmp_path)
    assert main(Args(objects=True, episodes=2, seed=3, noise="white", threads=1)) == 0
    assert asked == [("Grasp", 2, 3, "white", 32, 1)]
    text = capsys.readouterr().out
    assert "| all 1 | 50.0 % | 10.0 % to 90.0 % | 2 |" in text
    assert [p.name for p in (tmp_path / "results" / "replay").iterdir()] == ["Grasp-white.json"]
    assert write_transfer(fake(0, 0, 0, transferring.NOISE)).name == "Grasp.json"
    with pytest.raises(ValueError, match="name no files"):
        main(Args(objects=True, paths=(tmp_path,)))


@NEEDS_SEEDS_MUJOCO
@pytest.mark.parametrize("task", ["Grasp", "Pour", "Lift", "Handover"])
def test_every_shipped_demonstration_fits_and_succeeds_again(task):
    report = replay([seed_path(task)])
    assert (report["refused"], report["damaged"], report["n"]) == ({}, {}, 1)
    assert (report["recorded"], report["success"]) == (1, 1.0)
