"""How plots are drawn: colours, sizes, panels, error bars, and what says that nothing was run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.figures.results import ONE_SEED
from benchmark.protocol import TASKS

# Okabe and Ito's colours, told apart with any kind of colour vision; black is kept for text.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, GREY = "#56B4E9", "#CC79A7", "#7F7F7F"
CYCLE = (SKY, GREEN, ORANGE, PURPLE, BLUE)
WIDTH = 3.4  # of a column of a two-column page [in]
STYLE = {
    "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7, "legend.fontsize": 6,
    "xtick.labelsize": 6, "ytick.labelsize": 6, "lines.linewidth": 1.0, "lines.markersize": 3,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "legend.frameon": False, "figure.constrained_layout.use": True,
    # Text stays text: it can be searched, and the page is a sixth smaller.
    "svg.hashsalt": "dexfw", "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "Verdana"],
}  # fmt: skip


def panels(tasks: Sequence[str] = TASKS) -> tuple[Figure, Iterator[tuple[str, Axes]]]:
    """A figure with a panel for every task, two rows of two or one row."""
    rows = 2 if len(tasks) == 4 else 1
    figure = Figure(figsize=(WIDTH, 0.5 + 1.2 * rows))
    figure.subplots(rows, len(tasks) // rows)
    for task, one in zip(tasks, figure.axes, strict=True):
        one.set_title(task)
    return figure, zip(tasks, figure.axes, strict=True)


def say_not_run(axes: Axes) -> None:
    """Say in a panel that there is nothing to show."""
    corner = {"transform": axes.transAxes, "ha": "right", "va": "bottom", "color": GREY}
    axes.text(0.98, 0.04, "not run", **corner)


def legend(figure: Figure) -> None:
    """One legend below all panels, for what any of them shows."""
    known = [pair for axes in figure.axes for pair in zip(*_handles(axes), strict=True)]
    unique = {label: handle for handle, label in reversed(known)}
    if unique:
        labels = list(dict.fromkeys(label for _, label in known))
        handles = [unique[label] for label in labels]
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(labels) if len(labels) < 5 else 3
        )


def _handles(axes: Axes) -> tuple[Sequence[Any], Sequence[str]]:
    return axes.get_legend_handles_labels()


def error_bars(axes: Axes, points: Sequence[tuple[float, Any]], **style: Any) -> None:
    """Draw measured figures over x with their intervals over episodes; open where of one seed."""
    x = [at for at, _ in points]
    y = np.array([found.value for _, found in points])
    low, high = (np.array([getattr(found, end) for _, found in points]) for end in ("low", "high"))
    spread = np.maximum([y - low, high - y], 0.0)
    axes.errorbar(x, y, yerr=spread, capsize=1.5, marker="o", **style)

    alone = [(at, found.value) for at, found in points if found.mark == ONE_SEED]
    if alone:
        hollow = {"ls": "", "marker": "o", "markerfacecolor": "white"}
        colour = style.get("color", GREY)
        axes.plot(*zip(*alone, strict=True), markeredgecolor=colour, zorder=4, **hollow)
        axes.plot([], [], markeredgecolor=GREY, label="one seed", **hollow)
