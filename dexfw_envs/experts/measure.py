"""How often a task's scripted expert succeeds, evenly over the task's whole catalogue.

    python -m dexfw_envs.experts.measure --task Lift --episodes 260

Everything is random that a reset draws, and the expert's timing and tremor; the scenes are those
of the split "objects", none of them held out.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs import checks
from dexfw_envs.console.command import run_command
from dexfw_envs.deployment.scripted_operator import LIFTED
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.episodes.episode import Observation
from dexfw_envs.evaluation.evaluator import evaluate
from dexfw_envs.evaluation.summary import summary
from dexfw_envs.experts import TEACHER_STYLES, make_expert
from dexfw_envs.files import atomic_write_json
from dexfw_envs.provenance import provenance
from dexfw_envs.registry import entry

SPLIT = "objects"


@dataclass(frozen=True)
class Args:
    """What to measure."""

    task: str = "Grasp"
    """name of the task"""
    episodes: int = 240
    """how many, spread evenly over the objects"""
    seed: int = 0
    """of the scenes and of the expert's timing"""
    num_envs: int = 32
    """worlds side by side; the result does not depend on it"""
    threads: int = 2
    """that step them, likewise"""
    teacher: bool = False
    """in the style of DexPIE's teacher (`TEACHER_STYLES`), not in the expert's own"""

    @property
    def name(self) -> str:
        """Name of the file that holds the figures."""
        return f"{self.task}-teacher" if self.teacher else self.task


class Watch:
    """An expert, and how far it has moved the object in the plane before it first lifts it.

    Attributes:
        shoves: A distance [m] for every episode in which it was lifted.
    """

    def __init__(self, expert: Any) -> None:
        self.expert = expert
        self.env = expert.env
        self.shoves: list[float] = []
        self._waits = np.ones(expert.env.num_envs, dtype=bool)

    def reset(self, mask: np.ndarray) -> None:
        """Episodes begin in the worlds of `mask`."""
        self.expert.reset(mask)
        self._waits[mask] = True

    def act(self, observation: Observation) -> np.ndarray:
        """Return the expert's actions."""
        world = self.env.world
        memory = self.env.memory
        lifted = self._waits & (self.env.task.stage(world, memory) >= LIFTED)
        moved = world.object_position[lifted, 0, :2] - memory.start_position[lifted, 0, :2]
        self.shoves += np.linalg.norm(moved, axis=1).tolist()
        self._waits &= ~lifted
        return self.expert.act(observation)


def run_expert(args: Args) -> dict[str, Any]:
    """Let the expert act once in every scene.

    Returns:
        What `evaluation.summary` has (success, n, 95 % Wilson interval, per object, measures), the
        "reasons" of failure, how far objects are "shoved" in the plane before they are first
        lifted [m] (median and 90th percentile), and what it takes to repeat this.
    """
    env = DexVectorEnv(args.task, args.num_envs, autoreset_mode="disabled", threads=args.threads)
    style = TEACHER_STYLES[args.task] if args.teacher else None
    what: dict[str, Any] = {"split": SPLIT, "episodes": args.episodes, "seed": args.seed}
    expert = Watch(make_expert(env, style=style, seed=args.seed))
    records = evaluate(expert, env, **what, progress=f"expert of {args.task}")
    env.close()

    reasons = Counter(record["failure"] for record in records if not record["success"])
    flags = f"--task {args.task} --episodes {args.episodes} --seed {args.seed}"
    if args.teacher:
        flags += " --teacher"
    command = f"python -m dexfw_envs.experts.measure {flags}"
    facts = {"task": args.task, "env_id": entry(args.task).env_id, **what}
    median, most = np.quantile(expert.shoves, [0.5, 0.9]).round(4)
    figures = summary(records) | {"reasons": dict(reasons), "shoved": [median, most]}

    return facts | figures | provenance() | {"command": command}


def write(figures: Mapping[str, Any], name: str, root: str | Path = "results/experts") -> Path:
    """Write what `run_expert` returned to `<name>.json`."""
    path = Path(root) / f"{name}.json"
    atomic_write_json(path, figures)
    return path


def sentence(figures: Mapping[str, Any]) -> str:
    """Say in a sentence how often the expert succeeds, and where it does not."""
    low = f"{100 * figures['low']:.1f}"
    high = f"{100 * figures['high']:.1f}"
    lost = {
        name: row["n"] - round(row["n"] * row["success"])
        for name, row in figures["per_object"].items()
        if row["success"] < 1.0
    }
    worst = sorted(lost, key=lambda name: -lost[name])
    missed = ", ".join(
        f"`{name}` {lost[name]} of {figures['per_object'][name]['n']}" for name in worst
    )
    reasons = ", ".join(f"{name} {count}" for name, count in figures["reasons"].items())
    failures = f"; failed: {missed} ({reasons})" if lost else ""

    success = f"{100 * figures['success']:.1f} % [{low}, {high}] of {figures['n']} episodes"
    count = len(figures["per_object"])
    scenes = f"evenly over all {count} objects, in scenes that are not held out"
    pushed = f"{100 * figures['shoved'][0]:.1f} cm (median)"
    return f"{success}, {scenes}{failures}; it pushes objects by {pushed} before it lifts them"


def main(args: Args) -> None:
    """Measure and write it down."""
    checks.least(args, 0, "seed")
    checks.least(args, 1, "episodes", "num_envs", "threads")
    figures = run_expert(args)
    print(f"{figures['env_id']}: the expert solves {sentence(figures)}")
    print(f"written to {write(figures, args.name)}")


if __name__ == "__main__":
    sys.exit(run_command(Args, main, __doc__))
