"""`--evaluate`: a script's kept policy, measured and recorded."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dexfw_envs.evaluation.evaluator import evaluate_filmed
from dexfw_envs.evaluation.records import write_records
from dexfw_envs.evaluation.summary import summary
from dexfw_envs.runs.folder import run_name
from dexfw_envs.runs.options import FILMS, WORLD, ScriptArgs, Settings, from_dict
from dexfw_envs.runs.policies import read_policy
from dexfw_envs.runs.precision import COMPARED
from dexfw_envs.runs.setting_checks import check_variant


def evaluate_checkpoint(
    asked: Settings,
    open_policy: Callable[[dict[str, Any], Settings, str], tuple[Any, Any]],
    tasks: Mapping[str, Mapping[str, Any]],
) -> int:
    """Do what `--evaluate` asks for, print the result and return the exit code 0.

    Args:
        asked: The command line.
        open_policy: Takes the checkpoint, the settings and which policy; returns the policy and
            the env it acts in, built with `autoreset_mode="disabled"`.
        tasks: What each task changes, as in `parse`.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It is damaged, no checkpoint, or does not fit; or its records cannot be told
            from others: no iteration in it, or changed settings and no variant.
    """
    import torch

    state = read_policy(asked.evaluate)
    if "args" not in state:
        raise ValueError(f"{asked.evaluate} is no checkpoint of a policy")
    try:
        trained = from_dict(type(asked), state["args"])
    except ValueError as error:
        method = state.get("method", "unknown")
        raise ValueError(f"{asked.evaluate}, a policy of method {method}: {error}") from error
    names = (*WORLD, *asked.ASKED, "displacement", "variation")
    args = dataclasses.replace(trained, **{name: getattr(asked, name) for name in names})
    labels = _labels(state, asked, args, tasks) if asked.records else {}
    torch.manual_seed(asked.seed)
    policy, env = open_policy(state, args, asked.policy)
    names = ("split", "episodes", "seed", "displacement")
    what: dict[str, Any] = {name: getattr(asked, name) for name in names}
    what["variation"] = asked.variation or None
    folder = None
    if asked.capture_video:
        name = run_name(state["env_id"], "evaluate", asked.seed)
        folder = Path(asked.runs) / name / "videos"
    records, trouble = evaluate_filmed(policy, env, folder, FILMS, progress=asked.split, **what)
    env.close()
    if folder:
        print(f"warning: no videos: {trouble}" if trouble else f"videos: {folder}", file=sys.stderr)
    if asked.records:
        write_records(records, asked.records, **labels)
    print(json.dumps(summary(records), indent=None if asked.json else 2))
    return 0


def _labels(
    state: Mapping[str, Any],
    asked: ScriptArgs,
    args: ScriptArgs,
    tasks: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what the records of a checkpoint say of it."""
    if missing := [name for name in ("method", "iteration") if name not in state]:
        raise ValueError(f"{asked.evaluate} does not say its {missing[0]}, which --records needs")
    named = asked.variant != type(asked)().variant
    variant = asked.variant if named else args.variant
    labels = {"method": state["method"], "iteration": state["iteration"], "seed": args.seed}
    counted = dataclasses.replace(args, variant=variant)
    if "precision" not in state.get("args", {}):  # of before scripts had it: counts as it did
        counted = dataclasses.replace(counted, precision=COMPARED)
    check_variant(counted, tasks)
    labels["precision"] = args.precision
    return {**labels, "task": args.task, "variant": variant, "policy": asked.policy}
