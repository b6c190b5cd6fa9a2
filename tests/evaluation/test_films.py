"""The films of the documentation."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scenes import need_drawing

pytest.importorskip("matplotlib", reason="its Pillow writes the films")
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))  # as when the script itself is run
videos = importlib.import_module("render_videos")
tables = importlib.import_module("tables")
pictures = importlib.import_module("render_pictures")


def still(value, count):
    return [np.full((8, 8, 3), min(255, value + 60 * k), np.uint8) for k in range(count)]


def test_a_film_that_has_ended_stands_still(tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "VIDEOS", tmp_path)
    images = videos.side_by_side([still(0, 2), still(30, 4)])
    assert len(images) == 4
    assert (images[1][:, :8] == 60).all() and (images[3][:, :8] == 60).all()
    videos.save([videos.titled(image, "what it is") for image in images], "film.webp")
    with Image.open(tmp_path / "film.webp") as film:
        assert film.n_frames == 4
        assert film.size == (images[0].shape[1], images[0].shape[0] + 20)


@pytest.mark.parametrize("task", pictures.PICTURES)
def test_scenes_of_the_films_exist_and_differ(task):
    scenes = pictures.PICTURES[task].scenes
    made = [videos.make_scenario(task, *scene, seed=1) for scene in scenes]
    assert len(made) == len({scene[0] for scene in scenes}) == videos.COLUMNS


def test_an_expert_is_filmed_to_the_end(monkeypatch):
    need_drawing()
    lift = videos.PICTURES["Lift"]
    monkeypatch.setitem(
        videos.PICTURES, "Lift", videos.dataclasses.replace(lift, scenes=lift.scenes[:1])
    )
    [episode] = videos.play_expert("Lift")
    images = videos.frames(episode, every=20, side=32)
    assert len(images) == len(range(0, episode.length, 20)) + 1
    assert images[0].shape == (32, 32, 3)
    assert not np.array_equal(images[0], images[-1])


def test_the_page_tells_what_the_policy_missed(tmp_path):
    assert "not run" in tables.policy_film("Grasp", tmp_path)
    known = {
        "policy": "base",
        "method": "m",
        "preset": "p",
        "variant": "",
        "iteration": 3,
        "seed": 1,
    }
    known |= {"commit": "a" * 40, "split": "T_OEP", "command": "python x.py"}
    usual = {"object": "pear", "surroundings": "oak_table"}
    episodes = [usual | {"success": True, "failure": ""}]
    episodes += [usual | {"success": False, "failure": "dropped"}]
    (tmp_path / "grasp_policy.json").write_text(json.dumps(known | {"episodes": episodes}))
    text = tables.policy_film("Grasp", tmp_path)
    assert "1 solved; failed: pear on oak table (dropped)" in text
    assert "videos/grasp_policy.webp" in text and "first 2 scenes of `T_OEP`" in text
