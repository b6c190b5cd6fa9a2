"""Policies that ship with the package, the player that needs no torch, and its command."""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from scenes import need_drawing, run_fresh

from dexfw_envs import __main__ as command
from dexfw_envs.backends.mujoco.graphics import HELP
from dexfw_envs.catalog import split
from dexfw_envs.control.controller import CONTROL_MODES
from dexfw_envs.envs.observe import OBS_MODES
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.evaluation.evaluator import evaluate
from dexfw_envs.evaluation.summary import wilson
from dexfw_envs.play import load, load_shipped, shipped_path
from dexfw_envs.play.file import HEADER, LARGEST, read_arrays, write_arrays
from dexfw_envs.play.show import WON
from dexfw_envs.registry import TASKS, entry
from dexfw_envs.revision import REVISION

NAMES = [item.name for item in TASKS]
NEAR = 1e-5  # an action of the player to that of the script
HEAD = {
    "env_id": "DexFW/Grasp-v0",
    "control_mode": "ee_pose",
    "observation_keys": ["proprio", "object"],
    "revision": REVISION,
    "settings": {},
}


# --- what ships


@pytest.mark.parametrize("task", NAMES)
def test_a_policy_ships_and_says_what_it_is(task):
    header = load_shipped(task).header
    assert header["env_id"] == entry(task).env_id  # of this very version of the task
    assert header["control_mode"] in CONTROL_MODES
    assert tuple(header["observation_keys"]) == OBS_MODES["state"]
    assert header["method"] == "dexflywheel" and header["policy"] == "combined"
    assert header["made"]["commit"] and f"--task {task}" in header["made"]["command"]
    found = header["measured"]
    assert found["split"] == "T_VAL" and found["n"] == 200
    bounds = wilson(round(found["success"] * found["n"]), found["n"])
    assert (found["low"], found["high"]) == pytest.approx(bounds)
    assert found["low"] > 0.8


def test_the_policies_are_data_of_the_package():
    folder = resources.files("dexfw_envs.play") / "policies"
    sizes = {path.name: len(path.read_bytes()) for path in folder.iterdir()}
    assert sorted(sizes) == sorted(f"{name.lower()}.npz" for name in NAMES)
    assert sum(sizes.values()) < 5e6


@pytest.mark.parametrize("task", NAMES)
def test_it_solves_the_first_scenes(task):
    scenes = split(task, "T_VAL", 4, 0)
    options = {"num_envs": 4, "env_options": {"threads": 1}}
    records = evaluate(load_shipped(task), entry(task).env_id, scenarios=scenes, **options)
    assert sum(record["success"] for record in records) >= 3


def test_playing_imports_no_torch():
    run_fresh(
        "import sys, dexfw_envs.play.show\n"
        "from dexfw_envs.play import load_shipped\n"
        "load_shipped('Grasp')\n"
        "assert 'torch' not in sys.modules and 'safetensors' not in sys.modules"
    )


# --- equal to the script


def the_script(task: str, worlds: int):
    """The combined policy of the script in torch, and an env of so many worlds."""
    pytest.importorskip("torch", reason="the script needs torch")
    pytest.importorskip("diffusers", reason="the script needs diffusers")
    pytest.importorskip("safetensors", reason="kept policies are read by safetensors")
    from dataclasses import replace

    from benchmark.grid.scripts import load_script
    from benchmark.kept.shipped import kept_path
    from dexfw_envs.runs.policies import read_policy
    from dexfw_envs.runs.settings import from_dict

    script, state = load_script("dexflywheel"), read_policy(kept_path(task))
    args = replace(from_dict(script.Args, state["args"]), rl_envs=worlds, threads=1)
    return script.open_policy(state, args, "combined")


class Beside:
    """Acts as one policy and compares every action with another's on the same observations."""

    def __init__(self, acting, other) -> None:
        self.acting, self.other = acting, other
        self.apart: list[float] = []

    def reset(self, mask) -> None:
        self.acting.reset(mask)
        self.other.reset(mask)

    def act(self, observation):
        action = self.acting.act(observation)
        self.apart.append(float(np.abs(action - self.other.act(observation)).max()))
        return action


