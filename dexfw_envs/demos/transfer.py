"""How far one demonstration goes by itself: edited for every object and replayed, no policy.

The motion is moved with the object's pose and gets action noise, as in A_EP, but is neither
retried nor filtered. On the object it was recorded with it should work; on the others its fingers
stop at the size of the first. Run by `python -m dexfw_envs.demos.replay --objects`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.catalog import split
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.editing.augment import Augmentation, augment
from dexfw_envs.editing.bridging import EditOptions
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.evaluation.summary import rates
from dexfw_envs.files import atomic_write_json
from dexfw_envs.provenance import provenance
from dexfw_envs.registry import entry

SPARE_STEPS = 40  # a replay that has not succeeded so long after the motion's end has failed
NOISE = EditOptions.noise
OWN = "T_O(1)"  # the demonstration's own object, in its own place


def transfer(
    task: str,
    episodes: int = 220,
    seed: int = 0,
    noise: str = NOISE,
    num_envs: int = 32,
    threads: int = 2,
) -> dict[str, Any]:
    """Replay the seed demonstration, edited, on its own object and evenly on all objects.

    Args:
        task: Name of the task.
        episodes: How many on all objects together, and again on the seed's own.
        seed: Of the scenes and of the noise.
        noise: Kind of action noise; its size is that of `EditOptions`.
        num_envs: Worlds side by side; the result does not depend on it.
        threads: Threads that step them, likewise.

    Returns:
        "own" and "objects" as `evaluation.summary` has them (success, n, 95 % Wilson interval,
        per object), with the reasons of failure; and what it takes to repeat this.
    """
    demonstration = load_seed(task)
    options = EditOptions(noise=noise)
    steps = demonstration.length + SPARE_STEPS
    env = DexVectorEnv(
        task, num_envs, autoreset_mode="disabled", max_episode_steps=steps, threads=threads
    )
    report = {}

    for name, where in (("own", OWN), ("objects", "objects")):
        rng = np.random.default_rng(seed)
        bar = f"replay on {where}"
        scenarios = split(task, where, episodes, seed)
        made = augment(
            env, [demonstration], scenarios, rng, options, failures=True, progress=bar
        )  # fmt: skip
        report[name] = {"split": where, **_outcomes(made)}

    env.close()
    options_given = {"task": task, "episodes": episodes, "seed": seed, "noise": noise}
    flags = " ".join(f"--{flag} {value}" for flag, value in options_given.items())
    command = f"python -m dexfw_envs.demos.replay --objects {flags}"
    facts = {"env_id": entry(task).env_id, "demonstration": demonstration.source}

    return options_given | facts | report | provenance() | {"command": command}


def _outcomes(made: Augmentation) -> dict[str, Any]:
    """Sum up the attempts, objects in the order of the catalogue, reasons most frequent first."""
    done = sorted((e.index, e.scenario.objects[0], e.success) for e in made)
    rows = [{"object": item, "success": success} for _, item, success in done]
    reasons = dict(sorted(made.tally.reasons.items(), key=lambda pair: -pair[1]))
    return {**rates(rows), "reasons": reasons}


def write_transfer(report: Mapping[str, Any], root: str | Path = "results/replay") -> Path:
    """Write `<task>.json`, or `<task>-<noise>.json` for another noise than the usual."""
    name = report["task"] if report["noise"] == NOISE else f"{report['task']}-{report['noise']}"
    path = Path(root) / f"{name}.json"
    atomic_write_json(path, report)
    return path


def transfer_table(report: Mapping[str, Any]) -> str:
    """Return success on the demonstration's own object, on all, and on each, in Markdown."""
    own = report["own"]
    every = report["objects"]
    [item] = own["per_object"]
    rows = [
        (f"`{item}`, where it was demonstrated (`{own['split']}`)", own),
        (f"all {len(every['per_object'])}", every),
        *((f"`{name}`", row) for name, row in every["per_object"].items()),
    ]
    lines = [
        f"| {name} | {row['success']:.1%} | {row['low']:.1%} to {row['high']:.1%} | {row['n']} |\n"
        for name, row in rows
    ]
    head = "| Object | Replay success | 95 % interval | Episodes |\n| --- | --- | --- | --- |\n"

    return head + "".join(lines).replace("%", " %")
