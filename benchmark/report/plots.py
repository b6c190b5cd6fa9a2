"""`python -m benchmark plots`: PNG and SVG, as wide as a column, colours that all can tell apart.

Every plot is made from what is stored; a panel without figures says so.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.figures.answers import answer
from benchmark.figures.published import published
from benchmark.figures.query import Query
from benchmark.figures.results import Results
from benchmark.grid.variants import GRID
from benchmark.kept.summaries import palm_positions
from benchmark.protocol import FLYWHEEL, TASKS
from benchmark.report import pie_plots
from benchmark.report.drawing import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    STYLE,
    WIDTH,
    error_bars,
    legend,
    panels,
    say_not_run,
)
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.files import atomic_write_bytes


def _turns(results: Results, policy: str, task: str) -> list[tuple[float, Any]]:
    """Success on T_OEP of each turn that was run; turns beyond the usual ones come last."""
    found = []
    for turn in range(1, 6):
        name = "" if turn <= results.turns else "five-turns"
        ours = answer(results, Query("T_OEP", FLYWHEEL, name, turn, policy, task))
        found += [(turn, ours)] if ours else []
    return found


def success_over_turns(results: Results) -> Figure:
    """Success on T_OEP turn by turn."""
    figure, each = panels()
    for task, axes in each:
        theirs = [
            (turn, published(Query("T_OEP", FLYWHEEL, name, turn, "combined", task)))
            for turn, name in ((1, ""), (2, ""), (3, ""), (4, "five-turns"), (5, "five-turns"))
        ]
        known = [(turn, one.value) for turn, one in theirs if one]
        axes.plot(*zip(*known, strict=True), color=GREY, ls=":", marker="x", label="paper")
        ran = False
        for policy, colour, line in (("base", ORANGE, "--"), ("combined", BLUE, "-")):
            if points := _turns(results, policy, task):
                error_bars(axes, points, color=colour, ls=line, label=policy)
                ran = True
        if not ran:
            say_not_run(axes)
        axes.set(ylim=(0, 105), xticks=range(1, 6), xlim=(0.7, 5.3))
    figure.supxlabel("turn", fontsize=7)
    figure.supylabel("success on T_OEP [%]", fontsize=7)
    legend(figure)
    return figure


def diversity(results: Results) -> Figure:
    """Growth of objects, surroundings, poses, their product, and trajectories."""
    figure, each = panels()
    names = ("number of objects", "number of surroundings", "number of poses", "configurations")
    for task, axes in each:
        for name, colour in zip((*names, "trajectories"), CYCLE, strict=True):
            query = [Query(name, FLYWHEEL, "", turn, "", task) for turn in (1, 2, 3)]
            found = [(one.iteration, m.value) for one in query if (m := answer(results, one))]
            if found:
                label = name.removeprefix("number of ")
                line = "--" if name == "trajectories" else "-"
                axes.plot(*zip(*found, strict=True), color=colour, ls=line, marker="o", label=label)
        axes.set(yscale="log", ylim=(0.8, 6000), xticks=(1, 2, 3))
    figure.supxlabel("turn", fontsize=7)
    figure.supylabel("number", fontsize=7)
    legend(figure)
    return figure


def comparison(results: Results) -> Figure:
    """Bars of all methods with intervals, and the published figures as marks."""
    figure = Figure(figsize=(WIDTH, 2.4))
    axes = figure.subplots()
    groups = (*TASKS, "mean")
    rows = sorted((r for r in GRID if "baselines" in r.tables), key=lambda r: r.method == FLYWHEEL)
    width = 0.8 / len(rows)
    for k, (row, colour) in enumerate(zip(rows, CYCLE, strict=True)):
        turn = results.turns if row.method == FLYWHEEL else 1
        for x, task in enumerate(groups):
            at = x + (k - (len(rows) - 1) / 2) * width
            query = Query("T_OEP", *row.key, turn, row.policy, task)
            label = row.title if x == 0 else None
            if ours := answer(results, query):
                axes.bar(at, ours.value, width, color=colour, label=label)
                error_bars(axes, [(at, ours)], color="black", ls="", markersize=0, elinewidth=0.6)
            else:
                axes.bar(at, 0, width, color=colour, label=label)
                words = {"rotation": 90, "ha": "center", "va": "bottom", "color": GREY}
                axes.text(at, 2, "not run", fontsize=4, **words)
            if theirs := published(query):
                label = "paper" if (k, x) == (0, 0) else None
                axes.plot(at, theirs.value, "x", color="black", markersize=2.5, label=label)
    axes.set(ylim=(0, 105), ylabel="success on T_OEP [%]")
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def coverage(results: Results) -> Figure:
    """Where the palms go in the demonstration and in the data of each turn, from above."""
    figure, each = panels()
    for task, axes in each:
        runs = [r for r in results.summaries.get((FLYWHEEL, "", task), []) if r["coverage"]]
        for turn, colour in reversed(((1, ORANGE), (2, GREEN), (3, SKY))):
            points = np.array(runs[0]["coverage"].get(str(turn)) or []) if runs else np.empty(0)
            if len(points):
                style = {"s": 1.5, "color": colour, "linewidths": 0, "label": f"D_{turn}"}
                style |= {"rasterized": True}  # thousands of points: as a picture in the SVG too
                axes.scatter(points[:, 1] / 10, points[:, 0] / 10, **style)
        if not runs:
            say_not_run(axes)
        seed = palm_positions(load_seed(task)) / 10
        axes.scatter(seed[:, 1], seed[:, 0], s=3, color="black", linewidths=0, label="seed")
        axes.set_aspect("equal", adjustable="datalim")
    figure.supxlabel("palm, y in the table frame [cm]", fontsize=7)
    figure.supylabel("x [cm]", fontsize=7)
    legend(figure)
    return figure


def learning(results: Results) -> Figure:
    """Success during reinforcement learning turn by turn: thin for a seed, bold for their mean."""
    figure, each = panels()
    for task, axes in each:
        runs = [r["curves"] for r in results.summaries.get((FLYWHEEL, "", task), []) if r["curves"]]
        begins = sorted({x for run in runs for x, _ in run.get("charts/base_success", [])})
        for turn in pairwise([*begins, np.inf]):
            _learning_in_turn(axes, runs, turn)
        if not runs:
            say_not_run(axes)
        axes.set_ylim(0, 105)
    figure.supxlabel("steps of reinforcement learning, all turns [thousands]", fontsize=7)
    figure.supylabel("success [%]", fontsize=7)
    legend(figure)
    return figure


def _learning_in_turn(axes: Axes, runs: Sequence[dict], turn: tuple[float, float]) -> None:
    """Draw the curves of all seeds in a turn, given by the steps where it and the next begin."""
    kinds = {"scheduled": GREEN, "base": ORANGE, "full residual": BLUE}
    curves: dict[str, list[dict[float, float]]] = {}  # of every seed: thousands of steps, success
    for label in kinds:
        name = f"charts/{label.rpartition(' ')[2]}_success"
        each = ({x / 1e3: 100 * y for x, y in run.get(name, []) if turn[0] <= x < turn[1]}
                for run in runs)  # fmt: skip
        curves[label] = [curve for curve in each if curve]
    last = max((x for seeds in curves.values() for curve in seeds for x in curve), default=0.0)
    for label in ("scheduled", "full residual"):
        thin = {"color": kinds[label], "lw": 0.5, "alpha": 0.4}
        for k, curve in enumerate(curves[label]):
            shown = label if k == 0 and label == "scheduled" else None
            axes.plot(list(curve), list(curve.values()), label=shown, **thin)
    for label in ("base", "full residual"):
        shared = sorted(set.intersection(*map(set, curves[label]))) if curves[label] else []
        mean = [float(np.mean([curve[x] for curve in curves[label]])) for x in shared]
        mark = "o"
        if label == "base" and mean:
            shared = [shared[0], last]
            mean = mean[:1] * 2
            mark = ""
        axes.plot(shared, mean, color=kinds[label], marker=mark, label=label)


def wall_time(results: Results) -> Figure:
    """Success of each turn's combined policy over the hours that it took, evaluation left out."""
    figure = Figure(figsize=(WIDTH, 2.2))
    axes = figure.subplots()
    ran = False
    for task, colour in zip(TASKS, CYCLE, strict=False):
        runs = results.summaries.get((FLYWHEEL, "", task), [])
        points = [(t, ours) for t, ours in _turns(results, "combined", task) if t <= results.turns]
        if runs and points:
            hours = [(float(np.mean([_hours(r, turn) for r in runs])), m) for turn, m in points]
            error_bars(axes, hours, color=colour, label=task)
            ran = True
    if not ran:
        say_not_run(axes)
    axes.set(ylim=(0, 105), xlabel="wall time [h]", ylabel="success on T_OEP [%]")
    axes.set_xlim(left=0)
    legend(figure)
    return figure


