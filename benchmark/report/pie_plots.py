"""Plots of DexPIE: success against latency and data, and the critic along two episodes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.figures.answers import answer
from benchmark.figures.results import Results
from benchmark.grid.variants import COMPARED, PIE_TASKS
from benchmark.report import pie_layouts
from benchmark.report.drawing import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    SKY,
    WIDTH,
    error_bars,
    legend,
    panels,
    say_not_run,
)

COLOURS = {title: colour for (title, _), colour in
           zip(COMPARED.values(), (ORANGE, GREEN, RED, BLUE), strict=True)}  # fmt: skip
COLOURS[pie_layouts.SYNCHRONOUS] = SKY


def _lines(
    results: Results,
    entries: Callable[[int], Iterator[pie_layouts.TableEntry]],
    split: Callable[[tuple[str, ...]], tuple[str, float]],
    words: str,
) -> Figure:
    """A line for every name over a number, both taken from the labels of a table's rows."""
    figure, each = panels(PIE_TASKS)
    for task, axes in each:
        lines: dict[str, list[tuple[float, Any]]] = {}
        for labels, column, query in entries(results.turns):
            ours = answer(results, query) if column == task else None
            if ours is not None:
                name, at = split(labels)
                lines.setdefault(name, []).append((at, ours))
        for name, points in lines.items():
            error_bars(axes, points, color=COLOURS[name], label=name)
        if not lines:
            say_not_run(axes)
        axes.set_ylim(0, 105)
    figure.supxlabel(words, fontsize=7)
    figure.supylabel("success on T_OEP [%]", fontsize=7)
    legend(figure)
    return figure


def latency(results: Results) -> Figure:
    """Success against the latency in tests."""

    def name_and_number(labels: tuple[str, ...]) -> tuple[str, float]:
        return labels[0], float(labels[1].removesuffix(" steps"))

    return _lines(
        results, pie_layouts.latency, name_and_number, "latency of inference [control steps]"
    )


def episodes(results: Results) -> Figure:
    """Success against the number of collected episodes."""

    def name_and_number(labels: tuple[str, ...]) -> tuple[str, float]:
        return "DexPIE", float(labels[0])

    return _lines(results, pie_layouts.episodes, name_and_number, "collected episodes")


def critic(results: Results) -> Figure:
    """Value along a success and a failure, with pictures of both."""
    figure = Figure(figsize=(WIDTH, 1.5 * len(PIE_TASKS)))
    grid = figure.add_gridspec(2 * len(PIE_TASKS), 4, height_ratios=[2, 1] * len(PIE_TASKS))
    for row, task in enumerate(PIE_TASKS):
        axes = figure.add_subplot(grid[2 * row, :])
        axes.set_title(task)
        runs = results.summaries.get((pie_layouts.PIE, pie_layouts.PIE, task), [])
        found = next((run["critic"] for run in runs if run.get("critic")), {})
        pictures = iter(figure.add_subplot(grid[2 * row + 1, k]) for k in range(4))
        for name, colour in (("success", GREEN), ("failure", RED)):
            if name in found:
                _episode(axes, pictures, found[name], name, colour)
        if not found:
            say_not_run(axes)
        for spare in pictures:
            spare.axis("off")
        axes.set(ylim=(-1.05, 0.05), ylabel="value")
    figure.supxlabel("control steps; pictures at a third and two thirds", fontsize=7)
    legend(figure)
    return figure


def _episode(axes: Axes, pictures: Iterator[Axes], found: dict, name: str, colour: str) -> None:
    """The curve of an episode and, where they could be drawn, its pictures."""
    axes.plot(np.arange(len(found["values"])), found["values"], color=colour, label=name)
    for step, data in found["pictures"]:
        axes.axvline(step, color=colour, lw=0.4, ls=":")
        picture = next(pictures)
        picture.imshow(matplotlib.image.imread(io.BytesIO(base64.b64decode(data))))
        picture.set_title(f"{name}, {step}", color=colour, fontsize=5, pad=1)
        picture.axis("off")
