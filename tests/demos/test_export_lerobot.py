"""The LeRobot export: arrays, pictures, layout and statistics, read with pyarrow and PyAV alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("av", reason="LeRobot's files need the extra data")
pytest.importorskip("pandas", reason="the test reads the files with the extra report")
import av
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from exports import ENV, PICTURE, fill, same, stored
from scenes import need_drawing

from dexfw_envs.demos.export import View, export
from dexfw_envs.demos.export.lerobot import instruction
from dexfw_envs.demos.export.statistics import QUANTILES, Pixels, merged, of_rows
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.store import EpisodeMismatch, EpisodeStore
from dexfw_envs.evaluation.video import VideoWriter

NO_VIDEO = View(video=False)
KEY = "observation.images.front"
NAMES = {"proprio": "observation.state", "object": "observation.environment_state"}
NAMES |= {"touch": "observation.touch"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return the episodes and the folder they were exported to, each file holding one or more."""
    folder = tmp_path_factory.mktemp("lerobot")
    store = fill(folder / "store")
    assert export(store.folder, "lerobot", folder / "out", failures=True)["episodes"] == 5
    return stored(store, failures=True), folder / "out"


def read_json(folder, name):
    return json.loads((folder / "meta" / name).read_text())


def episode_rows(folder):
    return pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()


def frames_of(folder, row, info):
    """Return the columns of one episode, found as the reader finds it."""
    numbers = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
    table = pq.read_table(folder / info["data_path"].format(**numbers))
    keep = np.flatnonzero(np.asarray(table["episode_index"]) == row["episode_index"])
    taken = table.take(keep)
    return {name: np.array(taken[name].to_pylist()) for name in taken.column_names}


def levels_of(folder, row, info, key=KEY):
    """Return time [s] and mean brightness of the frames of one episode's video."""
    numbers = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
    with av.open(str(folder / info["video_path"].format(video_key=key, **numbers))) as file:
        seen = [(frame.time, frame.to_ndarray(format="rgb24").mean()) for frame in file.decode()]
    first, last = (row[f"videos/{key}/{end}_timestamp"] for end in ("from", "to"))
    return np.array([pair for pair in seen if first - 1e-6 <= pair[0] < last - 1e-6]) - (first, 0)


def test_arrays_come_back(exported):
    episodes, folder = exported
    info = read_json(folder, "info.json")
    start = 0
    for number, (row, episode) in enumerate(zip(episode_rows(folder), episodes, strict=True)):
        steps = episode.length
        assert (row["episode_index"], row["length"]) == (number, steps)
        assert (row["dataset_from_index"], row["dataset_to_index"]) == (start, start + steps)
        found = frames_of(folder, row, info)
        for key, name in NAMES.items():
            same(found[name].astype(np.float32), episode.observations[key][:-1])
        same(found["action"].astype(np.float32), episode.actions)
        same(found["next.reward"], episode.rewards)
        assert found["next.done"].tolist() == [False] * (steps - 1) + [True]
        assert found["next.success"].tolist() == [False] * (steps - 1) + [episode.success]
        same(found["frame_index"], np.arange(steps))
        same(found["index"], start + np.arange(steps))
        np.testing.assert_allclose(found["timestamp"], np.arange(steps) / 20, atol=1e-6)
        assert row["tasks"] == [instruction(episode.scenario)]
        start += steps


def test_labels_come_back(exported):
    episodes, folder = exported
    for row, episode in zip(episode_rows(folder), episodes, strict=True):
        for name in ("identifier", "source", "success", "failure", "hold", "jerk"):
            assert row[name] == getattr(episode, name)
        assert row["scenario"] == episode.scenario.to_json()
    told = read_json(folder, "dexfw.json")
    assert (told["env_id"], told["control_mode"]) == (ENV, "ee_pose")
    assert told["features"]["observation.touch"]["elements"][4]["unit"] == "N"
    assert told["features"]["action"]["elements"][0]["unit"] == "m"


def test_pictures_come_back(exported):
    episodes, folder = exported
    info = read_json(folder, "info.json")
    assert info["features"][KEY]["shape"] == list(PICTURE)
    for row, episode in zip(episode_rows(folder), episodes, strict=True):
        times, levels = levels_of(folder, row, info).T
        np.testing.assert_allclose(times, np.arange(episode.length) / 20, atol=1e-6)
        recorded = episode.observations["image"][:-1].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(levels, recorded, atol=3)  # neighbours are 8 apart


