"""A LeRobot dataset, version 3.0, written with pyarrow and PyAV.

A frame is what is seen before a step, and the step's action: an episode of T steps has T frames,
and what is seen after the last step is left out, as are the full states. Many episodes share a
Parquet file, and a video, until it is full. `meta/dexfw.json` describes the arrays; the labels of
an episode are columns of its row in `meta/episodes`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.demos.export.features import Feature
from dexfw_envs.demos.export.pictures import Drawn, Recorded, View, pictures_of
from dexfw_envs.demos.export.selection import FPS, Selection, labels
from dexfw_envs.demos.export.shards import (
    CHUNK_FILES,
    DATA_FILE_MB,
    DATA_PATH,
    EPISODES_PATH,
    VIDEO_FILE_MB,
    VIDEO_PATH,
    DataFiles,
    VideoFiles,
)
from dexfw_envs.demos.export.statistics import Statistics, merged, of_rows
from dexfw_envs.episodes.store import StoredEpisode
from dexfw_envs.registry import entry
from dexfw_envs.scenario import Scenario

INSTRUCTIONS = {  # the task in words, with the objects of the scene
    "Grasp": "pick up the {0} and hold it",
    "Pour": "pour the balls from the {0} into the {1}",
    "Lift": "lift the {0} with both hands",
    "Handover": "take the {0} with the right hand and give it to the left",
}
_KEYS = {"proprio": "observation.state", "object": "observation.environment_state"}
_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def feature_name(key: str) -> str:
    """Return LeRobot's name of an array of the store."""
    own = {"actions": "action", "rewards": "next.reward"}
    return own.get(key) or _KEYS.get(key) or f"observation.{key}"


def picture_name(camera: str) -> str:
    """Return LeRobot's name of a camera's pictures."""
    return f"observation.images.{camera}"


def write(selection: Selection, folder: Path, view: View) -> int:
    """Write the dataset and return the number of its episodes.

    Args:
        selection: What to write.
        folder: Where; made here.
        view: What pictures go with it.
    """
    pictures = pictures_of(selection, view)
    try:
        return _Writer(selection, folder, pictures).run()
    finally:
        if pictures is not None:
            pictures.close()


class _Writer:
    """Takes the episodes one after the other; the meta files are written last."""

    def __init__(self, selection: Selection, folder: Path, pictures: Recorded | Drawn | None):
        self.selection = selection
        self.folder = folder
        self.pictures = pictures
        left_out = ("states", "image")
        self.exported = {k: f for k, f in selection.features.items() if k not in left_out}

        for feature in self.exported.values():
            if len(feature.shape) > 1:
                raise ValueError(f"{feature.key} has rows of shape {feature.shape}, need one axis")

        self.data = DataFiles(folder)
        self.video: VideoFiles | None = None
        if pictures is not None:
            self.video = VideoFiles(folder, picture_name(pictures.name), FPS)

        self.tasks: dict[str, int] = {}
        self.rows: list[dict[str, Any]] = []
        self.statistics: list[dict[str, Statistics]] = []
        self.frames = 0

    def run(self) -> int:
        try:
            for episode in self.selection.episodes():
                self._add(episode)
        finally:
            self.data.close()
            if self.video is not None:
                self.video.close()
        self._write_meta()
        return len(self.rows)

    def _add(self, episode: StoredEpisode) -> None:
        task = instruction(episode.scenario)
        number = self.tasks.setdefault(task, len(self.tasks))
        columns = self._columns(episode, number)
        statistics = {name: of_rows(values) for name, values in columns.items()}
        chunk, file = self.data.add(columns)
        row: dict[str, Any] = {
            "episode_index": len(self.rows),
            "tasks": [task],
            "length": episode.length,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + episode.length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }

        if self.video is not None and self.pictures is not None:
            segment, statistics[self.video.key] = self.video.add(self.pictures.frames(episode))
            row |= segment

        for name, values in statistics.items():
            row |= {f"stats/{name}/{kind}": v.tolist() for kind, v in values.items()}
        self.rows.append(row | labels(episode))
        self.statistics.append(statistics)
        self.frames += episode.length

    def _columns(self, episode: StoredEpisode, task: int) -> dict[str, np.ndarray]:
        """Return the columns of an episode's frames, (T,) or (T, K) each."""
        steps = np.arange(episode.length)
        last = steps == episode.length - 1
        columns = {feature_name(key): array for key, array in _arrays(episode, self.exported)}
        return columns | {
            "next.done": last,
            "next.success": last & episode.success,
            "timestamp": (steps / FPS).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(episode.length, len(self.rows)),
            "index": self.frames + steps,
            "task_index": np.full(episode.length, task),
        }

    def _write_meta(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        meta = self.folder / "meta"
        path = self.folder / EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.rows), path)
        pq.write_table(_task_table(list(self.tasks)), meta / "tasks.parquet")
        names = list(self.statistics[0])
        statistics = {name: merged([part[name] for part in self.statistics]) for name in names}
        _write_json(meta / "stats.json", statistics)
        _write_json(meta / "info.json", self._info())
        exported = {key: feature_name(key) for key in self.exported}
        _write_json(meta / "dexfw.json", self.selection.described(exported))

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": "v3.0",
            "robot_type": entry(self.selection.env_id).make().needs.robot.name,
            "total_episodes": len(self.rows),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "fps": FPS,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.video is not None else None,
            "features": self._features(),
        }

    def _features(self) -> dict[str, Any]:
        declared = {feature_name(key): _declared(value) for key, value in self.exported.items()}
        one: dict[str, Any] = {"shape": [1], "names": None}
        declared |= {name: {"dtype": "bool", **one} for name in ("next.done", "next.success")}
        for name in _COUNTERS:
            declared[name] = {"dtype": "float32" if name == "timestamp" else "int64", **one}
        if self.video is not None:
            declared[self.video.key] = self.video.declared()
        return declared


def instruction(scenario: Scenario) -> str:
    """Return the task of a scenario in words."""
    names = [name.replace("_", " ") for name in scenario.objects]
    return INSTRUCTIONS[scenario.task].format(*names)


def _arrays(
    episode: StoredEpisode, exported: dict[str, Feature]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the exported arrays with a row per frame."""
    for key in exported:
        seen = episode.observations.get(key)
        yield key, getattr(episode, key) if seen is None else seen[:-1]


def _declared(feature: Feature) -> dict[str, Any]:
    """Return a feature as info.json declares it."""
    if feature.shape in ((), (1,)):
        return {"dtype": feature.dtype, "shape": [1], "names": None}
    return {"dtype": feature.dtype, "shape": list(feature.shape), "names": feature.names}


def _task_table(tasks: list[str]) -> Any:
    """Return the table of tasks as pandas would write it, the tasks being its index."""
    import pyarrow as pa

    index = "__index_level_0__"
    described = (
        ("task_index", "task_index", "int64", "int64"),
        (None, index, "unicode", "object"),
    )
    fields = ("name", "field_name", "pandas_type", "numpy_type")
    pandas = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [{**dict(zip(fields, one, strict=True)), "metadata": None} for one in described],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    columns = {"task_index": pa.array(range(len(tasks)), pa.int64()), index: pa.array(tasks)}
    return pa.table(columns).replace_schema_metadata({"pandas": json.dumps(pandas)})


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=4, default=lambda array: array.tolist()) + "\n")
