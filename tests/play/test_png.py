"""PNG files written with zlib alone are what other readers read."""

from __future__ import annotations

import numpy as np
import pytest

from dexfw_envs.play.png import SIGNATURE, write_animation, write_png

pytest.importorskip("matplotlib", reason="its Pillow reads the files")
from PIL import Image

RNG = np.random.default_rng(0)


def noise(height=7, width=5) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_picture_comes_back(tmp_path):
    image = noise()
    write_png(tmp_path / "a.png", image)
    assert (tmp_path / "a.png").read_bytes().startswith(SIGNATURE)
    with Image.open(tmp_path / "a.png") as file:
        file.load()
        assert np.array_equal(np.asarray(file), image)


def test_every_frame_of_a_film_comes_back(tmp_path):
    frames = [noise(), noise()]
    frames.append(frames[-1].copy())  # nothing changes
    frames.append(frames[-1].copy())
    frames[-1][2:4, 1:3] = 0  # a part does
    write_animation(tmp_path / "a.png", frames, fps=10.0)
    with Image.open(tmp_path / "a.png") as file:
        assert file.n_frames == 4 and file.info["loop"] == 0
        for index, frame in enumerate(frames):
            file.seek(index)
            assert file.info["duration"] == 100
            assert np.array_equal(np.asarray(file.convert("RGB")), frame), index


def test_what_stands_still_takes_no_space(tmp_path):
    image = noise(64, 64)
    write_animation(tmp_path / "one.png", [image], fps=10.0)
    write_animation(tmp_path / "many.png", [image] * 30, fps=10.0)
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in ("one", "many")]
    assert sizes[1] < 1.5 * sizes[0]


def test_other_things_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.png"):
        write_png(tmp_path / "a.jpg", noise())
    with pytest.raises(ValueError, match="no frame"):
        write_animation(tmp_path / "a.png", [], fps=10.0)
    for wrong in (noise()[..., :2], noise().astype(float), noise(3, 3)):
        with pytest.raises(ValueError, match="of one size"):
            write_animation(tmp_path / "a.png", [noise(), wrong], fps=10.0)
