"""How the attempts of an augmentation came out: why each failed, and how many did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dexfw_envs.control.codec import PoseCodec
from dexfw_envs.editing.reading import end_effector_poses, slew
from dexfw_envs.episodes.episode import Episode
from dexfw_envs.observation import read_objects

# When a failed attempt counts as out of reach: the palm this far [m] from its command, this long.
REACH_GAP = 0.06
REACH_STEPS = 10
LIFTED = 0.02  # rise from which an object counts as grasped [m]
FALLEN = 0.5  # an object below this fraction of its highest rise has come down again


@dataclass(frozen=True)
class Tally:
    """How many attempts were made, how many succeeded, and why the others failed.

    Attributes:
        attempts: Number of attempts.
        successes: Number of successes.
        reasons: Number of failures for each reason.
    """

    attempts: int = 0
    successes: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, reason: str) -> Tally:
        """Return the tally of one attempt; reason "" means success."""
        return cls(1, 0, {reason: 1}) if reason else cls(1, 1)

    def __add__(self, other: Tally) -> Tally:
        reasons = dict(Counter(self.reasons) + Counter(other.reasons))
        return Tally(self.attempts + other.attempts, self.successes + other.successes, reasons)

    @property
    def rate(self) -> float:
        """Fraction of attempts that succeeded; 0 without attempts."""
        return self.successes / self.attempts if self.attempts else 0.0

    def to_json(self) -> str:
        """One line of JSON, most frequent reason first."""
        reasons = dict(Counter(self.reasons).most_common())
        counts = {"attempts": self.attempts, "successes": self.successes, "reasons": reasons}
        return json.dumps(counts)

    @classmethod
    def from_json(cls, text: str) -> Tally:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def failure_reason(episode: Episode, codec: PoseCodec) -> str:
    """Say why an episode failed, more precisely than the env, from what was recorded.

    Returns:
        "" for a success, else "fault" (the simulation broke down), "out_of_reach" (the arm did not
        follow its commands), "knocked_off" (the object fell, or its balls were spilled, without
        having been lifted), "never_grasped" (it was never lifted), "dropped" (it was lifted and
        came down again), "spilled" (it was held, and the env says so) or "timeout" (it was lifted,
        but not far or not for long enough). Without trajectories the reason is the env's.
    """
    if episode.success:
        return ""
    if episode.failure == "fault" or len(episode.actions) == 0:
        return episode.failure or "timeout"

    objects = read_objects(np.asarray(episode.observations["object"], float))
    height = objects.position[..., 2]
    rise = (height - height[0]).max(axis=1)
    if rise.max() < LIFTED:
        if _out_of_reach(episode, codec):
            return "out_of_reach"
        return "knocked_off" if episode.failure in ("dropped", "spilled") else "never_grasped"

    fell = episode.failure == "dropped" or rise[-1] < FALLEN * rise.max()
    return "dropped" if fell else episode.failure or "timeout"


def _out_of_reach(episode: Episode, codec: PoseCodec) -> bool:
    """Say whether the palm stayed behind its commands for some time."""
    targets = codec.decode(np.asarray(episode.actions, float))
    measured = end_effector_poses(episode.observations["proprio"])
    issued = slew(targets, measured[0])

    gap = np.linalg.norm(issued.position - measured[1:, :, :3], axis=-1).max(axis=-1)
    away = np.convolve(gap > REACH_GAP, np.ones(REACH_STEPS), mode="valid")
    return len(gap) >= REACH_STEPS and bool((away > REACH_STEPS - 0.5).any())