def test_layout(exported):
    """The facts that LeRobot's reader of version 3.0 rests on."""
    episodes, folder = exported
    info = read_json(folder, "info.json")
    place = "chunk-{chunk_index:03d}/file-{file_index:03d}"
    assert info["codebase_version"] == "v3.0" and info["fps"] == 20
    assert info["data_path"] == f"data/{place}.parquet"
    assert info["video_path"] == f"videos/{{video_key}}/{place}.mp4"
    assert (info["chunks_size"], info["data_files_size_in_mb"]) == (1000, 100)
    steps = sum(episode.length for episode in episodes)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (5, steps, 3)
    assert info["splits"] == {"train": "0:5"} and info["robot_type"] == "panda_inspire"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    meta = {f"meta/{name}" for name in ("info.json", "stats.json", "tasks.parquet", "dexfw.json")}
    first = "chunk-000/file-000"
    shards = {
        f"data/{first}.parquet",
        f"meta/episodes/{first}.parquet",
        f"videos/{KEY}/{first}.mp4",
    }
    assert files == meta | shards
    table = pq.read_table(folder / f"data/{first}.parquet")
    declared = {k: v for k, v in info["features"].items() if v["dtype"] != "video"}
    assert set(table.column_names) == set(declared)
    for name, feature in declared.items():
        kind, (size,) = table.schema.field(name).type, feature["shape"]
        plain = pa.from_numpy_dtype(feature["dtype"])
        assert kind == (plain if size == 1 else pa.list_(plain, size)), name
        assert feature["names"] is None if size == 1 else len(feature["names"]) == size


def test_tasks_are_a_pandas_index(exported):
    episodes, folder = exported
    tasks = pd.read_parquet(folder / "meta/tasks.parquet")
    info = read_json(folder, "info.json")
    assert list(tasks.columns) == ["task_index"] and list(tasks.task_index) == [0, 1, 2]
    for row, episode in zip(episode_rows(folder), episodes, strict=True):
        [number] = set(frames_of(folder, row, info)["task_index"])
        assert tasks.iloc[number].name == instruction(episode.scenario)
    assert "pick up the drink can and hold it" in tasks.index


