"""The policies that ship with the package: written from the kept ones, and measured.

    python -m benchmark.shipped                                     # the four that ship
    python -m benchmark.shipped --policy FILE --output my.npz       # another one

A kept policy, or a run's checkpoint, of `baselines/dexflywheel.py` becomes a file that
`python -m dexfw_envs play` plays without torch. What is written is then run by the player itself on
`T_VAL`, and its success goes into the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.grid.scripts import load_script
from benchmark.protocol import FLYWHEEL, ROOT, USUAL_PRESET, results_of
from dexfw_envs.evaluation.evaluator import evaluate
from dexfw_envs.evaluation.summary import summary
from dexfw_envs.play import MEASURED_ON, load, shipped_path
from dexfw_envs.play.file import read_arrays, write_arrays
from dexfw_envs.registry import TASKS
from dexfw_envs.runs.policies import read_policy
from dexfw_envs.runs.settings import from_dict

KEPT = results_of(ROOT / "results", USUAL_PRESET) / "policies"
# The policies that ship.
METHOD = FLYWHEEL
ITERATION = 3
SEED = 1
SETTINGS = ("chunk", "execute", "chunk_smoothing", "alpha", "smoothing")  # that the player needs
PLAYABLE = {  # the settings of the script that the player knows
    "obs": "state",
    "touch": False,
    "denoiser": "mlp",
    "prediction": "sample",
    "sampling_noise": "zero",
    "residual_algo": "ppo",
}
LEAST_VARIANCE = 1e-4  # of an input of the residual, as in the script


@dataclass(frozen=True)
class Args:
    """What to write."""

    policy: Path | None = None
    """a kept policy or a checkpoint; by default those that ship, one per task"""
    output: Path | None = None
    """with --policy: the file to write, ending in .npz"""
    episodes: int = 200
    """episodes of T_VAL by which success is measured; 0 leaves it out"""
    threads: int = 2
    """threads of the simulator"""


def kept_path(task: str) -> Path:
    """Return the kept policy from which that of a task is made."""
    return KEPT / METHOD / task / f"i{ITERATION}-seed{SEED}.safetensors"


def export(source: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return header and arrays of a policy, as the player's files hold them.

    Raises:
        ValueError: It is no combined policy of the flywheel, or has settings that the player
            does not know.
    """
    state = read_policy(source)
    if state.get("method") != METHOD or not state.get("residual"):
        raise ValueError(f"{source} is no combined policy of {METHOD}, which the player needs")
    args = state["args"]
    other = {name: args[name] for name, known in PLAYABLE.items() if args[name] != known}
    if other:
        raise ValueError(f"{source} was made with {other}; the player knows {PLAYABLE}")

    copied = (
        "env_id",
        "control_mode",
        "observation_keys",
        "revision",
        "method",
        "method_version",
        "iteration",
    )
    header = {name: state[name] for name in copied}
    header |= {"seed": args["seed"], "policy": "combined", "made": _made(source, state)}
    header["settings"] = {name: args[name] for name in SETTINGS}
    arrays = {f"base/{name}": value.numpy() for name, value in state["base"].items()}
    return header, arrays | _residual(state["residual"]) | _schedule(state)


def _made(source: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """Say from which file a policy is and, where that says so, by what commit and command."""
    source = source.resolve()
    name = source.relative_to(ROOT).as_posix() if source.is_relative_to(ROOT) else source.name
    return {"from": name, **state.get("made", {})}


def _residual(weights: dict[str, Any]) -> dict[str, np.ndarray]:
    """The actor, and its normaliser as mean and standard deviation, float64."""
    arrays = {
        f"residual/{name}": value.numpy()
        for name, value in weights.items()
        if name.startswith("actor.")
    }
    count, total, squares = weights["sums"].numpy()
    mean = total / count
    variance = np.maximum(squares / count - np.square(mean), LEAST_VARIANCE)
    return arrays | {"residual/mean": mean, "residual/std": np.sqrt(variance)}


def _schedule(state: dict[str, Any]) -> dict[str, np.ndarray]:
    """The steps of DDIM: noise level, and the signal's share before and after each, float32."""
    script = load_script(METHOD)
    base, _ = script.build_policy(state, from_dict(script.Args, state["args"]))
    levels = base.scheduler.timesteps.numpy()
    shares = base.scheduler.alphas_cumprod.numpy()
    apart = base.scheduler.config.num_train_timesteps // len(levels)
    after = [shares[level - apart] if level >= apart else np.float32(1.0) for level in levels]
    return {
        "schedule/level": levels,
        "schedule/alpha": shares[levels],
        "schedule/alpha_before": np.array(after, np.float32),
    }


def measured(path: Path, episodes: int, threads: int) -> dict[str, Any]:
    """Let the player run a file on `MEASURED_ON`; return success, n and the Wilson interval."""
    policy = load(path)
    what = {"split": MEASURED_ON, "episodes": episodes, "seed": policy.header["seed"]}
    env_id = policy.header["env_id"]
    options = {"threads": threads}
    records = evaluate(policy, env_id, **what, env_options=options, progress=env_id)
    found = summary(records)
    figures = {name: found[name] for name in ("success", "n", "low", "high")}
    return figures | {"split": what["split"], "seed": what["seed"]}


def write(source: Path, target: Path, episodes: int, threads: int) -> dict[str, Any]:
    """Write a player's file with its success in it, and return its header."""
    header, arrays = export(source)
    write_arrays(target, header, arrays)
    if episodes:
        header["measured"] = measured(target, episodes, threads)
        write_arrays(target, header, arrays)
    return read_arrays(target)[0]


def success_of(header: Mapping[str, Any]) -> str:
    """Say in a few words how often the policy of a file succeeds."""
    found = header.get("measured")
    if not found:
        return "not measured"

    rate, low, high = (100 * found[name] for name in ("success", "low", "high"))
    return f"{rate:.1f} % [{low:.1f}, {high:.1f}] of {found['n']} episodes"


def main(args: Args) -> None:
    """Write the files and say what they hold."""
    if (args.policy is None) != (args.output is None):
        raise ValueError("--policy and --output go together")
    pairs = [(kept_path(task.name), shipped_path(task.name)) for task in TASKS]
    if args.policy and args.output:
        pairs = [(args.policy, args.output)]
    for source, target in pairs:
        header = write(source, target, args.episodes, args.threads)
        print(f"{target}, {target.stat().st_size / 1000:.0f} kB: {success_of(header)}")