@pytest.mark.parametrize("task", NAMES)
def test_the_player_acts_as_the_script_does(task):
    """Three scenes in two worlds, so that one world starts anew while the other is under way."""
    theirs, env = the_script(task, worlds=2)
    scenes = split(task, "T_VAL", 3, 1)
    pair = Beside(theirs, load_shipped(task))
    expected = evaluate(pair, env, scenarios=scenes)
    assert len(pair.apart) >= 50 and max(pair.apart) < NEAR
    found = evaluate(load_shipped(task), env, scenarios=scenes)
    env.close()
    assert [row["success"] for row in found] == [row["success"] for row in expected]


@pytest.mark.parametrize("task", NAMES)
def test_what_ships_is_what_is_kept(task, tmp_path):
    pytest.importorskip("torch", reason="kept policies are read by torch")
    pytest.importorskip("diffusers", reason="the schedule is that of diffusers")
    pytest.importorskip("safetensors", reason="kept policies are read by safetensors")
    from benchmark.kept.shipped import kept_path, write

    fresh = write(kept_path(task), tmp_path / "fresh.npz", episodes=0, threads=1)
    header, arrays = read_arrays(shipped_path(task))
    header.pop("measured")
    assert header == fresh
    again = read_arrays(tmp_path / "fresh.npz")[1]
    assert arrays.keys() == again.keys()
    for name, value in arrays.items():
        assert value.dtype == again[name].dtype and np.array_equal(value, again[name]), name


def test_a_policy_of_ones_own_is_exported_and_measured(tmp_path, capsys):
    pytest.importorskip("torch", reason="kept policies are read by torch")
    pytest.importorskip("diffusers", reason="the schedule is that of diffusers")
    pytest.importorskip("safetensors", reason="kept policies are read by safetensors")
    from benchmark.kept.shipped import KEPT, Args, main
    from benchmark.protocol import ROOT

    source = KEPT / "dexflywheel/Grasp/i2-seed1.safetensors"
    main(Args(policy=source, output=tmp_path / "my.npz", episodes=2, threads=1))
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path / 'my.npz'}, ") and said.endswith("] of 2 episodes\n")
    header = load(tmp_path / "my.npz").header
    assert header["iteration"] == 2 and header["measured"]["n"] == 2
    assert header["made"]["from"] == source.relative_to(ROOT).as_posix()
    with pytest.raises(ValueError, match="--policy and --output go together"):
        main(Args(policy=source))


def test_other_policies_are_not_exported(tmp_path):
    pytest.importorskip("torch", reason="kept policies are read by torch")
    pytest.importorskip("safetensors", reason="kept policies are read by safetensors")
    from benchmark.kept.shipped import KEPT, export
    from dexfw_envs.runs.policies import read_policy, write_policy

    state = read_policy(KEPT / "dexflywheel/Grasp/i2-seed1.safetensors")
    other = tmp_path / "other.safetensors"
    write_policy(other, {**state, "method": "human_demo"})
    with pytest.raises(ValueError, match="is no combined policy of dexflywheel"):
        export(other)


def test_a_policy_of_other_worlds_is_refused(tmp_path):
    header, arrays = read_arrays(shipped_path("Grasp"))
    older = tmp_path / "older.npz"
    header.pop("revision")
    write_arrays(older, header, arrays)
    with pytest.raises(ValueError, match=rf"older.npz is of revision 1 .* needed is {REVISION}"):
        load(older)


# --- the player by itself


def test_worlds_do_not_know_of_each_other():
    scenes = split("Grasp", "T_VAL", 3, 5)
    options = {"scenarios": scenes, "env_options": {"threads": 1}}
    alone, beside = (
        evaluate(load_shipped("Grasp"), "DexFW/Grasp-v0", num_envs=n, **options) for n in (1, 3)
    )
    for first, second in zip(alone, beside, strict=True):
        assert (first["success"], first["length"]) == (second["success"], second["length"])


