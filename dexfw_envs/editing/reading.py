"""Reading recorded motions from episodes, as the commands that the controller really issued."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import Targets, advance
from dexfw_envs.editing.cuts import cut_for
from dexfw_envs.editing.motion import Motion
from dexfw_envs.editing.segments import Segmentation
from dexfw_envs.observation import read_objects, read_proprio
from dexfw_envs.transforms import Array


def read_motion(
    episode: Any,
    codec: Any,
    segment: Callable[[Motion], Segmentation] | None = None,
    label: str = "",
    smoothing: float = 0.0,
    settle: int = 10,
) -> Motion:
    """Read a motion from a stored or just finished episode of pose actions.

    What is kept is not what the actions asked for but what the slew-limited controller made
    of them: a policy may ask for far-away targets, and only the commands that were really
    issued mean the same motion at another speed.

    Args:
        episode: Has `scenario`, `actions` (T, 12 A) and `observations` with the groups
            "proprio" and "object".
        codec: Turns actions into targets (`env.codec`).
        segment: Finds the cuts; by default what suits the scenario's task.
        label: Kept with the source.
        smoothing: Width (standard deviation) of a zero-phase low-pass on the commands
            [steps], against the jerks of policies; 0 leaves them as they are.
        settle: For how many more steps the last action is held. An episode ends in the moment
            of success; without this a replay would stop short just there.

    Raises:
        ValueError: The motion cannot be cut, such as one in which nothing was touched.
    """
    measured = end_effector_poses(episode.observations["proprio"])
    objects = read_objects(np.asarray(episode.observations["object"], float))

    actions = np.clip(np.asarray(episode.actions, float), -1.0, 1.0)
    targets = codec.decode(_hold(actions, settle))
    issued = smooth(slew(targets, measured[0]), smoothing)
    motion = Motion(
        position=issued.position,
        quaternion=issued.quaternion,
        hand=issued.hand,
        objects=_hold(objects.pose, settle),
        measured=_hold(measured, settle),
        object_ids=tuple(episode.scenario.objects),
        label=label,
    )
    try:
        segments = (segment or cut_for(episode.scenario.task))(motion)
    except ValueError as error:
        raise ValueError(f"cannot cut {label or 'a motion'}: {error}") from error
    return dataclasses.replace(motion, segments=segments)


def read_motions(episodes: Sequence[Any], codec: Any, smoothing: float = 0.0) -> list[Motion]:
    """Return the motions of episodes; those that cannot be cut are left out, with a warning.

    A learned policy may succeed in a way that the cuts of its task do not know.

    Args:
        episodes: As in `read_motion`.
        codec: Turns actions into targets (`env.codec`).
        smoothing: As in `read_motion` [steps].

    Raises:
        ValueError: None of them can be cut.
    """
    motions = []
    reasons = []
    for episode in episodes:
        try:
            motions.append(read_motion(episode, codec, smoothing=smoothing))
        except ValueError as error:
            reasons.append(str(error))

    if not episodes:
        raise ValueError("no episodes to make motions of: none succeeded")
    if not motions:
        raise ValueError(f"none of {len(episodes)} episodes can be cut: {', '.join({*reasons})}")
    if reasons:
        left_out = f"{len(reasons)} of {len(episodes)} episodes cannot be cut and are left out"
        warnings.warn(f"{left_out}: {', '.join(sorted({*reasons}))}", stacklevel=2)

    return motions


def _hold(values: Array, steps: int) -> Array:
    """Repeat the last row some more times."""
    return np.concatenate([values, np.repeat(values[-1:], steps, axis=0)])


def end_effector_poses(proprio: Array) -> Array:
    """Return the end-effector poses (..., A, 7) of the group "proprio" (..., 69 A)."""
    measured = read_proprio(np.asarray(proprio, dtype=float))
    quaternion = tf.quat_normalize(measured.palm_quaternion)
    return np.concatenate([measured.palm_position, quaternion], axis=-1)


def slew(targets: Targets, start: Array) -> Targets:
    """Return the commands that the controller issues for targets (T, A, ...).

    Args:
        targets: What the actions ask for.
        start: End-effector poses at the start, (A, 7). The hand starts at its first target.
    """
    issued = [Targets(start[:, :3], start[:, 3:], targets.hand[0])]
    for row in zip(targets.position, targets.quaternion, targets.hand, strict=True):
        issued.append(advance(issued[-1], Targets(*row)))
    names = ("position", "quaternion", "hand")
    return Targets(*(np.stack([getattr(t, name) for t in issued[1:]]) for name in names))


def smooth(targets: Targets, width: float) -> Targets:
    """Low-pass targets (T, A, ...) without delay; the ends stay where they are.

    Args:
        targets: To be smoothed.
        width: Standard deviation of the Gaussian [steps]; 0 returns the targets as they are.
    """
    if width <= 0.0:
        return targets
    # Neighbouring quaternions on one side, so that their mean is a mean of rotations.
    along = (targets.quaternion[1:] * targets.quaternion[:-1]).sum(axis=-1, keepdims=True)
    sign = np.cumprod(np.where(along < 0.0, -1.0, 1.0), axis=0)
    quaternion = np.concatenate([targets.quaternion[:1], sign * targets.quaternion[1:]])
    return Targets(
        position=_low_pass(targets.position, width),
        quaternion=tf.quat_normalize(_low_pass(quaternion, width)),
        hand=_low_pass(targets.hand, width),
    )


def _low_pass(values: Array, width: float) -> Array:
    """Gaussian filter along the first axis; continued beyond the ends by point reflection."""
    half = min(int(np.ceil(3.0 * width)), len(values) - 1)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / width) ** 2)
    kernel /= kernel.sum()
    before = 2.0 * values[:1] - values[half:0:-1]
    after = 2.0 * values[-1:] - values[-2 : -half - 2 : -1]
    padded = np.concatenate([before, values, after])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0)
    return windows @ kernel
