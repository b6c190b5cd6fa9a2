"""Draw the pictures of the documentation: `python docs/render_pictures.py [TASK ...]`.

They are drawn by the project's own renderer, larger than they are kept. Half of the light casts
shadows; image observations do without.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dexfw_envs.backends.mujoco.render import OffscreenRenderer
from dexfw_envs.catalog import SURROUNDINGS, get_object, make_scenario, objects_for
from dexfw_envs.catalog.curricula import iterations
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.scenario import Scenario

IMAGES = Path(__file__).resolve().parent / "images"
FINER = 3  # drawn this many times larger, for smooth edges
GAP = 4  # [px]
# Where the lamp shines on the sheets of objects: on the sides that are seen. Straight down, as in
# the neutral surroundings, it grazes upright walls, and the shadow map draws stripes on them.
LAMP = (-0.3, 0.4, -1.0)


@dataclass(frozen=True)
class Pictures:
    """What is drawn of a task."""

    suffix: str  # of the file names
    close_up: tuple[slice, slice]  # rows and columns around the object, of 440 [px]
    columns: int  # of the sheet of objects
    scenes: tuple[tuple[str, str, int], ...]  # of the film: object, surroundings, pose


PICTURES = {
    "Grasp": Pictures(
        suffix="",
        close_up=(slice(215, 352), slice(152, 330)),
        columns=6,
        scenes=(
            ("apple_large", "oak_table", 0),
            ("drink_can", "tile_table", 13),
            ("pear", "green_light", 11),
            ("spice_jar", "steel_table", 12),
        ),
    ),
    "Pour": Pictures(
        suffix="_pour",
        close_up=(slice(208, 390), slice(122, 408)),
        columns=4,
        scenes=(
            ("tumbler", "oak_table", 0),
            ("stoneware_cup", "tile_table", 9),
            ("steel_cup", "cyan_light", 6),
            ("bamboo_cup", "steel_table", 4),
        ),
    ),
    "Lift": Pictures(
        suffix="_lift",
        close_up=(slice(140, 395), slice(135, 385)),
        columns=6,
        scenes=(
            ("football", "oak_table", 0),
            ("shoe_box", "tile_table", 3),
            ("paint_tin", "green_light", 4),
            ("bread_tin", "steel_table", 1),
        ),
    ),
    "Handover": Pictures(
        suffix="_handover",
        close_up=(slice(165, 365), slice(145, 300)),
        columns=7,
        scenes=(
            ("drink_carton", "oak_table", 0),
            ("thermos_flask", "tile_table", 3),
            ("spray_can", "yellow_light", 4),
            ("olive_jar", "steel_table", 1),
        ),
    ),
}


class Painter:
    """Draws the worlds of an environment in one size [px]."""

    def __init__(self, env: DexVectorEnv, width: int, height: int) -> None:
        self.env = env
        size = (env.backend.model, FINER * height, FINER * width)
        self._renderers = [OffscreenRenderer(*size, shadows=shadows) for shadows in (False, True)]

    def draw(self, world: int = 0, camera: str = "front") -> np.ndarray:
        draws = [one.draw(self.env.backend.batch, world, camera) for one in self._renderers]
        image = np.mean(draws, axis=0)
        rows, columns = image.shape[0] // FINER, image.shape[1] // FINER
        blocks = image.reshape(rows, FINER, columns, FINER, 3)
        return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)

    def close(self) -> None:
        for one in self._renderers:
            one.close()


def labelled(image: np.ndarray, text: str, top: int = -17) -> np.ndarray:
    """Write a name on the left, so far from the top, or from the bottom if negative [px]."""
    picture = Image.fromarray(image)
    pen, place = ImageDraw.Draw(picture), (6, top % picture.height)
    pen.text(place, text, fill="white", stroke_width=2, stroke_fill="black")
    return np.asarray(picture)


def sheet(images: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Lay pictures of one size out in rows."""
    height, width, _ = images[0].shape
    rows = -(-len(images) // columns)
    size = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3)
    out = np.full(size, 255, dtype=np.uint8)
    for k, image in enumerate(images):
        top, left = k // columns * (height + GAP), k % columns * (width + GAP)
        out[top : top + height, left : left + width] = image
    return out


def save(image: np.ndarray, name: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / name
    Image.fromarray(image).save(path, optimize=True)
    print(f"{path.relative_to(IMAGES.parent.parent)}: {path.stat().st_size / 1000:.0f} kB")


def scenes(
    worlds: Sequence[Scenario], width: int, height: int, lamp: Sequence[float] | None = None
) -> list[np.ndarray]:
    """Draw scenes as they are right after a reset, or with their lamp turned."""
    env = DexVectorEnv(worlds[0].task, num_envs=len(worlds))
    env.reset(options={"scenarios": worlds})
    if lamp is not None:
        env.backend.batch.expand("light_dir")[:, 0] = lamp / np.linalg.norm(lamp)
        env.backend.batch.forward()
    painter = Painter(env, width, height)
    images = [painter.draw(world) for world in range(len(worlds))]
    painter.close()
    env.close()
    return images


def objects_sheet(task: str) -> np.ndarray:
    show = PICTURES[task]
    items = [get_object(name) for name in objects_for(task, iterations(task))]
    worlds = [make_scenario(task, item.id, "neutral", 0, seed=1) for item in items]
    images = [image[show.close_up] for image in scenes(worlds, 440, 440, LAMP)]
    pairs = zip(images, (item.label for item in items), strict=True)
    return sheet([labelled(*pair) for pair in pairs], show.columns)


def surroundings_sheet() -> np.ndarray:
    worlds = [make_scenario("Grasp", "baseball", item.id, 0, seed=1) for item in SURROUNDINGS]
    images = scenes(worlds, 200, 150)
    names = [item.label for item in SURROUNDINGS]
    return sheet([labelled(*pair) for pair in zip(images, names, strict=True)], columns=4)


if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        save(objects_sheet(name), f"objects{PICTURES[name].suffix}.png")
    save(surroundings_sheet(), "surroundings.png")
