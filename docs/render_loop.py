"""Draw the loop of the flywheel: `python docs/render_loop.py`.

The figure shows what each stage takes and makes; docs/dexflywheel.md explains it step by step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

OUTPUT = Path(__file__).resolve().parent / "images" / "flywheel_loop.svg"
SIZE = (8.6, 3.75)  # [inch]
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
# Text as outlines looks the same everywhere; no date and a fixed salt keep the file the same.
STYLE = {"svg.fonttype": "path", "svg.hashsalt": "dexfw", "font.size": 9.5}


@dataclass(frozen=True)
class Box:
    """A stage, or what a stage makes; lengths in inches from the lower left corner."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    title: str
    text: str


DATA_HEIGHT, STAGE_HEIGHT = 0.85, 1.15
TOP, BOTTOM = 2.45, 0.15

SEED = Box(0.1, TOP + 0.15, 1.35, DATA_HEIGHT, GREY, "Demonstration", "one, scripted")
DATA = Box(0.1, BOTTOM + 0.15, 1.35, DATA_HEIGHT, GREY, "Data set $D_i$", "successes only")
EDIT = Box(
    2.15, TOP, 2.45, STAGE_HEIGHT, GREEN, "$A_{EP}$",
    "move motions to new poses and\nsurroundings, run them again,\nkeep the successes",
)  # fmt: skip
BASE = Box(
    2.15, BOTTOM, 2.45, STAGE_HEIGHT, BLUE, "Base policy",
    "imitate $D_i$ by diffusion:\na chunk of H actions\nfrom one observation",
)  # fmt: skip
COLLECT = Box(
    6.05, TOP, 2.45, STAGE_HEIGHT, GREEN, "Collection",
    "the combined policy handles\nthe next objects in known\nscenes; keep the successes",
)  # fmt: skip
RESIDUAL = Box(
    6.05, BOTTOM, 2.45, STAGE_HEIGHT, ORANGE, "Residual policy",
    "reinforcement learning of a\nsmall correction Δa on the\nnext objects; base frozen",
)  # fmt: skip
BOXES = (SEED, DATA, EDIT, BASE, COLLECT, RESIDUAL)


def draw_box(axes: Axes, box: Box) -> None:
    """A frame with a title and a few lines of text."""
    frame = FancyBboxPatch(
        (box.x, box.y), box.width, box.height,
        boxstyle="round,pad=0,rounding_size=0.08", edgecolor=box.colour, facecolor="white", lw=1.6,
    )  # fmt: skip
    axes.add_patch(frame)

    middle = box.x + box.width / 2
    top = box.y + box.height - 0.17
    axes.text(middle, top, box.title, ha="center", va="center", weight="bold", color=box.colour)
    below = box.y + (box.height - 0.3) / 2
    axes.text(middle, below, box.text, ha="center", va="center", linespacing=1.25)


def draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], label: str = ""
) -> None:
    """An arrow, its label above a horizontal one and to the right of a vertical one."""
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=13, color="black", lw=1.2, shrinkA=2, shrinkB=2
    )
    axes.add_patch(arrow)

    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if start[1] == end[1]:
        axes.text(x, y + 0.08, label, ha="center", va="bottom", linespacing=1.2)
    else:
        axes.text(x + 0.1, y, label, ha="left", va="center", linespacing=1.2)


def draw_arrows(axes: Axes) -> None:
    """The way of the data."""
    high, low = TOP + STAGE_HEIGHT / 2, BOTTOM + STAGE_HEIGHT / 2
    data_x = DATA.x + DATA.width / 2
    residual_x = RESIDUAL.x + RESIDUAL.width / 2

    draw_arrow(axes, (SEED.x + SEED.width, high), (EDIT.x, high), "turn 1")
    draw_arrow(axes, (COLLECT.x, high), (EDIT.x + EDIT.width, high), "successful\nrollouts")
    draw_arrow(axes, (EDIT.x + 0.2, TOP), (data_x + 0.3, DATA.y + DATA.height))
    label = "in turn 1: $D_1$, scenes of $C_1$\nlater: $D_{i+1}$, scenes of $C_{i+1}$"
    axes.text(2.15, 1.87, label, va="center", linespacing=1.4)
    draw_arrow(axes, (DATA.x + DATA.width, low), (BASE.x, low))
    draw_arrow(axes, (BASE.x + BASE.width, low), (RESIDUAL.x, low), "action a")
    draw_arrow(axes, (residual_x, RESIDUAL.y + STAGE_HEIGHT), (residual_x, TOP))
    axes.text(residual_x - 0.1, 1.87, "combined policy: a + α Δa", ha="right", va="center")


def loop() -> Figure:
    """The whole figure."""
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, SIZE[0])
    axes.set_ylim(0, SIZE[1])
    axes.axis("off")

    for box in BOXES:
        draw_box(axes, box)
    draw_arrows(axes)
    return figure


if __name__ == "__main__":
    with mpl.rc_context(STYLE):
        loop().savefig(OUTPUT, metadata={"Date": None, "Creator": None})
    print(OUTPUT)
