"""Conditioning on the object: does a baseline fail because its policy cannot tell objects apart?

    python -m benchmark.told runs/NAME

A policy sees where an object is, not what it is. This trains the policy of a finished run of
`dexmimicgen.py` or `human_demo.py` again on the same demonstrations, with the object's id beside
the state as a one-hot vector, and tests it in the same scenes. `--record` keeps the figures of both
in `results/told/`.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tyro

from benchmark.grid.scripts import load_script
from benchmark.protocol import HUMAN, MIMICGEN, ROOT, SPLITS
from dexfw_envs.catalog.curricula import iterations, objects_for
from dexfw_envs.catalog.lookup import find
from dexfw_envs.envs.protocol import EpisodeEnv
from dexfw_envs.episodes.rollout import Policy
from dexfw_envs.files import atomic_write_json, read_json
from dexfw_envs.provenance import provenance
from dexfw_envs.runs.checkpoints import load_checkpoint
from dexfw_envs.runs.folder import RunFolder
from dexfw_envs.runs.report import evaluate_policies
from dexfw_envs.runs.settings import from_dict

#: Store of the demonstrations in a run's folder, by script.
DEMONSTRATIONS = {MIMICGEN: "D_1", HUMAN: "demos"}
OBJECT_ID = "object_id"  # observation that the scripts' `features` take beside the state
#: What is kept of both policies.
FIGURES = ("success", "low", "high", "n", "per_object")


@dataclass(frozen=True)
class Args:
    run: tyro.conf.Positional[Path]
    """Folder of a finished run."""
    threads: int = 1
    """Threads of MuJoCo and torch."""
    record: bool = False
    """Keep the figures among the results."""


class OneHot:
    """The objects of a task as columns of which one is 1."""

    def __init__(self, task: str) -> None:
        names = objects_for(task, iterations(task))
        self._rows = dict(zip(names, np.eye(len(names)), strict=True))

    def __call__(self, objects: Sequence[str]) -> np.ndarray:
        """Rows (N, number of objects of the task) of N objects."""
        return np.stack([self._rows[name] for name in objects])


class PolicyWithObjectId:
    """Acts as another policy does that is given the object's id in every world of `env`."""

    def __init__(self, policy: Policy, env: EpisodeEnv, one_hot: OneHot) -> None:
        self._policy = policy
        self._env = env
        self._one_hot = one_hot

    def reset(self, mask: np.ndarray) -> None:
        """Forget the past of some worlds."""
        self._policy.reset(mask)

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Actions (N, action)."""
        objects = [scenario.objects[0] for scenario in self._env.scenarios]
        return self._policy.act({**obs, OBJECT_ID: self._one_hot(objects)})


def run_with_object_id(script: ModuleType, args: Any, one_hot: OneHot) -> Any:
    """A new run of a script, whose demonstrations have the object's id at every step."""

    class RunWithObjectId(script.Run):
        def data(self) -> Iterator[Any]:
            for episode in super().data():
                states = len(episode.actions) + 1
                object_id = one_hot(episode.scenario.objects[:1] * states)
                observations = {**episode.observations, OBJECT_ID: object_id}
                yield replace(episode, observations=observations)

    return RunWithObjectId(args)


def evaluate(script: ModuleType, run: Any, one_hot: OneHot) -> None:
    """Test the policy of a run, given the object's id; write `eval_1.json`."""
    env = script.make_env(run.args)
    base = script.build_policy(run.load("policy_1.pt"), run.args)
    policy = PolicyWithObjectId(script.ChunkPolicy(base, run.args, env), env, one_hot)
    rows = evaluate_policies({"base": policy}, env, run.args, method=script.METHOD, iteration=1)
    env.close()
    atomic_write_json(run.path / "eval_1.json", rows)


def train_again(run: RunFolder, method: str, threads: int) -> list[dict[str, Any]]:
    """Train and test a policy that is given the object's id; return the rows of its evaluation."""
    import torch

    script = load_script(method)
    torch.set_num_threads(threads)
    args = from_dict(script.Args, run.config)
    one_hot = OneHot(args.task)
    with tempfile.TemporaryDirectory() as folder:
        args = replace(
            args,
            runs=folder,
            records="",
            threads=threads,
            capture_video=False,
            eval_splits=SPLITS[:1],
        )
        again = run_with_object_id(script, args, one_hot)
        store = DEMONSTRATIONS[method]
        demonstrations = (run.path / store).resolve()
        (again.path / store).symlink_to(demonstrations, target_is_directory=True)

        again.stage("base_1", script.train_base)
        again.stage("eval_1", lambda trained: evaluate(script, trained, one_hot))
        again.metrics.close()
        rows: list[dict[str, Any]] = read_json(again.path / "eval_1.json")
    return rows


def compare(path: Path, threads: int) -> dict[str, Any]:
    """Success of a run's policy as it is, and of one that is given the object's id.

    Raises:
        ValueError: It is no finished run of one of the scripts.
        FileNotFoundError: There is no run.
    """
    run = RunFolder(path)
    if not (path / "eval_1.json").is_file():
        raise ValueError(f"{path} has no eval_1.json: not finished, or of another script")
    method = load_checkpoint(run, "policy_1.pt")["method"]
    find(DEMONSTRATIONS, method, "script whose policies can be given the object's id")

    without = read_json(path / "eval_1.json")
    conditioned = train_again(run, method, threads)
    folder = Path(run.config["runs"]) / run.name  # as its script was told, in whatever clone
    command = shlex.join(["python", "-m", "benchmark.told", folder.as_posix(), "--record"])
    return {
        **provenance(),
        "command": command,
        "method": method,
        "task": run.config["task"],
        "variant": run.config["variant"],
        "seed": run.config["seed"],
        "split": SPLITS[0],
        "as it is": _figures(without),
        "told": _figures(conditioned),
    }


def _figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is kept of an evaluation."""
    (row,) = [row for row in rows if row["split"] == SPLITS[0]]
    return {name: row[name] for name in FIGURES}


def table(results: Path) -> str:
    """What was recorded, as a Markdown table; a line says so where nothing was."""
    rows = [read_json(path) for path in sorted((results / "told").glob("*.json"))]
    if not rows:
        return "Not run.\n"

    lines = [
        "| Policy | Task | Seed | without object id % | with object id % |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        policy = f"{row['method']} {row['variant']}"
        cells = [policy, row["task"], str(row["seed"])]
        cells += [_percent(row["as it is"]), _percent(row["told"])]
        lines.append("| " + " | ".join(cells) + " |")

    sizes = " or ".join(sorted({str(row["told"]["n"]) for row in rows}))
    commits = ", ".join(f"`{commit[:12]}`" for commit in sorted({row["commit"] for row in rows}))
    source = f"{sizes} episodes of `T_OEP` each. Commits {commits}."
    return "\n".join(lines) + f"\n\n{source}\n"


def _percent(row: dict[str, Any]) -> str:
    rate, low, high = (100 * row[name] for name in ("success", "low", "high"))
    return f"{rate:.1f} [{low:.1f}, {high:.1f}]"


def main(args: Args) -> int:
    """Compare, print, and return the exit code."""
    row = compare(args.run, args.threads)
    print(json.dumps(row))
    if args.record:
        name = "{method}-{variant}-{task}-seed{seed}.json".format(**row)
        atomic_write_json(ROOT / "results" / "told" / name, row)
    return 0
