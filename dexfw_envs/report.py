"""What a training script measures of its policies and shows at its end: table and plot.

matplotlib is imported when the plot is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from dexfw_envs.evaluation import evaluate, summary, write_records
from dexfw_envs.rollout import Policy, mean_second_difference

Row = Mapping[str, Any]


def measure(
    policies: Mapping[str, Policy],
    env: Any,
    splits: Sequence[str],
    demonstration: Any,
    *,
    episodes: int,
    seed: int,
    iteration: int = 0,
    records: Mapping[str, Any] | None = None,
    films: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Evaluate each policy on each split.

    Args:
        policies: By the name they have in tables, such as "base" and "combined".
        env: A `DexVectorEnv` built with `autoreset=False`.
        splits: Names of splits.
        demonstration: The seed demonstration, to which motions are compared.
        episodes: Episodes per split.
        seed: Seed of the scenarios.
        iteration: Turn of the flywheel, for the rows and records.
        records: Arguments for `write_records` (method, task, ...); no records are written without.
        films: Folder for a video of four episodes of each evaluation; none without.

    Returns:
        Rows as `print_success` takes them, with `per_object` too. "jerk" and "duration" are means
        over the successes, relative to the demonstration; nan without successes.
    """
    rows = []
    for split in splits:
        for name, policy in policies.items():
            film: dict[str, Any] = {}
            if films is not None:
                film = {"videos": 4, "video_folder": Path(films) / f"{iteration}-{split}-{name}"}
            title = f"{split} {name}"
            found = evaluate(
                policy, env, split=split, episodes=episodes, seed=seed, progress=title, **film
            )
            if records is not None:
                write_records(found, iteration=iteration, policy=name, **records)
            labels = {"iteration": iteration, "split": split, "policy": name}
            rows.append(labels | summary(found) | _motion(found, demonstration))
    return rows


def _motion(records: Sequence[Row], demonstration: Any) -> dict[str, float]:
    won = [record for record in records if record["success"]]
    jerk, length = (np.mean([r[k] for r in won] or [np.nan]) for k in ("jerk", "length"))
    actions = demonstration.actions
    return {
        "jerk": float(jerk / mean_second_difference(actions)),
        "duration": float(length / len(actions)),
    }


def print_success(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print success with intervals.

    Args:
        rows: Each with "iteration", "split", "policy", "success", "low", "high", "n" and, of the
            successes relative to the seed demonstration, "jerk" and "duration".
        console: Where to; standard output by default.
    """
    table = Table(title="success [95 % Wilson interval]; jerk and duration relative to the seed")
    for name in ("iteration", "split", "policy", "success %", "n", "jerk", "duration"):
        table.add_column(name, justify="left" if name in ("split", "policy") else "right")
    for row in rows:
        rate, low, high = (f"{100 * row[name]:.1f}" for name in ("success", "low", "high"))
        ratios = (f"{row[name]:.2f}" for name in ("jerk", "duration"))
        labels = (str(row["iteration"]), row["split"], row["policy"])
        table.add_row(*labels, f"{rate} [{low}, {high}]", str(row["n"]), *ratios)
    (console or Console()).print(table)


def plot_success(rows: Sequence[Row], path: str | Path, title: str = "") -> Path:
    """Draw success over iterations, one line per split and policy, and return the file's path.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for split, policy in dict.fromkeys((row["split"], row["policy"]) for row in rows):
        line = [row for row in rows if (row["split"], row["policy"]) == (split, policy)]
        rate = [100 * row["success"] for row in line]
        below = [max(0.0, 100 * (row["success"] - row["low"])) for row in line]
        above = [max(0.0, 100 * (row["high"] - row["success"])) for row in line]
        style = "--" if policy == "base" else "-"
        axes.errorbar(
            [row["iteration"] for row in line], rate, yerr=[below, above],
            label=f"{split} {policy}", linestyle=style, marker="o", capsize=3,
        )  # fmt: skip
    axes.set(xlabel="iteration", ylabel="success [%]", ylim=(0, 102), title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.png")
    figure.savefig(temporary, dpi=120)
    os.replace(temporary, path)
    return path
