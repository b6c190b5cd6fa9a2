"""Playing trained policies without torch: the ones that ship with the package, and others.

    from dexfw_envs.evaluation import evaluate
    from dexfw_envs.play import load_shipped

    records = evaluate(load_shipped("Grasp"), "DexFW/Grasp-v0", split="T_VAL", episodes=8)

`dexfw play Grasp` shows one in a picture or a film.
"""

from __future__ import annotations

from pathlib import Path

from dexfw_envs.play.policy import PlayedPolicy, load
from dexfw_envs.registry import entry

__all__ = ["MEASURED_ON", "PlayedPolicy", "load", "load_shipped", "shipped_path"]

MEASURED_ON = "T_VAL"  # the split on which the shipped policies were measured
FOLDER = Path(__file__).parent / "policies"


def shipped_path(task: str) -> Path:
    """Return where the policy of a task lies that ships with the package.

    Raises:
        ValueError: The task is unknown.
    """
    return FOLDER / f"{entry(task).name.lower()}.npz"


def load_shipped(task: str) -> PlayedPolicy:
    """Open the policy that ships for a task, by name ("Grasp") or id ("DexFW/Grasp-v0").

    Raises:
        ValueError: The task is unknown.
        FileNotFoundError: None ships for it.
    """
    return load(shipped_path(task))
