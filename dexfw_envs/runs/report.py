"""What a training script measures of its policies and shows at its end: table and plot.

matplotlib is imported when the plot is made.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dexfw_envs.catalog.curricula import iterations
from dexfw_envs.console import extras
from dexfw_envs.demos.collection import motion_ratios
from dexfw_envs.envs.protocol import EpisodeEnv
from dexfw_envs.episodes.rollout import Policy
from dexfw_envs.evaluation.evaluator import evaluate_filmed
from dexfw_envs.evaluation.records import write_records
from dexfw_envs.evaluation.summary import rates, summary
from dexfw_envs.files import atomic_write_bytes
from dexfw_envs.runs.options import ScriptArgs

Row = Mapping[str, Any]


def evaluate_policies(
    policies: Mapping[str, Policy],
    env: EpisodeEnv,
    args: ScriptArgs,
    *,
    method: str,
    iteration: int = 0,
    films: str | Path | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Evaluate each policy on each split that the settings ask for, and write the records.

    Args:
        policies: By the name they have in tables, such as "base" and "combined".
        env: A `DexVectorEnv` built with `autoreset_mode="disabled"`.
        args: The settings: splits, episodes, seed, records, variant, task.
        method: Name of the script in records.
        iteration: Turn of the flywheel, 0 where the method has none.
        films: Folder for a video of four episodes of each evaluation; none without. Where they
            cannot be made, a line on stderr says so and the measurement goes on without.
        provenance: What `RunFolder.provenance` says of the run's start; the records carry its
            commit and command. Without, those of this process.

    Returns:
        Rows as `print_success` takes them, with `per_object` too. "jerk" and "duration" are means
        over the successes, relative to the seed demonstration; nan without successes.
    """
    rows: list[dict[str, Any]] = []
    trouble = None
    made_by = {key: provenance[key] for key in ("commit", "command")} if provenance else {}
    kind: dict[str, Any] = {
        "method": method,
        "variant": args.variant,
        "task": args.task,
        "precision": args.precision,
    }

    for split in splits_at(args.eval_splits, args.task, iteration):
        for name, policy in policies.items():
            folder = None
            if films and not trouble:
                folder = Path(films) / f"{iteration}-{split}-{name}"
            records, trouble_now = evaluate_filmed(
                policy,
                env,
                folder,
                split=split,
                episodes=args.eval_episodes,
                seed=args.seed,
                progress=f"{split} {name}",
            )
            trouble = trouble or trouble_now

            labels: dict[str, Any] = {"iteration": iteration, "policy": name}
            if args.records:
                write_records(records, args.records, **kind, **labels, **made_by)

            won = [(record["jerk"], record["length"]) for record in records if record["success"]]
            motion = motion_ratios(won, args.task)
            rows.append({**labels, "split": split, **summary(records), **motion})

    if trouble:
        print(f"warning: no videos of iteration {iteration}: {trouble}", file=sys.stderr)
    return rows


def splits_at(names: Sequence[str], task: str, iteration: int) -> list[str]:
    """Return the splits of an iteration: "T_O" means T_O(i+1), and T_O(1) too at i = 1."""
    chosen = [name for name in names if name != "T_O"]
    if "T_O" in names and iteration == 1:
        chosen.append("T_O(1)")
    if "T_O" in names and iteration < iterations(task):
        chosen.append(f"T_O({iteration + 1})")
    return chosen


def all_rounds(names: Sequence[str], task: str) -> tuple[str, ...]:
    """Return the splits of a method without iterations: "T_O" means T_O(1), T_O(2), ..."""
    rounds = [f"T_O({i})" for i in range(1, iterations(task) + 1)]
    return (*(name for name in names if name != "T_O"), *(rounds if "T_O" in names else ()))


def curves(policy: str, records: Sequence[Row]) -> dict[str, float]:
    """Return success in a test during training, by the tags of its curves.

    Returns:
        "charts/success_<policy>", "charts/<policy>_success", which is the same by the name that
        plots of stored runs read, and "charts/<policy>_success/<object>" of each object.
    """
    if not records:
        return {}
    figures = rates(records)
    tag = f"charts/{policy}_success"
    objects = {f"{tag}/{name}": row["success"] for name, row in figures["per_object"].items()}
    return {f"charts/success_{policy}": figures["success"], tag: figures["success"], **objects}


def success_curves(rows: Sequence[Row]) -> dict[str, float]:
    """Return success in an evaluation, by the tags "charts/success_<split>_<policy>".

    Args:
        rows: What `evaluate_policies` returned. TensorBoard allows no brackets in a tag: "T_O(2)"
            is T_O2.
    """
    by_tag = {}
    for row in rows:
        split = row["split"].replace("(", "").replace(")", "")
        by_tag[f"charts/success_{split}_{row['policy']}"] = row["success"]
    return by_tag


def wheel_turned(rows: Sequence[Row]) -> bool:
    """Whether the last combined policy beats the first base beyond both intervals (first split)."""
    split = [row for row in rows if row["split"] == rows[0]["split"]]
    return split[-1]["low"] > split[0]["high"]


def print_success(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print success with intervals.

    Args:
        rows: Each with "iteration", "split", "policy", "success", "low", "high", "n" and, of the
            successes relative to the seed demonstration, "jerk" and "duration"; "measures" of
            the task, means at the episodes' ends, where there are any.
        console: Where to; standard output by default.
    """
    table = Table(title="success [95 % Wilson interval]; jerk and duration relative to the seed")
    measures = list(dict.fromkeys(name for row in rows for name in row.get("measures", {})))
    for name in ("iteration", "split", "policy", "success %", "n", "jerk", "duration", *measures):
        table.add_column(name, justify="left" if name in ("split", "policy") else "right")

    for row in rows:
        rate, low, high = (f"{100 * row[name]:.1f}" for name in ("success", "low", "high"))
        ratios = (f"{row[name]:.2f}" for name in ("jerk", "duration"))
        labels = (str(row["iteration"]), row["split"], row["policy"])
        means = (row.get("measures", {}).get(name) for name in measures)
        shown = ("" if mean is None else f"{mean:.2f}" for mean in means)
        table.add_row(*labels, f"{rate} [{low}, {high}]", str(row["n"]), *ratios, *shown)

    console = console or Console()
    console.print(table)
    if len({(row["iteration"], row["policy"]) for row in rows}) < 2:
        return  # one policy, no wheel

    console.print(
        f"the wheel {'turns' if wheel_turned(rows) else 'does NOT turn'}: last combined "
        "against first base of the first split, beyond both intervals"
    )


def plot_success(rows: Sequence[Row], path: str | Path, title: str = "") -> Path:
    """Draw success over iterations, one line per split and policy, and return the file's path.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: The file cannot be written; the message says why.
    """
    figures = extras.load("matplotlib.figure", "plots need")
    figure = figures.Figure(figsize=(6, 4), layout="constrained")
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
    axes.set_xticks(sorted({row["iteration"] for row in rows}))
    axes.grid(alpha=0.3)
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    atomic_write_bytes(path, image.getbuffer())

    return Path(path)
