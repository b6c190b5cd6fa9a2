"""The episode store: exact round trips, and no damage, kill or full disk loses what was saved."""

import errno
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sample_episodes import ENV, MODE, ORIGIN, make_episode

from dexfw_envs.console.command import run_command
from dexfw_envs.demos import verify
from dexfw_envs.episodes import file as episode_file
from dexfw_envs.episodes.episode import Episode
from dexfw_envs.episodes.store import (
    DamagedEpisode,
    EpisodeMismatch,
    EpisodeStore,
    load_episode,
    save_episode,
)
from dexfw_envs.scenario import Scenario

ARRAYS = ("actions", "rewards", "states")


def assert_same(loaded: Any, saved: Any) -> None:
    for name in ARRAYS:
        assert getattr(loaded, name).dtype == getattr(saved, name).dtype
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))
    assert set(loaded.observations) == set(saved.observations)
    for key, value in saved.observations.items():
        assert loaded.observations[key].dtype == value.dtype
        np.testing.assert_array_equal(loaded.observations[key], value)
    for name in ("index", "scenario", "success", "raised", "hold", "length", "failure", "jerk"):
        assert getattr(loaded, name) == getattr(saved, name), name


@pytest.fixture
def store(tmp_path):
    return EpisodeStore(tmp_path / "store", ENV, MODE)


def fill(store: EpisodeStore, count: int) -> list[str]:
    return [store.add(make_episode(i), source="policy", seed=0) for i in range(count)]


# --- one file ---


def test_file_holds_everything(tmp_path):
    path = tmp_path / "seed.h5"
    save_episode(path, make_episode(3), **ORIGIN, mujoco_version="4.0.0")
    loaded = load_episode(path, env_id=ENV, control_mode=MODE)
    assert_same(loaded, make_episode(3))
    assert loaded.info == {"reward_terms": {"lift": 0.5}}
    assert (loaded.identifier, loaded.env_id, loaded.control_mode) == ("seed", ENV, MODE)
    assert (loaded.mujoco_version, loaded.seed, loaded.source) == ("4.0.0", 7, "scripted")
    assert loaded.schema_version == episode_file.SCHEMA_VERSION


def test_an_episode_without_states_names_no_maker_of_them(tmp_path):
    episode = make_episode(3, states=np.zeros((6, 0)))
    save_episode(tmp_path / "real.h5", episode, **ORIGIN)
    loaded = load_episode(tmp_path / "real.h5")
    assert_same(loaded, episode)
    assert loaded.mujoco_version == ""


def test_file_opens_with_plain_h5py(tmp_path):
    save_episode(tmp_path / "a.h5", make_episode(), **ORIGIN)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert file.attrs["env_id"] == ENV
        assert file["observations/proprio"].shape == (6, 69)


def test_same_episode_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_episode(tmp_path / f"{name}.h5", make_episode(), **ORIGIN)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_stored_episode_can_be_saved_again(tmp_path):
    save_episode(tmp_path / "a.h5", make_episode(), **ORIGIN)
    loaded = load_episode(tmp_path / "a.h5")
    save_episode(tmp_path / "b.h5", loaded, **ORIGIN)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


FLOATS = st.sampled_from([np.float32, np.float64])


@st.composite
def episodes(draw):
    steps = draw(st.integers(1, 6))

    def array(rows, *shape):
        dtype = draw(FLOATS)
        return draw(hnp.arrays(dtype, (rows, *shape)))

    keys = draw(st.sets(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1)))
    pose = (*draw(st.tuples(*[st.floats(-1, 1)] * 3)), 1.0, 0.0, 0.0, 0.0)
    seed = draw(st.integers(0, 2**62))
    return Episode(
        index=draw(st.integers(0, 10**6)),
        scenario=Scenario("Grasp", (draw(st.text(min_size=1)),), "plain", 1, (pose,), seed),
        observations={key: array(steps + 1, draw(st.integers(0, 4))) for key in sorted(keys)},
        actions=array(steps, 12),
        rewards=array(steps),
        states=array(steps + 1, draw(st.integers(0, 9))),
        success=draw(st.booleans()),
        raised=draw(st.booleans()),
        hold=draw(st.integers(0, 300)),
        length=steps,
        failure=draw(st.sampled_from(["", "dropped", "timeout", "fault"])),
        jerk=draw(st.floats(0, 10)),
        info=draw(st.dictionaries(st.text(), st.floats(allow_nan=False) | st.booleans())),
    )


