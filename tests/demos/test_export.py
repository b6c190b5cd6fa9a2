"""Exports: every array comes back as stored, described and labelled; nothing is half-written."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from exports import ENV, MODE, SOURCES, fill, made_up, same, stored

from dexfw_envs.control.codec import PoseCodec
from dexfw_envs.demos import export as exporting
from dexfw_envs.demos.export import FORMATS, View, export
from dexfw_envs.demos.export.__main__ import Args, main
from dexfw_envs.demos.export.features import features_of
from dexfw_envs.demos.export.lerobot import INSTRUCTIONS
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.episodes.store import EpisodeMismatch, EpisodeStore
from dexfw_envs.registry import TASKS

ROOT = Path(__file__).parents[2]
LABELS = ("source", "success", "failure", "raised", "hold", "jerk", "identifier", "mujoco_version")
NO_VIDEO = View(video=False)


def check_labels(found, episode):
    assert {name: found[name] for name in LABELS} == {n: getattr(episode, n) for n in LABELS}
    assert (found["run_seed"], found["run_index"]) == (episode.seed, episode.index)
    assert found["scenario"] == episode.scenario.to_json()
    assert json.loads(found["info"]) == episode.info


# --- robomimic


def test_robomimic_round_trip(tmp_path):
    store = fill(tmp_path / "store")
    path = tmp_path / "out" / "demos.hdf5"
    assert export(store.folder, "robomimic", path, failures=True)["episodes"] == 5
    episodes = stored(store, failures=True)
    with h5py.File(path) as file:
        assert file["data"].attrs["total"] == sum(episode.length for episode in episodes)
        assert set(file["data"]) == {f"demo_{i}" for i in range(5)}
        for i, episode in enumerate(episodes):
            demo = file[f"data/demo_{i}"]
            assert demo.attrs["num_samples"] == episode.length
            check_labels(demo.attrs, episode)
            assert set(demo["obs"]) == set(demo["next_obs"]) == set(episode.observations)
            for key, value in episode.observations.items():
                same(demo[f"obs/{key}"], value[:-1])
                same(demo[f"next_obs/{key}"], value[1:])
            same(demo["actions"], episode.actions)
            same(demo["rewards"], episode.rewards)
            same(np.vstack([demo["states"][()], demo["final_state"][()]]), episode.states)
            last = episode.failure != "timeout"
            same(demo["dones"], np.array([0] * (episode.length - 1) + [int(last)]))


@pytest.mark.parametrize("name", ["lerobot", "robomimic", "minari"])
def test_episodes_without_states_are_exported(tmp_path, name):
    for module in {"lerobot": ["pyarrow"], "robomimic": [], "minari": ["minari", "PIL"]}[name]:
        pytest.importorskip(module, reason=f"{module} (extra data) is not installed")
    store = EpisodeStore(tmp_path / "store", ENV, MODE)
    episode = made_up(0)
    bare = replace(episode, states=np.zeros((episode.length + 1, 0)))
    store.add(bare, source="policy", seed=7)
    out = tmp_path / "out" / {"robomimic": "demos.hdf5"}.get(name, "demos-v0")
    assert export(store.folder, name, out)["episodes"] == 1


def test_robomimic_masks_and_env(tmp_path):
    store = fill(tmp_path / "store")
    export(store.folder, "robomimic", tmp_path / "all.hdf5", failures=True)
    export(store.folder, "robomimic", tmp_path / "won.hdf5")
    episodes = stored(store, failures=True)
    with h5py.File(tmp_path / "all.hdf5") as file:
        masks = {name: [demo.decode() for demo in file["mask"][name]] for name in file["mask"]}
        args = json.loads(file["data"].attrs["env_args"])
        told = json.loads(file["data"].attrs["dexfw"])
    by = {
        name: [f"demo_{i}" for i, e in enumerate(episodes) if e.source == name] for name in SOURCES
    }
    won = [f"demo_{i}" for i, e in enumerate(episodes) if e.success]
    lost = [f"demo_{i}" for i, e in enumerate(episodes) if not e.success]
    assert masks == {**by, "success": won, "failure": lost}
    options = {"control_mode": MODE, "obs_mode": "image+touch", "image_size": 34}
    assert args == {"env_name": f"dexfw_envs:{ENV}", "type": 2, "env_kwargs": options}
    assert told["features"]["obs/touch"]["elements"][0]["unit"] == "N"
    assert told["features"]["states"]["shape"] == [80]
    with h5py.File(tmp_path / "won.hdf5") as file:
        assert set(file["mask"]) == {"success", *SOURCES} and len(file["data"]) == 3


def test_robomimic_env_is_made_without_our_import(tmp_path):
    store = fill(tmp_path / "store", pictures=False)
    export(store.folder, "robomimic", tmp_path / "demos.hdf5")
    with h5py.File(tmp_path / "demos.hdf5") as file:
        text = file["data"].attrs["env_args"]
    code = (
        "import json, sys, gymnasium\n"
        "args = json.loads(sys.argv[1])\n"
        "env = gymnasium.make(args['env_name'], **args['env_kwargs'])\n"
        "print(env.spec.id, *env.observation_space)"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, text], capture_output=True, text=True, check=True
    )
    assert made.stdout.split() == [ENV, "object", "proprio", "touch"]


# --- minari


def test_minari_round_trip(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari", reason="minari (extra data) is not installed")
    store, path = fill(tmp_path / "store"), tmp_path / "root" / "grasp-v0"
    export(store.folder, "minari", path, failures=True)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    dataset, episodes = minari.load_dataset("grasp-v0"), stored(store, failures=True)
    assert (len(dataset), dataset.total_steps) == (5, sum(e.length for e in episodes))
    labels = dataset.storage.get_episode_metadata(range(5))
    for found, label, episode in zip(dataset, labels, episodes, strict=True):
        check_labels(label, episode)
        assert set(found.observations) == set(episode.observations)
        for key, value in episode.observations.items():
            same(found.observations[key], value)
            assert all(row in dataset.observation_space[key] for row in value)
        assert all(action in dataset.action_space for action in found.actions)
        for name in ("actions", "rewards"):
            same(getattr(found, name), getattr(episode, name))
        same(found.infos["states"], episode.states)
        ended = episode.failure != "timeout"
        assert (found.terminations[-1], found.truncations[-1]) == (ended, not ended)
        assert not (found.terminations[:-1].any() or found.truncations[:-1].any())
    told = dataset.storage.metadata["dexfw"]["features"]
    assert told["observations/proprio"]["elements"][0]["unit"] == "rad"


def test_minari_names_the_env(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari", reason="minari (extra data) is not installed")
    fill(tmp_path / "store", pictures=False)
    monkeypatch.chdir(tmp_path)
    export("store", "minari", "grasp-v3")
    dataset = minari.MinariDataset(tmp_path / "grasp-v3" / "data")
    assert (dataset.spec.dataset_id, dataset.env_spec.id) == ("grasp-v3", ENV)
    kwargs = {"task": "Grasp", "control_mode": MODE, "obs_mode": "state+touch"}
    assert dataset.env_spec.kwargs == kwargs
    env = dataset.recover_environment()
    assert env.observation_space == dataset.observation_space
    env.close()


def test_minari_lists_what_lies_in_a_folder_of_its_own(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari", reason="minari (extra data) is not installed")
    store = fill(tmp_path / "store", pictures=False)
    root = tmp_path / "exports"
    export(store.folder, "lerobot", root / "grasp", view=NO_VIDEO)
    with pytest.raises(ValueError, match=r"holds 'grasp', which is no Minari .*minari/grasp-v0"):
        export(store.folder, "minari", root / "grasp-v0")
    export(store.folder, "minari", root / "minari" / "grasp-v0")
    with pytest.raises(ValueError, match="holds the Minari dataset 'grasp-v0'"):
        export(store.folder, "lerobot", root / "minari" / "grasp", view=NO_VIDEO)
    export(store.folder, "robomimic", root / "minari" / "grasp.hdf5")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
    assert list(minari.list_local_datasets()) == ["grasp-v0"]


def test_minari_recovers_the_env_without_our_import(tmp_path):
    pytest.importorskip("minari", reason="minari (extra data) is not installed")
    store = fill(tmp_path / "store", pictures=False)
    export(store.folder, "minari", tmp_path / "minari" / "grasp-v0")
    code = (
        "import sys, minari\n"
        "env = minari.MinariDataset(sys.argv[1]).recover_environment()\n"
        "print(env.spec.id)"
    )
    data = str(tmp_path / "minari" / "grasp-v0" / "data")
    made = subprocess.run(
        [sys.executable, "-c", code, data], capture_output=True, text=True, check=True
    )
    assert made.stdout.split() == [ENV]


def test_the_python_that_minari_needs_is_named(tmp_path, monkeypatch):
    store = fill(tmp_path / "store", pictures=False)
    monkeypatch.setattr(exporting.sys, "version_info", (3, 10, 13))
    monkeypatch.setattr(exporting.platform, "python_version", lambda: "3.10.13")
    match = "export to minari needs Python 3.11 or later, this is Python 3.10.13"
    with pytest.raises(ImportError, match=match):
        export(store.folder, "minari", tmp_path / "minari" / "grasp-v0")


# --- what the arrays mean


@pytest.mark.parametrize("item", TASKS, ids=lambda item: item.name)
def test_every_number_is_described(item):
    episode, robot = load_seed(item.name), item.make().needs.robot
    found = features_of(episode)
    for key, group in ((group.name, group) for group in item.make().observation_groups):
        if key in found:
            np.testing.assert_array_equal([e.high for e in found[key].elements], group.bounds())
    assert len(set(found["proprio"].names)) == found["proprio"].shape[0]
    codec = PoseCodec(robot)
    targets = codec.decode(np.ones(codec.size))
    high = np.array([e.high for e in found["actions"].elements]).reshape(robot.arms, 12)
    np.testing.assert_allclose(high[:, :3], targets.position)
    np.testing.assert_allclose(high[:, 6:], targets.hand)
    joint = replace(episode, control_mode="joint", actions=np.zeros((3, 13 * robot.arms)))
    assert len(set(features_of(joint)["actions"].names)) == 13 * robot.arms
    text = INSTRUCTIONS[item.name].format(*episode.scenario.objects)
    assert all(name in text for name in episode.scenario.objects)


def test_arrays_of_another_size_are_refused():
    episode = load_seed("Grasp")
    with pytest.raises(ValueError, match=r"actions has rows of shape \(11,\), need \(12,\)"):
        features_of(replace(episode, actions=episode.actions[:, :11]))
    with pytest.raises(ValueError, match="unknown control_mode 'delta'"):
        features_of(replace(episode, control_mode="delta"))


# --- what is refused


def test_unknown_format_and_options_of_others(tmp_path):
    valid = [item.name for item in FORMATS]
    with pytest.raises(ValueError, match="unknown format 'rlds'; choose one of") as caught:
        export(tmp_path, "rlds", tmp_path / "out")
    assert str(valid) in str(caught.value)
    for name in ("robomimic", "minari"):
        with pytest.raises(ValueError, match="only lerobot takes --camera"):
            export(tmp_path, name, tmp_path / "out-v0", view=NO_VIDEO)
    with pytest.raises(ValueError, match="--no-video leaves out what --camera"):
        View(video=False, camera="front")
    with pytest.raises(ValueError, match=r"named like grasp-demos-v0: .* got 'grasp'"):
        export(tmp_path, "minari", tmp_path / "grasp")


def test_missing_and_empty_stores(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no episode file or folder .*nowhere"):
        export(tmp_path / "nowhere", "robomimic", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no episodes .* in .*empty"):
        export(tmp_path / "empty", "robomimic", tmp_path / "out")
    store = EpisodeStore(tmp_path / "lost", ENV, MODE)
    store.add(made_up(3), source="policy", seed=0)
    with pytest.raises(ValueError, match=r"all 1 episodes in .*lost failed; --failures exports"):
        export(store.folder, "robomimic", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_episode_is_exported_by_its_file(tmp_path):
    store = fill(tmp_path / "run" / "D_1")
    chosen = stored(store)[1]
    found = export(store.path(chosen.identifier), "robomimic", tmp_path / "one.hdf5")
    assert found["episodes"] == 1
    with h5py.File(tmp_path / "one.hdf5") as file:
        assert file["data/demo_0"].attrs["identifier"] == chosen.identifier
    with pytest.raises(FileNotFoundError, match=r"but in its folders D_1: name one of them, such"):
        export(tmp_path / "run", "robomimic", tmp_path / "out")
    with pytest.raises(ValueError, match=r"an episode file ends in \.h5, got .*one\.hdf5"):
        export(tmp_path / "one.hdf5", "robomimic", tmp_path / "out")


def test_what_cannot_be_read_is_named_and_left_out(tmp_path, capsys):
    store = fill(tmp_path / "store")
    (store.folder / "a-folder.h5").mkdir()
    (store.folder / "z-link.h5").symlink_to(tmp_path / "nowhere.h5")
    (store.folder / "empty.h5").touch()
    words = Args(store.folder, "robomimic", tmp_path / "won.hdf5", json=True)
    assert main(words) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    reasons = {"a-folder": "it is a folder", "z-link": "it is a link to nothing"}
    assert found["damaged"] == reasons | {"empty": "it is empty"}
    assert found["episodes"] == 3
    assert "damaged, left out: z-link: it is a link to nothing" in captured.err


def test_mixed_tasks_and_arrays_are_refused(tmp_path):
    store = fill(tmp_path / "store")
    shutil.copytree(store.folder, tmp_path / "mixed")
    other = EpisodeStore(tmp_path / "other", ENV, "joint")
    name = other.add(made_up(0), source="policy", seed=1)
    shutil.copy(other.folder / f"{name}.h5", tmp_path / "mixed")
    match = "mixes episodes: .*1 of DexFW/Grasp-v0 with joint"
    with pytest.raises(EpisodeMismatch, match=match):
        export(tmp_path / "mixed", "robomimic", tmp_path / "out")
    store.add(made_up(0, pictures=False), source="policy", seed=1)
    with pytest.raises(ValueError, match="only episodes with the same arrays"):
        export(store.folder, "robomimic", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed", "other", "store"]


def test_what_exists_is_left_alone(tmp_path):
    store = fill(tmp_path / "store")
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileExistsError, match="out exists already"):
        export(store.folder, "robomimic", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("name", ["robomimic", "lerobot"])
def test_an_error_midway_leaves_nothing(tmp_path, monkeypatch, name):
    store = fill(tmp_path / "store")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dexfw_envs.demos.export.robomimic._env_args", full)
    monkeypatch.setattr("dexfw_envs.demos.export.lerobot._write_json", full)
    with pytest.raises(OSError, match=r"cannot write .*out: the disk is full"):
        export(store.folder, name, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_missing_packages_are_named(tmp_path, monkeypatch):
    store = fill(tmp_path / "store")
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name != "pyarrow" else True)
    with monkeypatch.context() as patch:
        patch.setattr(exporting.sys, "version_info", (3, 11, 7))  # an older one is refused before
        with pytest.raises(ImportError, match=r"exports to minari need minari, .*\[data\]"):
            export(store.folder, "minari", tmp_path / "out-v0")
    with pytest.raises(ImportError, match=r"exports to lerobot need av, .*with --no-video"):
        export(store.folder, "lerobot", tmp_path / "out")
    assert export(store.folder, "lerobot", tmp_path / "out", view=NO_VIDEO)["episodes"] == 3


# --- command line


def test_command(tmp_path, capsys):
    store = fill(tmp_path / "store")
    damaged = store.ids()[-1]
    path = store.folder / f"{damaged}.h5"
    path.write_bytes(path.read_bytes()[:-9])
    asked = Args(store.folder, "robomimic", tmp_path / "a.hdf5", failures=True, json=True)
    assert main(asked) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["episodes"], list(found["damaged"])) == (4, [damaged])
    assert f"damaged, left out: {damaged}: its" in err
    path.unlink()
    assert main(replace(asked, output=tmp_path / "b.hdf5", json=False)) == 0
    assert "b.hdf5: 4 episodes of DexFW/Grasp-v0\n" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match=r"a\.hdf5"):
        main(asked)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_real_reader_has_an_environment_of_its_own(tmp_path):
    command = ["make", "-n", "test-lerobot", f"LEROBOT={tmp_path / 'own'}"]
    plan = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"-m venv {tmp_path / 'own'}" in plan and "lerobot==" in plan
    assert "tests/integrations/test_lerobot_reader.py" in plan