def _hours(run: dict[str, Any], turn: int) -> float:
    stages = (name.rpartition("_") for name in run["seconds"])
    kept = [f"{n}_{i}" for n, _, i in stages if n != "eval" and int(i) <= turn]
    return sum(run["seconds"][name] for name in kept) / 3600


#: Every plot and what it shows.
PLOTS: dict[str, tuple[Callable[[Results], Figure], str]] = {
    "success_over_turns": (success_over_turns, "Success over turns"),
    "comparison": (comparison, "Methods compared"),
    "diversity": (diversity, "Growth of the data"),
    "coverage": (coverage, "Where the palms go, first seed"),
    "learning": (learning, "Learning curves of the residual"),
    "wall_time": (wall_time, "Success against wall time"),
    "pie_latency": (pie_plots.latency, "DexPIE: success against latency in tests"),
    "pie_episodes": (pie_plots.episodes, "DexPIE: success against collected episodes"),
    "pie_critic": (pie_plots.critic, "DexPIE: value along a success and a failure"),
}


def write_plots(results: Results) -> list[Path]:
    """Write every plot in both forms below `plots/` and return the files."""
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, (make, _) in PLOTS.items():
            figure = make(results)
            for suffix in ("png", "svg"):
                image = io.BytesIO()
                # Neither date nor version, so that the same figures make the same bytes.
                known = {"Date": None} if suffix == "svg" else {"Software": None}
                figure.savefig(image, format=suffix, metadata=known, dpi=200)
                path = results.root / "plots" / f"{name}.{suffix}"
                atomic_write_bytes(path, image.getvalue())
                paths.append(path)
    return paths
