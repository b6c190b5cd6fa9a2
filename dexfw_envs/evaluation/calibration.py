"""How good predicted values are, on episodes not learned from: what they explain and tell."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np


def split_by_scene(
    scenes: Sequence[Hashable], kind: str, folds: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Say which episodes each critic learns from, which it judges, and if these are held out.

    Episodes of one scene stay together, such as a demonstration, starts from it and further tries.

    Args:
        scenes: Of every episode, (E,).
        kind: "crossfit": as many critics as `folds`, each judges what it has not seen; "heldout":
            one, which leaves one of `folds` parts out and judges all.
        folds: Parts; fewer where there are fewer scenes.
        rng: Draws the parts.

    Returns:
        Whether a critic learns from an episode, bool (C, E); which critic judges it, int (E,);
        and whether it has not learned from it, bool (E,).

    Raises:
        ValueError: All episodes are of one scene.
    """
    groups = {scene: n for n, scene in enumerate(dict.fromkeys(scenes))}
    if len(groups) < 2:
        raise ValueError("a critic cannot judge held-out episodes where all are of one scene")
    folds = min(folds, len(groups))
    part = rng.permutation(len(groups))[[groups[scene] for scene in scenes]] % folds
    if kind == "crossfit":
        return part != np.arange(folds)[:, None], part, np.ones(len(part), dtype=bool)
    held = part == 0
    return ~held[None], np.zeros(len(part), dtype=int), held


def explained_variance(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """Return 1 - var(true - predicted) / var(true); None where the true values are all the same."""
    spread = float(np.var(true)) if len(true) else 0.0
    return 1.0 - float(np.var(true - predicted)) / spread if spread > 1e-12 else None


def auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the probability that a positive has the higher score, ties counted half.

    Args:
        scores: (n,).
        positive: bool (n,).

    Returns:
        None where all are positive, or none.
    """
    scores = np.asarray(scores, dtype=float)
    positive = np.asarray(positive, dtype=bool)
    count = int(positive.sum())
    if count in (0, len(positive)):
        return None
    _, distinct, size = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(size) - (size - 1) / 2)[distinct]  # mean rank of those with the same score
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(ranks) - count)))


def calibration(
    values: np.ndarray,
    returns: np.ndarray,
    success: np.ndarray,
    stage: np.ndarray,
    names: Sequence[str],
) -> dict[str, Any]:
    """Report on predicted values, over all frames and by stage.

    Args:
        values: Predicted, (n,).
        returns: True, (n,).
        success: Whether the frame's episode succeeded, bool (n,).
        stage: Index of the frame's stage, (n,).
        names: Names of the stages.

    Returns:
        "frames", "explained_variance", "error" (mean of predicted - true) and "auroc" of success;
        under "stages" the same for each stage that occurs.
    """

    def of(chosen: np.ndarray) -> dict[str, Any]:
        v = values[chosen]
        r = returns[chosen]
        return {
            "frames": len(v),
            "explained_variance": explained_variance(v, r),
            "error": float((v - r).mean()),
            "auroc": auroc(v, success[chosen]),
        }

    there = [index for index in range(len(names)) if (stage == index).any()]
    stages = {names[index]: of(stage == index) for index in there}
    return {**of(np.ones(len(values), dtype=bool)), "stages": stages}


def calibrations(
    groups: Mapping[str, Sequence[Sequence[np.ndarray]]], names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return `calibration`, and the number of episodes, for groups of episodes that are not empty.

    Args:
        groups: By name, for each episode its values, returns, success and stage, (n,) each.
        names: Names of the stages.
    """
    by_title: dict[str, dict[str, Any]] = {}
    for title, rows in groups.items():
        if rows:
            columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
            values, returns, success, stage = columns
            figures = calibration(values, returns, success, stage, names)
            by_title[title] = {"episodes": len(rows), **figures}
    return by_title


def label_fractions(groups: Mapping[str, Sequence[np.ndarray]]) -> dict[str, dict[str, float]]:
    """Return for each group of labels in [0, 1] their number, mean, and share above one half."""
    by_name: dict[str, dict[str, float]] = {}
    for name, parts in groups.items():
        labels = np.concatenate([np.asarray(part) for part in parts])
        by_name[name] = {"windows": len(labels)}
        if len(labels):
            above = (labels > 0.5).mean()
            by_name[name] |= {"mean": float(labels.mean()), "above_half": float(above)}
    return by_name
