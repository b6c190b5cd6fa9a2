"""The numbered files that a LeRobot dataset is cut into, `chunk-000/file-000` and on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.demos.export.statistics import Pixels, Statistics
from dexfw_envs.evaluation.video import VideoWriter

# The sizes and paths are LeRobot's own defaults.
CHUNK_FILES = 1000  # files in a folder
DATA_FILE_MB = 100  # a file that is larger takes no more episodes [MiB]
VIDEO_FILE_MB = 200
_PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{_PLACE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{_PLACE}.mp4"
EPISODES_PATH = f"meta/episodes/{_PLACE}.parquet"
# Readers jump to single frames; the next key frame before must be near.
_KEY_FRAME_STEPS = 2


class DataFiles:
    """Parquet files of frames; each episode lies in one, as a row group."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._number = -1
        self._path = folder
        self._writer: Any = None

    def add(self, columns: dict[str, np.ndarray]) -> tuple[int, int]:
        """Write the frames of an episode; return the numbers of chunk and file.

        Args:
            columns: (T,) or (T, K) each.
        """
        import pyarrow as pa

        table = pa.table({name: _column(values) for name, values in columns.items()})
        if self._writer is None or self._path.stat().st_size >= DATA_FILE_MB * 2**20:
            self._open(table.schema)
        self._writer.write_table(table)
        return divmod(self._number, CHUNK_FILES)

    def _open(self, schema: Any) -> None:
        import pyarrow.parquet as pq

        self.close()
        self._number += 1
        chunk, file = divmod(self._number, CHUNK_FILES)
        self._path = self._folder / DATA_PATH.format(chunk_index=chunk, file_index=file)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(self._path, schema)

    def close(self) -> None:
        """Finish the file under way."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _column(values: np.ndarray) -> Any:
    """Return numbers (T,) or (T, 1), or lists of fixed length (T, K), as an Arrow array."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    width = values.shape[1] if values.ndim > 1 else 1
    return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


class VideoFiles:
    """Videos of one camera; the frames of each episode lie in one, without a gap."""

    def __init__(self, folder: Path, key: str, fps: int):
        self.key = key
        self._folder = folder
        self._fps = fps
        self._number = -1
        self._frames = 0
        self._shape = (0, 0, 3)
        self._writer: VideoWriter | None = None

    def add(self, frames: Iterator[np.ndarray]) -> tuple[dict[str, Any], Statistics]:
        """Append the frames of an episode; return where they are, and their statistics."""
        writer = self._writer
        if writer is None or writer.size >= VIDEO_FILE_MB * 2**20:
            writer = self._open()

        first = self._frames
        pixels = Pixels()
        for frame in frames:
            writer.add(frame)
            pixels.add(frame)
            self._shape = writer.shape
            self._frames += 1

        chunk, file = divmod(self._number, CHUNK_FILES)
        segment = {
            "chunk_index": chunk,
            "file_index": file,
            "from_timestamp": first / self._fps,
            "to_timestamp": self._frames / self._fps,
        }

        return {f"videos/{self.key}/{k}": v for k, v in segment.items()}, pixels.statistics()

    def _open(self) -> VideoWriter:
        self.close()
        self._number += 1
        self._frames = 0
        chunk, file = divmod(self._number, CHUNK_FILES)
        path = VIDEO_PATH.format(video_key=self.key, chunk_index=chunk, file_index=file)
        self._writer = VideoWriter(self._folder / path, self._fps, key_frames=_KEY_FRAME_STEPS)
        return self._writer

    def close(self) -> None:
        """Finish the file under way."""
        writer = self._writer
        self._writer = None
        if writer is not None and self._frames:
            writer.close()
        elif writer is not None:
            writer.discard()

    def declared(self) -> dict[str, Any]:
        """Return the feature as info.json declares it."""
        height, width, _ = self._shape
        video = {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": self._fps,
            "video.channels": 3,
            "has_audio": False,
        }
        names = ["height", "width", "channels"]

        return {"dtype": "video", "shape": list(self._shape), "names": names, "info": video}
