"""The table of the flywheel's settings, read from the script itself."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # `benchmark` runs from the clone's root, wherever this is called

from benchmark.grid.scripts import load_script  # noqa: E402

# Symbol on the page, what it is, and the script's option.
SETTINGS = (
    ("n_i", "trajectories in D_1, D_2, D_3", "trajectories"),
    ("", "trajectories kept of one configuration", "per_scene"),
    ("H", "actions that the base policy predicts at once", "chunk"),
    ("h", "of them executed before it predicts again", "execute"),
    ("", "what the denoiser predicts", "prediction"),
    ("", "denoising steps when acting", "sampling_steps"),
    ("", "smoothing of a predicted chunk, standard deviation [steps]", "chunk_smoothing"),
    ("", "noise on the normalised state in training", "obs_noise"),
    ("", "gradient steps of a base policy", "base_steps"),
    ("α", "largest residual of palm and fingers, in units of the action", "alpha"),
    ("κ", "gain of each of the residual's two filters (1: no filter)", "smoothing"),
    ("s_0", "environment step up to which ε = 0", "ramp_start"),
    ("s_1", "environment step from which ε = 1", "ramp"),
    ("", "environment steps of reinforcement learning per turn", "total_timesteps"),
    ("", "parallel worlds of reinforcement learning", "rl_envs"),
    ("", "longest episode of reinforcement learning [steps]", "rl_steps"),
    ("", "algorithm", "residual_algo"),
    ("γ", "discount of PPO", "gamma"),
    ("", "discount of SAC", "sac_gamma"),
    ("", "log standard deviation of u at the start (PPO)", "log_std"),
    ("", "success in a test beyond which reinforcement learning ends", "enough"),
    ("", "standard deviation of the offset on u when a scene is tried again", "explore"),
    ("", "smoothing of rollouts before A_EP, standard deviation [steps]", "aep_smoothing"),
)


def settings_table() -> str:
    """Symbol, meaning, option; values of the preset laptop, where tasks differ, of the paper's."""
    script = load_script("dexflywheel")
    lines = [
        "| Symbol | Setting | Option | `laptop` | where a task differs | `paper` |",
        "|---|---|---|---|---|---|",
    ]
    usual = {field.name: field.default for field in dataclasses.fields(script.Args)}
    for symbol, meaning, name in SETTINGS:
        value = script.PRESETS["laptop"].get(name, usual[name])
        flag = f"`--{name.replace('_', '-')}`"
        theirs = _text(script.PRESETS["paper"].get(name, usual[name]))
        cells = (symbol, meaning, flag, _text(value), _by_task(script.TASKS, name, value), theirs)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _by_task(tasks: dict[str, dict[str, Any]], name: str, usual: Any) -> str:
    """The other values of an option, each with its tasks."""
    others: dict[str, list[str]] = {}
    for task, changed in tasks.items():
        if changed.get(name, usual) != usual:
            others.setdefault(_text(changed[name]), []).append(task)
    return "; ".join(f"{', '.join(of)} {value}" for value, of in others.items())


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else str(value)
