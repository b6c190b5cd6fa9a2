"""Pictures and films as PNG with nothing but zlib: where PyAV and Pillow are not installed.

A film is an animated PNG, which browsers play and picture viewers show as its first frame. Format:
PNG specification, third edition (W3C, 2025), sections 5 and 11.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dexfw_envs.files import atomic_write_bytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
BIT_DEPTH = 8
RGB, RGBA = 2, 6  # colour types
UP = 2  # filter of a row: its difference to the row above
OVER = 1  # a frame is laid over the last one, seen through where alpha is 0
MILLISECONDS = 1000  # in the unit of a frame's delay [1/s]


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write a picture.

    Args:
        path: Ends in `.png`.
        image: (height, width, 3) uint8.

    Raises:
        ValueError: The name ends otherwise, or the image has another form.
        OSError: The file cannot be written.
    """
    _check(path, [image])
    parts = [_header(image, RGB), _chunk(b"IDAT", _packed(image)), _chunk(b"IEND")]
    atomic_write_bytes(path, SIGNATURE + b"".join(parts))


def write_animation(path: str | Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Write a film that begins again when it ends.

    Args:
        path: Ends in `.png`.
        frames: At least one, (height, width, 3) uint8 each, of one size.
        fps: Frames per second [1/s].

    Raises:
        ValueError: The name ends otherwise, or the frames have another form.
        OSError: The file cannot be written.
    """
    _check(path, frames)
    repeats = 0  # without end
    parts = [_header(frames[0], RGBA), _chunk(b"acTL", struct.pack(">II", len(frames), repeats))]
    number = 0  # of the chunks that are numbered

    for index, picture in enumerate(_changes(frames)):
        parts.append(_chunk(b"fcTL", _control(number, picture, fps)))
        number += 1
        data = _packed(picture)
        if index == 0:
            parts.append(_chunk(b"IDAT", data))
            continue
        parts.append(_chunk(b"fdAT", struct.pack(">I", number) + data))
        number += 1

    parts.append(_chunk(b"IEND"))
    atomic_write_bytes(path, SIGNATURE + b"".join(parts))


def _check(path: str | Path, frames: Sequence[np.ndarray]) -> None:
    if Path(path).suffix != ".png":
        raise ValueError(f"the name of a PNG ends in .png, got {path}")
    if len(frames) == 0:
        raise ValueError(f"no frame for {path}")
    shape = frames[0].shape
    for frame in frames:
        if frame.dtype != np.uint8 or frame.shape != shape or shape[2:] != (3,):
            raise ValueError(
                f"frames must be (height, width, 3) uint8 of one size, got {frame.shape}"
            )


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    """Length, kind, data and their check sum."""
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _header(image: np.ndarray, colours: int) -> bytes:
    height, width = image.shape[:2]
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, BIT_DEPTH, colours, 0, 0, 0))


def _control(number: int, picture: np.ndarray, fps: float) -> bytes:
    """How long a frame stays, and that it is laid over the one before."""
    height, width = picture.shape[:2]
    left = 0
    top = 0
    dispose = 0
    delay = round(MILLISECONDS / fps)
    size = (number, width, height, left, top)
    return struct.pack(">IIIIIHHBB", *size, delay, MILLISECONDS, dispose, OVER)


def _packed(picture: np.ndarray) -> bytes:
    """The rows of a picture as differences to those above, compressed."""
    rows = picture.reshape(len(picture), -1)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    kind = np.full((len(rows), 1), UP, np.uint8)
    return zlib.compress(np.concatenate([kind, rows - above], axis=1).tobytes(), 9)


def _changes(frames: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The first frame whole, then what changes from frame to frame, with alpha 0 elsewhere."""
    before = None
    for frame in frames:
        changed = np.ones(frame.shape[:2], bool)
        if before is not None:
            changed = (frame != before).any(axis=2)
        picture = np.zeros((*frame.shape[:2], 4), np.uint8)
        picture[changed, :3] = frame[changed]
        picture[changed, 3] = 255
        before = frame
        yield picture
