"""Writing videos: the one MP4 (H.264) writer of the project, on PyAV.

PyAV is imported when a writer is made, so that the package works without it.
"""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dexfw_envs.console import extras
from dexfw_envs.files import A_DAY, explained, sweep, sync_folder, temporary_name


class VideoWriter:
    """Encodes frames as they come; the file appears under its name only when complete.

    Use as a context manager: leaving it by an exception discards the unfinished file.
    """

    def __init__(self, path: str | Path, fps: float = 20.0, key_frames: int | None = None):
        """Open a writer.

        Args:
            path: Where the video shall be, ending in .mp4; folders are made.
            fps: Frames per second [1/s].
            key_frames: Frames from one key frame to the next, for readers that jump; the coder
                chooses by default, which takes least space.

        Raises:
            ImportError: PyAV is not installed.
            ValueError: The name does not end in .mp4 or `fps` is not positive.
            OSError: Nothing can be written there; the message says why.
        """
        self.path = Path(path)
        if self.path.suffix != ".mp4":
            raise ValueError(f"a video's name must end in .mp4, got {self.path.name}")
        if not fps > 0:
            raise ValueError(f"fps must be positive, got {fps}")

        self._av = extras.load("av", "videos need")
        self._fps = Fraction(fps).limit_denominator(1000)
        self._temporary = temporary_name(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            sweep(self.path.parent, older_than=A_DAY)
            self._file = self._av.open(
                str(self._temporary), mode="w", format="mp4", options={"movflags": "faststart"}
            )
        except OSError as error:
            raise explained(error, self.path) from error

        self._stream: Any = None
        self._options = {"crf": "23", "preset": "veryfast"}
        if key_frames is not None:
            self._options |= {"g": str(key_frames), "bf": "0"}

    @property
    def size(self) -> int:
        """What has been written of the unfinished file [byte]; the coder holds frames back."""
        return self._temporary.stat().st_size if self._temporary.exists() else 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and 3 colours of the coded frames; known from the first one on."""
        return self._stream.height, self._stream.width, 3

    def add(self, frame: np.ndarray) -> None:
        """Append one frame.

        Args:
            frame: RGB image, (height, width, 3) uint8, the same shape every time. An odd height
                or width is padded by one pixel, as the coding needs even ones.

        Raises:
            ValueError: It is no such image, or of another shape than the first.
            OSError: It cannot be written, such as on a full disk; the message says why.
        """
        frame = np.asarray(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                f"a frame must be (height, width, 3) uint8, got {frame.shape} {frame.dtype}"
            )
        frame = np.pad(frame, [(0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)], "edge")
        if self._stream is None:
            self._stream = self._open_stream(*frame.shape[:2])
        if frame.shape[:2] != (self._stream.height, self._stream.width):
            raise ValueError(f"frames must keep their shape, got {frame.shape}")
        self._encode(self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))

    def _open_stream(self, height: int, width: int) -> Any:
        stream = self._file.add_stream("libx264", rate=self._fps)
        stream.height = height
        stream.width = width
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # same frames, same bytes
        stream.options = self._options
        return stream

    def _encode(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._file.mux(packet)
        except OSError as error:
            raise explained(error, self.path) from error

    def close(self, path: str | Path | None = None) -> Path:
        """Finish the file and give it its name.

        Args:
            path: Another final name in the same folder, for names known only at the end.

        Returns:
            The path of the finished video.

        Raises:
            ValueError: No frame was added.
            OSError: It cannot be written, and nothing is left of it; the message says why.
        """
        if self._stream is None:
            self.discard()
            raise ValueError(f"no frame was added to {self.path}")

        self.path = Path(path) if path is not None else self.path
        try:
            self._encode(None)
            self._file.close()
            with self._temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(self._temporary, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            self.discard()
            raise explained(error, self.path) from error

        return self.path

    def discard(self) -> None:
        """Drop the unfinished file."""
        with contextlib.suppress(OSError):  # what cannot be finished is dropped all the same
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()