def test_statistics(exported):
    episodes, folder = exported
    found, info = read_json(folder, "stats.json"), read_json(folder, "info.json")
    assert set(found) == set(info["features"])
    actions = np.concatenate([episode.actions for episode in episodes]).astype(float)
    for name, value in (
        ("min", actions.min(0)),
        ("max", actions.max(0)),
        ("mean", actions.mean(0)),
    ):
        np.testing.assert_allclose(found["action"][name], value, atol=1e-12)
    np.testing.assert_allclose(found["action"]["std"], actions.std(0))
    assert found["action"]["count"] == [len(actions)]
    assert np.shape(found["next.reward"]["mean"]) == (1,)
    pixels = np.concatenate([e.observations["image"][:-1] for e in episodes]) / 255
    np.testing.assert_allclose(np.ravel(found[KEY]["mean"]), pixels.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(np.ravel(found[KEY]["std"]), pixels.std(axis=(0, 1, 2)))
    assert np.shape(found[KEY]["q50"]) == (3, 1, 1) and found[KEY]["count"] == [len(pixels)]
    row = episode_rows(folder)[2]
    expected = of_rows(episodes[2].actions)
    for name, value in expected.items():
        np.testing.assert_allclose(row[f"stats/action/{name}"], value)


def test_statistics_of_parts():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(n, 2)) for n in (1, 5, 40)]
    together, parts = of_rows(np.concatenate(rows)), merged([of_rows(part) for part in rows])
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(parts[name], together[name])
    frames, pixels = rng.integers(0, 256, (7, 5, 4, 3), dtype=np.uint8), Pixels()
    for frame in frames:
        pixels.add(frame)
    found, values = pixels.statistics(), frames.reshape(-1, 3) / 255
    for name, value in of_rows(values).items():
        if name in ("min", "max", "mean", "std"):
            np.testing.assert_allclose(found[name].ravel(), value)
    for name, share in QUANTILES.items():  # the least value that this share does not pass
        expected = np.quantile(values, share, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(found[name].ravel(), expected)


def test_full_files_are_followed_by_others(tmp_path, monkeypatch):
    store = fill(tmp_path / "store")
    for name, value in (("DATA_FILE_MB", 0), ("VIDEO_FILE_MB", 0), ("CHUNK_FILES", 2)):
        monkeypatch.setattr(f"dexfw_envs.demos.export.shards.{name}", value)
    folder = tmp_path / "out"
    export(store.folder, "lerobot", folder)
    rows, info = episode_rows(folder), read_json(folder, "info.json")
    for kind in ("data", f"videos/{KEY}"):
        places = [(row[f"{kind}/chunk_index"], row[f"{kind}/file_index"]) for row in rows]
        assert places == [(0, 0), (0, 1), (1, 0)]
    for row, episode in zip(rows, stored(store), strict=True):
        same(frames_of(folder, row, info)["action"].astype(np.float32), episode.actions)
        assert len(levels_of(folder, row, info)) == episode.length


@pytest.mark.parametrize(
    ("key_frames", "found"), [(2, [True, False] * 3), (None, [True] + [False] * 5)]
)
def test_key_frames_are_near_where_asked_for(tmp_path, key_frames, found):
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with VideoWriter(tmp_path / "a.mp4", key_frames=key_frames) as video:
        for _ in found:
            video.add(picture)
        assert video.shape == (32, 32, 3) and video.size >= 0
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert [bool(frame.key_frame) for frame in file.decode()] == found


def test_without_video(tmp_path):
    store = fill(tmp_path / "store")
    export(store.folder, "lerobot", tmp_path / "out", view=NO_VIDEO)
    info = read_json(tmp_path / "out", "info.json")
    assert info["video_path"] is None and info["total_episodes"] == 3
    assert not any("image" in name for name in info["features"])
    assert not (tmp_path / "out" / "videos").exists()


def short_store(folder, steps=3, **origin):
    """The first steps of the shipped demonstration, which holds no pictures."""
    seed = load_seed("Grasp")
    store = EpisodeStore(folder, ENV, "ee_pose")
    cut = replace(
        seed,
        length=steps,
        states=seed.states[: steps + 1],
        actions=seed.actions[:steps],
        rewards=seed.rewards[:steps],
        observations={key: value[: steps + 1] for key, value in seed.observations.items()},
    )
    store.add(cut, source="scripted", seed=0, **origin)
    return store, cut


def test_pictures_are_drawn_from_the_states(tmp_path):
    need_drawing()
    store, episode = short_store(tmp_path / "store")
    export(store.folder, "lerobot", tmp_path / "out", view=View(image_size=48))
    [row], info = episode_rows(tmp_path / "out"), read_json(tmp_path / "out", "info.json")
    key = "observation.images.front"
    assert info["features"][key]["shape"] == [48, 48, 3]
    env = DexVectorEnv("Grasp", 1, threads=1, image_size=48, autoreset_mode="disabled")
    env.set_state_vectors(episode.states[2:3], [episode.scenario])
    drawn = env.draw([0])[0]
    env.close()
    assert drawn.std() > 10  # there is something to see
    numbers = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
    path = tmp_path / "out" / info["video_path"].format(video_key=key, **numbers)
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode()]
    assert len(frames) == 3
    assert np.abs(frames[2].astype(float) - drawn).mean() < 12


def test_pictures_that_cannot_be_had(tmp_path):
    store, _ = short_store(tmp_path / "old", mujoco_version="3.2.1")
    with pytest.raises(EpisodeMismatch, match=r"mujoco '3\.2\.1' .*; --no-video exports without"):
        export(store.folder, "lerobot", tmp_path / "out")
    store = fill(tmp_path / "store")
    with pytest.raises(ValueError, match="recorded pictures are 36 by 34 pixels; --image-size"):
        export(store.folder, "lerobot", tmp_path / "out", view=View(image_size=64))
    assert not (tmp_path / "out").exists()


def test_an_unknown_camera_is_named(tmp_path):
    need_drawing()
    store, _ = short_store(tmp_path / "store")
    with pytest.raises(ValueError, match="unknown camera 'moon'; choose one of"):
        export(store.folder, "lerobot", tmp_path / "out", view=View(camera="moon"))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