def test_it_has_to_be_reset_for_the_worlds_it_acts_in():
    policy = load_shipped("Grasp")
    seen = {"proprio": np.zeros((2, 69), np.float32), "object": np.zeros((2, 13), np.float32)}
    with pytest.raises(ValueError, match="reset the policy for 2 worlds first; it knows 0"):
        policy.act(seen)
    policy.reset(np.ones(2, bool))
    actions = policy.act(seen)
    assert actions.shape == (2, 12) and actions.dtype == np.float32
    assert np.abs(actions).max() <= 1.0


# --- files


def test_it_says_what_it_is_for_in_another_environment():
    policy = load_shipped("Grasp")
    with pytest.raises(ValueError, match="this policy is for DexFW/Grasp-v0"):
        evaluate(policy, "DexFW/Pour-v0", split="T_VAL", episodes=1, num_envs=1)


def test_large_matrices_are_rounded_and_all_else_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    large = rng.normal(size=(64, 100)).astype(np.float32)
    large[3] = 0.0
    small, exact = large[:4], rng.normal(size=(100, 64))
    arrays = {"large": large, "small": small, "exact": exact}
    write_arrays(tmp_path / "a.npz", HEAD, arrays)
    header, found = read_arrays(tmp_path / "a.npz")
    assert header == HEAD | {"format": 1, "arrays": ["exact", "large", "small"]}
    assert np.array_equal(found["small"], small) and np.array_equal(found["exact"], exact)
    step = np.abs(large).max(axis=1, keepdims=True) / LARGEST
    assert found["large"].dtype == np.float32
    assert (np.abs(found["large"] - large) <= 0.5001 * step).all()
    write_arrays(tmp_path / "b.npz", HEAD, found)
    again = read_arrays(tmp_path / "b.npz")[1]["large"]
    np.testing.assert_allclose(again, found["large"], rtol=1e-6)  # rounded once is rounded


def test_a_file_that_lost_an_array_is_named(tmp_path):
    header, arrays = read_arrays(shipped_path("Grasp"))
    write_arrays(tmp_path / "less.npz", header, arrays)
    with np.load(tmp_path / "less.npz") as file:
        entries = {name: file[name] for name in file.files if name != "residual/mean"}
    np.savez(tmp_path / "less.npz", **entries)
    with pytest.raises(ValueError, match=r"damaged: .*less\.npz lacks arrays"):
        read_arrays(tmp_path / "less.npz")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_file_cut_short_is_named(tmp_path, share):
    whole = shipped_path("Grasp").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"damaged: .*cut\.npz"):
        load(tmp_path / "cut.npz")