@given(episodes())
@settings(max_examples=60, deadline=None)
def test_round_trip_is_exact(tmp_path_factory, episode):
    path = tmp_path_factory.mktemp("episode") / "a.h5"
    save_episode(path, episode, **ORIGIN)
    loaded = load_episode(path)
    assert_same(loaded, episode)
    assert loaded.info == episode.info


@pytest.fixture(scope="module")
def episode_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / "a.h5"
    save_episode(path, make_episode(), **ORIGIN)
    return path.read_bytes()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_damage_is_seen(tmp_path_factory, episode_bytes, data):
    content = bytearray(episode_bytes)
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:at]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.h5"
    path.write_bytes(content)
    with pytest.raises(DamagedEpisode, match=r"a\.h5"):
        load_episode(path)


@pytest.mark.parametrize("content", [b"nonsense", pickle.dumps({"actions": []})])
def test_other_files_are_no_episodes(tmp_path, content):
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(DamagedEpisode, match="no DexFW episode"):
        load_episode(tmp_path / "a.h5")


def edited(content: bytes, edit) -> bytes:
    """Return the episode file after `edit(file)`, with a seal that fits it again."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        edit(file)
    view = buffer.getbuffer()
    view[:512] = episode_file._seal(view)
    return bytes(view)


def _link_out(file):
    del file["rewards"]
    file["rewards"] = h5py.ExternalLink("elsewhere.h5", "/rewards")


def _link_group_out(file):
    del file["observations"]
    file["observations"] = h5py.ExternalLink("elsewhere.h5", "/observations")


def _text_array(file):
    del file["rewards"]
    file["rewards"] = ["a"] * 5


def _drop_attribute(file):
    del file.attrs["scenario"]


def _shorten(file):
    del file["actions"]
    file["actions"] = np.zeros((2, 12))


@pytest.mark.parametrize(
    "edit", [_link_out, _link_group_out, _text_array, _drop_attribute, _shorten]
)
def test_wrong_content_is_refused(tmp_path, episode_bytes, edit):
    (tmp_path / "a.h5").write_bytes(edited(episode_bytes, edit))
    with pytest.raises(DamagedEpisode, match=r"a\.h5"):
        load_episode(tmp_path / "a.h5")


def test_newer_file_format_is_refused(tmp_path, episode_bytes):
    content = edited(episode_bytes, lambda file: file.attrs.update({"schema_version": 99}))
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(EpisodeMismatch, match="file format 99"):
        load_episode(tmp_path / "a.h5")


def test_other_env_or_control_mode_is_refused(tmp_path):
    save_episode(tmp_path / "a.h5", make_episode(), **ORIGIN)
    with pytest.raises(EpisodeMismatch, match=r"'DexFW/Grasp-v0', but 'DexFW/Grasp-v1'"):
        load_episode(tmp_path / "a.h5", env_id="DexFW/Grasp-v1")
    with pytest.raises(EpisodeMismatch, match=r"'ee_pose', but 'joint'"):
        load_episode(tmp_path / "a.h5", control_mode="joint")


@pytest.mark.parametrize(
    ("changes", "origin", "words"),
    [
        ({"actions": np.zeros((4, 12))}, {}, "actions needs 5 rows"),
        ({"states": np.zeros((5, 3))}, {}, "states needs 6 rows"),
        ({"rewards": np.array([None] * 5)}, {}, "rewards must hold numbers"),
        ({"observations": {"a/b": np.zeros((6, 1))}}, {}, "plain name"),
        ({"length": 0}, {}, "at least one step"),
        ({"info": {"text": "x" * 70_000}}, {}, "info takes"),
        ({}, {"source": "magic"}, "valid: scripted, policy, augmented"),
        ({}, {"env_id": ""}, "env_id"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changes, origin, words):
    with pytest.raises(ValueError, match=words):
        save_episode(tmp_path / "a.h5", make_episode(**changes), **{**ORIGIN, **origin})
    assert not any(tmp_path.iterdir())


def test_observation_keys_to_read(tmp_path):
    save_episode(tmp_path / "a.h5", make_episode(), **ORIGIN)
    loaded = load_episode(tmp_path / "a.h5", observation_keys=["proprio"])
    assert list(loaded.observations) == ["proprio"]
    with pytest.raises(ValueError, match=r"no observations \['touch'\]; it has"):
        load_episode(tmp_path / "a.h5", observation_keys=["touch"])
    with pytest.raises(FileNotFoundError):
        load_episode(tmp_path / "b.h5")


# --- the store ---


def test_add_and_load(store):
    ids = fill(store, 3)
    assert store.ids() == ids
    assert len(store) == 3
    again = EpisodeStore(store.folder)
    assert (again.env_id, again.control_mode) == (ENV, MODE)
    assert_same(again.load(ids[1]), make_episode(1))
    assert [e.identifier for e in again.episodes()] == ids


def test_ids_follow_from_the_settings(store, tmp_path):
    other = EpisodeStore(tmp_path / "other", ENV, MODE)
    same = {"source": "policy", "seed": 0, "config": {"b": 1, "a": np.float64(0.5)}}
    twin = {"source": "policy", "seed": 0, "config": {"a": 0.5, "b": 1}}
    assert store.identifier(4, **same) == other.identifier(4, **twin)
    names = {
        store.identifier(4, **same),
        store.identifier(5, **same),
        store.identifier(4, **{**same, "source": "augmented"}),
        store.identifier(4, **{**same, "seed": 1}),
        store.identifier(4, **{**same, "config": {}}),
        EpisodeStore(tmp_path / "v1", "DexFW/Grasp-v1", MODE).identifier(4, **same),
    }
    assert len(names) == 6


def test_adding_twice_keeps_the_first(store):
    (first,) = fill(store, 1)
    before = (store.folder / f"{first}.h5").read_bytes()
    assert store.add(make_episode(0, rewards=np.zeros(5)), source="policy", seed=0) == first
    assert (store.folder / f"{first}.h5").read_bytes() == before
    assert len(store.manifest()) == 1
    with pytest.raises(ValueError, match="already holds an episode of another scenario"):
        store.add(make_episode(1), source="policy", seed=0, index=0)


def test_the_version_of_mujoco_is_looked_up_once(store, monkeypatch):
    asked = []
    monkeypatch.setattr(episode_file.metadata, "version", lambda name: asked.append(name) or "9.9")
    episode_file.installed_mujoco.cache_clear()
    fill(store, 3)
    assert asked == ["mujoco"]
    assert {episode.mujoco_version for episode in store.episodes()} == {"9.9"}
    episode_file.installed_mujoco.cache_clear()


def test_missing_is_what_is_left(store):
    fill(store, 3)
    assert store.missing(5, source="policy", seed=0) == [3, 4]
    assert store.missing(2, source="policy", seed=1) == [0, 1]


def test_failures_are_kept_with_their_reason(store):
    fill(store, 2)
    failed = make_episode(2, success=False, failure="dropped")
    identifier = store.add(failed, source="augmented", seed=0)
    assert [e.identifier for e in store.episodes(success=False)] == [identifier]
    assert next(store.episodes(source="augmented")).failure == "dropped"
    assert len(list(store.episodes(success=True))) == 2
    with pytest.raises(ValueError, match="unknown source"):
        next(store.episodes(source="magic"))


def test_mixing_is_refused(store):
    fill(store, 1)
    with pytest.raises(EpisodeMismatch, match="not mixed"):
        EpisodeStore(store.folder, env_id="DexFW/Grasp-v1")
    with pytest.raises(EpisodeMismatch, match="'joint' is needed"):
        EpisodeStore(store.folder, control_mode="joint")
    stray = store.folder / "stray.h5"
    save_episode(stray, make_episode(9), **{**ORIGIN, "control_mode": "joint"})
    with pytest.raises(EpisodeMismatch, match="not mixed"):
        list(store.episodes())
    assert list(store.verify()) == ["stray"]


def test_empty_and_wrong_folders(tmp_path):
    store = EpisodeStore(tmp_path / "nothing")
    assert store.ids() == store.manifest() == []
    with pytest.raises(ValueError, match="open it with env_id"):
        store.add(make_episode(), source="policy", seed=0)
    with pytest.raises(KeyError, match="it holds 0"):
        store.load("a")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        EpisodeStore(tmp_path / "file")


def test_damaged_files_are_reported_and_skipped(store):
    ids = fill(store, 4)
    path = store.folder / f"{ids[1]}.h5"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.warns(UserWarning, match="truncated or altered"):
        kept = [e.identifier for e in store.episodes()]
    assert kept == [ids[0], ids[2], ids[3]]
    assert list(store.damaged) == [ids[1]]
    assert list(store.verify()) == [ids[1]]
    with pytest.raises(DamagedEpisode, match="truncated or altered"):
        store.load(ids[1])
    with pytest.warns(UserWarning, match="skipped"):
        store.add(make_episode(1), source="policy", seed=0)
    assert store.verify() == {}


@pytest.mark.parametrize("harm", ["gone", "torn", "nonsense", "twice", "stale"])
def test_manifest_is_found_again_from_the_files(store, harm):
    ids = fill(store, 3)
    path = store.folder / "manifest.jsonl"
    rows, text = store.manifest(), path.read_text()
    assert [row["id"] for row in rows] == ids
    if harm == "gone":
        path.unlink()
    elif harm == "stale":
        path.write_text(text.replace(ids[0], "an-episode-that-was-deleted"))
    else:
        harmed = {"torn": text[:-40], "nonsense": "\x00[]\n3\n{}\n", "twice": text + text}
        path.write_text(harmed[harm])
    again = EpisodeStore(store.folder)
    assert again.manifest() == rows
    assert again.rebuild_manifest() == 3
    assert path.read_text() == text
    assert rows[1]["scenario"]["objects"] == ["ball"]


def test_full_disk_loses_nothing(store, monkeypatch):
    ids = fill(store, 2)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="the disk is full"):
            store.add(make_episode(2), source="policy", seed=0)
    assert store.ids() == ids
    assert store.verify() == {}
    assert len(fill(store, 3)) == 3


def test_folder_without_permission_loses_nothing(store, monkeypatch):
    ids, real_open = fill(store, 2), open

    def refuse(file, mode="r", *args, **kwargs):
        if "r" not in mode:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real_open(file, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refuse)
        with pytest.raises(PermissionError, match=f"cannot write {store.folder}.*no permission"):
            store.add(make_episode(2), source="policy", seed=0)
        with pytest.raises(PermissionError, match="no permission"):
            store.rebuild_manifest()
        assert EpisodeStore(store.folder).manifest() == store.manifest()
    assert store.ids() == ids
    assert store.verify() == {}
    assert len(fill(store, 3)) == 3


def test_a_store_is_checked_from_the_command_line(store, capsys):
    ids = fill(store, 4)
    store.add(make_episode(4, success=False, failure="dropped"), source="augmented", seed=0)
    (store.folder / "manifest.jsonl").unlink()
    assert verify.main(verify.Args(store.folder, rebuild=True)) == 0
    text = capsys.readouterr().out
    assert "5 sound episodes: 5 of DexFW/Grasp-v0, control mode ee_pose\n" in text
    assert "sources: policy 4, augmented 1\n" in text
    assert "4 successes; failures: dropped 1" in text
    assert len((store.folder / "manifest.jsonl").read_text().splitlines()) == 5
    path = store.folder / f"{ids[1]}.h5"
    path.write_bytes(path.read_bytes()[:-1])
    assert verify.main(verify.Args(store.folder, json=True)) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["sound"], found["successes"], list(found["damaged"])) == (4, 3, [ids[1]])
    assert "truncated or altered" in found["damaged"][ids[1]]


def unreadable(store: EpisodeStore, monkeypatch) -> dict[str, str]:
    """Put what cannot be read among the episodes of a store; return the reasons by id."""
    folder = store.folder
    (folder / "a-folder.h5").mkdir()
    (folder / "b-link.h5").symlink_to("nowhere.h5")
    (folder / "c-empty.h5").touch()
    (folder / "d-secret.h5").touch()
    os.mkfifo(folder / "e-pipe.h5")
    read = Path.read_bytes

    def refuse(path):
        if path.name == "d-secret.h5":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    return {
        "a-folder": "it is a folder",
        "b-link": "it is a link to nothing",
        "c-empty": "it is empty",
        "d-secret": "it cannot be read: Permission denied",
        "e-pipe": "it is no regular file",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes need POSIX")
def test_what_cannot_be_read_is_named_and_skipped(store, monkeypatch, capsys):
    ids = fill(store, 3)
    reasons = unreadable(store, monkeypatch)
    (store.folder / "manifest.jsonl").unlink()
    (store.folder / "manifest.jsonl").mkdir()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        again = EpisodeStore(store.folder)
        assert [row["id"] for row in again.manifest()] == ids
        assert [episode.identifier for episode in again.episodes()] == ids
    assert again.damaged == reasons
    lines = {str(one.message) for one in told}
    assert f"skipped: damaged episode file {store.path('a-folder')}: it is a folder" in lines
    assert {name: reasons[name] in text for name, text in store.verify().items()} == dict.fromkeys(
        reasons, True
    )
    assert verify.main(verify.Args(store.folder, json=True)) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["sound"], found["damaged"]) == (3, reasons)


def test_a_folder_of_several_tasks_is_named_as_such(store, capsys):
    fill(store, 2)
    other = {**ORIGIN, "control_mode": "joint"}
    save_episode(store.folder / "stray.h5", make_episode(9), **other)
    assert verify.main(verify.Args(store.folder)) == 1
    text = capsys.readouterr().out
    assert "damaged" not in text
    assert (
        f"3 sound episodes: 2 of {ENV}, control mode {MODE}; 1 of {ENV}, control mode joint; "
        "a folder of episodes is of one task and control mode: part them"
    ) in text


def test_one_file_is_checked_alone(store, capsys):
    ids = fill(store, 3)
    paths = [store.path(name) for name in ids]
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    assert verify.main(verify.Args(paths[0])) == 0
    assert "1 sound episodes" in capsys.readouterr().out
    assert verify.main(verify.Args(paths[1])) == 1
    assert f"damaged: {ids[1]}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--rebuild writes the manifest of a folder"):
        verify.main(verify.Args(paths[0], rebuild=True))


def test_a_run_names_its_folders_of_episodes(tmp_path):
    for name in ("D_1", "D_2"):
        fill(EpisodeStore(tmp_path / "run" / name, ENV, MODE), 1)
    (tmp_path / "run" / "videos").mkdir()
    run = tmp_path / "run"
    words = f"no episodes (*.h5) in {run}, but in its folders D_1, D_2: name one of them, such as "
    with pytest.raises(FileNotFoundError, match=re.escape(words + str(run / "D_2"))):
        verify.main(verify.Args(run))


def test_checking_what_is_no_store(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    expected = {
        "nothing": "no episode file or folder",
        "file": "ends in .h5",
        "empty": "no episodes (*.h5) in",
    }
    for name, words in expected.items():
        assert run_command(verify.Args, verify.main, argv=[str(tmp_path / name)]) == 2
        assert words in capsys.readouterr().err


def test_merging_is_copying(store, tmp_path):
    other = EpisodeStore(tmp_path / "other", ENV, MODE)
    ids = fill(store, 2)
    extra = other.add(make_episode(5), source="policy", seed=1)
    (store.folder / f"{extra}.h5").write_bytes((other.folder / f"{extra}.h5").read_bytes())
    assert store.ids() == sorted([*ids, extra])
    assert len(store.manifest()) == 3


WORKER = """
import sys
sys.path.insert(0, sys.argv[2])
from sample_episodes import ENV, MODE, make_episode
from dexfw_envs.episodes.store import EpisodeStore
store = EpisodeStore(sys.argv[1], ENV, MODE)
for i in range(100_000):
    store.add(make_episode(i, length=40), source="policy", seed=0)
"""


def test_kill_while_writing_and_resume(tmp_path):
    folder = tmp_path / "store"
    command = [sys.executable, "-c", WORKER, str(folder), str(Path(__file__).parents[1])]
    workers = [subprocess.Popen(command) for _ in range(2)]
    while len(list(folder.glob("*.h5"))) < 20 and workers[0].poll() is None:
        time.sleep(0.01)
    for worker in workers:
        worker.kill()
    assert [worker.wait() for worker in workers] == [-signal.SIGKILL] * 2
    store = EpisodeStore(folder, ENV, MODE)
    there = len(store)
    assert there >= 20
    assert store.verify() == {}
    assert store.missing(there, source="policy", seed=0) == []
    store.add(make_episode(there, length=40), source="policy", seed=0)
    assert [row["index"] for row in store.manifest()] == list(range(there + 1))