def test_flipped_bytes_are_noticed(tmp_path):
    whole = bytearray(shipped_path("Grasp").read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(whole)
    with pytest.raises(ValueError, match=r"damaged: .*flipped\.npz"):
        load(tmp_path / "flipped.npz")


def test_what_is_no_policy_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no policy file"):
        load(tmp_path / "none.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(IsADirectoryError):
        load(tmp_path / "folder.npz")
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    with pytest.raises(ValueError, match=r"damaged: .*other\.npz"):
        load(tmp_path / "other.npz")
    np.savez(tmp_path / "newer.npz", **{HEADER: np.array(json.dumps(HEAD | {"format": 9}))})
    with pytest.raises(ValueError, match="has format 9; this version reads 1"):
        load(tmp_path / "newer.npz")
    write_arrays(tmp_path / "empty.npz", HEAD, {})
    with pytest.raises(ValueError, match=r"damaged: .*empty\.npz lacks what the player needs"):
        load(tmp_path / "empty.npz")
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        write_arrays(tmp_path / "a.safetensors", HEAD, {})
    with pytest.raises(ValueError, match="lacks"):
        write_arrays(tmp_path / "a.npz", {"env_id": "x"}, {})


# --- the command


def test_the_list_names_tasks_policies_and_commands(capsys):
    assert command.main([]) == 0
    text = capsys.readouterr().out
    for item in TASKS:
        success = 100 * load_shipped(item.name).header["measured"]["success"]
        [line] = [line for line in text.splitlines() if item.env_id in line]
        assert f"{success:.1f} % [" in line
    for name in (*command.MODULES, *command.SCRIPTS):
        assert f" {name} " in text


def test_the_list_and_the_help_load_no_simulator():
    """They are to answer at once."""
    for words in ("[]", "['--help']", "['play', '--help']"):
        run_fresh(
            "import sys\n"
            "from dexfw_envs.__main__ import main\n"
            "try:\n"
            f"    main({words})\n"
            "except SystemExit:\n"
            "    pass\n"
            "loaded = {'torch', 'mujoco', 'h5py', 'av', 'pandas'} & set(sys.modules)\n"
            "assert not loaded, loaded"
        )


def test_all_commands_of_the_package_are_listed():
    root = Path(command.__file__).parent
    there = set()
    for path in root.rglob("*.py"):
        if '\nif __name__ == "__main__":\n' in path.read_text():
            parts = path.relative_to(root.parent).with_suffix("").parts
            there.add(".".join(part for part in parts if part != "__main__"))
    assert there == {"dexfw_envs", *(module for module, _ in command.MODULES.values())}


def test_play_shows_what_it_did(tmp_path, monkeypatch, capsys):
    need_drawing()
    pytest.importorskip("matplotlib", reason="its Pillow reads the pictures")
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    words = ["play", "Grasp", "--episodes", "2", "--size", "48", "--threads", "1"]
    assert command.main(words) == 0
    text = capsys.readouterr().out
    assert "2 of 2 succeeded" in text and "picture: dexfw-grasp.png" in text
    with Image.open("dexfw-grasp.png") as file:
        picture = np.asarray(file)
    assert picture.shape == (2 * 48, 6 * 48, 3)
    assert tuple(picture[0, -1]) == WON  # a success is framed green
    assert picture[10:40, 10:40].std() > 5  # something is seen

    assert command.main([*words, "--film", "film.png"]) == 0
    assert "film: film.png" in capsys.readouterr().out
    with Image.open("film.png") as film:
        assert film.n_frames > 20 and film.size == (2 * 48, 48)


def test_play_writes_mp4_where_it_can(tmp_path):
    need_drawing()
    av = pytest.importorskip("av", reason="mp4 needs PyAV")
    path = tmp_path / "film.mp4"
    words = ["play", "Grasp", "--episodes", "1", "--size", "48", "--threads", "1"]
    assert command.main([*words, "--film", str(path)]) == 0
    with av.open(str(path)) as file:
        assert file.streams.video[0].frames > 20


def test_without_graphics_the_outcome_is_still_told(tmp_path, monkeypatch, capsys):
    def nothing_draws(*_, **__):
        raise RuntimeError(HELP)

    monkeypatch.setattr(DexVectorEnv, "draw", nothing_draws)
    monkeypatch.chdir(tmp_path)
    words = ["play", "Grasp", "--episodes", "1", "--threads", "1"]
    assert command.main(words) == 0
    assert command.main([*words, "--picture", "a.png"]) == 1  # it was asked for
    captured = capsys.readouterr()
    assert captured.out.count("1 of 1 succeeded") == 2
    assert captured.err.count("nothing drawn: ") == 2 and "libegl1" in captured.err
    assert not list(tmp_path.iterdir())


def test_without_a_window_it_plays_on(monkeypatch, capsys):
    def no_display(*_, **__):
        raise RuntimeError("there is no display")

    monkeypatch.setattr(DexVectorEnv, "render", no_display)
    words = ["play", "Grasp", "--episodes", "1", "--threads", "1"]
    assert command.main([*words, "--window"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "no window: there is no display\n"
    assert "1 of 1 succeeded" in captured.out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["Gras"], "cannot play Gras: give one of"),
        (["none.npz"], "no policy file none.npz"),
        (["Grasp", "--film", "film.gif"], "a film's name ends in one of"),
        (["Grasp", "--picture", "a.jpg"], "a picture's name ends in .png"),
        (["Grasp", "--episodes", "0"], "--episodes"),
        (["Grasp", "--split", "T_X"], "T_X"),
    ],
)
def test_bad_input_is_one_line(words, reason, capsys):
    assert command.main(["play", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert reason in captured.err


def test_a_film_without_its_coder_is_refused_at_once(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    assert command.main(["play", "Grasp", "--film", "film.mp4"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "mp4 films need av" in captured.err and "film.png" in captured.err
