"""Trajectory editing: carry a recorded motion over to new object poses, for one or two arms.

Each subtask's targets move rigidly with its reference object, `T_new * inv(T_source) * target`,
as in MimicGen and DexMimicGen; `bridging` has the two ways to get there. Knows no simulator:
poses in, targets out.
"""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import Targets
from dexfw_envs.editing.bridging import ARRAYS, EditOptions, Noise, Piece, straight, warp
from dexfw_envs.editing.motion import Motion
from dexfw_envs.editing.segments import Subtask
from dexfw_envs.transforms import Array, Pose

IDENTITY: Pose = (np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))


def object_motion(old: Array, new: Array, yaw_only: bool = True) -> Pose:
    """Return the rigid motion that takes the object from pose `old` (7,) to `new` (7,)."""
    turn = tf.quat_multiply(new[3:], tf.quat_conjugate(old[3:]))
    if yaw_only:
        turn = tf.quat_from_yaw(tf.yaw_from_quat(turn))
    return new[:3] - tf.quat_rotate(turn, old[:3]), turn


class ArmQueue:
    """The targets one arm still has to go through, filled one subtask at a time.

    Args:
        source: The recorded motion.
        arm: Which of its arms.
        start: Where the end effector is at the start, pose (7,).
        options: How to edit.
        rng: For the noise.
    """

    def __init__(
        self,
        source: Motion,
        arm: int,
        start: Array,
        options: EditOptions,
        rng: np.random.Generator,
    ):
        self.source = source
        self.arm = arm
        self.options = options
        self.subtasks = source.segments[arm]
        self.index = -1  # of the subtask in the queue
        seen = source.measured[0, arm]
        self.motion: Pose = tf.compose(start[:3], start[3:], *tf.invert(seen[:3], seen[3:]))
        hand = source.hand[:1, arm]
        self.last = Piece(start[None, :3], start[None, 3:], hand, np.zeros(1, dtype=bool))
        self.output = self.last  # as sent to the robot, noise included
        self.queue = self.last.rows(slice(0, 0))
        self.cursor = 0
        self.noise = Noise(12, options, rng)

    @property
    def current(self) -> Subtask | None:
        """The subtask in the queue; None before the first."""
        return self.subtasks[self.index] if self.index >= 0 else None

    @property
    def following(self) -> Subtask | None:
        """The subtask that comes next; None after the last."""
        more = self.index + 1 < len(self.subtasks)
        return self.subtasks[self.index + 1] if more else None

    @property
    def remaining(self) -> int:
        """Steps left in the queue."""
        return len(self.queue.noisy) - self.cursor

    def finished(self, index: int) -> bool:
        """Whether subtask `index` has been gone through."""
        return self.index > index or (self.index == index and self.remaining == 0)

    def load(self, motion: Pose) -> Piece:
        """Queue the next subtask, moved by `motion`, and return it; the queue must be empty."""
        subtask = self.following
        if subtask is None or self.remaining:
            raise RuntimeError("only an empty queue with a subtask to come can be loaded")
        if self.options.bridge == "warp":
            piece = warp(self.source, self.arm, subtask, self.motion, motion, self.options)
        else:
            piece = straight(self.source, self.arm, subtask, self.last, motion, self.options)

        self.last = piece.rows(slice(-1, None))
        self.queue = piece.disturbed(self.noise.draw(len(piece.noisy)), self.options)
        self.index += 1
        self.cursor = 0
        self.motion = motion

        return self.queue

    def pop(self) -> None:
        """Put the next target of the queue out."""
        self.output = self.queue.rows(slice(self.cursor, self.cursor + 1))
        self.cursor += 1


class Editor:
    """Carries out one edited motion step by step, looking at the objects as it goes.

    Each arm works off its own queue. An arm that has to wait, or is through, repeats its last
    target. The pose of a subtask's reference object is read when the subtask begins; partners in
    coordination share what the first of them read.

    Args:
        source: The recorded motion.
        start: Where the end effectors are at the start, poses (A, 7).
        options: How to edit.
        rng: For the noise.
    """

    def __init__(
        self, source: Motion, start: Array, options: EditOptions, rng: np.random.Generator
    ):
        if start.shape != (source.arms, 7):
            raise ValueError(f"start has shape {start.shape}, need {(source.arms, 7)}")
        self.source = source
        self.options = options
        arms = zip(range(source.arms), start, rng.spawn(source.arms), strict=True)
        self.arms = [ArmQueue(source, arm, pose, options, child) for arm, pose, child in arms]
        self.shared: dict[int, Pose] = {}  # by the index of arm 0's coordination subtask

    @property
    def done(self) -> bool:
        """Whether all arms are through."""
        return all(arm.following is None and arm.remaining == 0 for arm in self.arms)

    def step(self, objects: Array) -> Targets:
        """Return the targets (A, ...) of the next control step, given object poses (O, 7)."""
        for arm in self.arms:
            if arm.remaining == 0 and arm.following and self._may_begin(arm):
                arm.load(self.motion(arm.arm, arm.index + 1, objects))
        for arm in [arm for arm in self.arms if arm.remaining and not self._waits(arm)]:
            arm.pop()
        outputs = [arm.output for arm in self.arms]
        return Targets(
            **{name: np.concatenate([getattr(o, name) for o in outputs]) for name in ARRAYS}
        )

    def motion(self, arm: int, index: int, objects: Array) -> Pose:
        """Return the rigid motion of subtask `index` of `arm` for object poses (O, 7)."""
        subtask = self.source.segments[arm][index]
        if subtask.scheme == "replay" or subtask.reference is None:
            return IDENTITY
        old = self.source.objects[subtask.start, subtask.reference]
        motion = object_motion(old, objects[subtask.reference], self.options.yaw_only)
        if subtask.kind == "coordination" and subtask.link is not None:
            return self.shared.setdefault(subtask.link if arm else index, motion)
        return motion

    def _may_begin(self, arm: ArmQueue) -> bool:
        subtask = arm.following
        if subtask is None or subtask.kind != "sequential" or subtask.link is None:
            return True
        return self.arms[1 - arm.arm].finished(subtask.link)

    def _waits(self, arm: ArmQueue) -> bool:
        """Whether the arm stands at the point from which partners go in step."""
        subtask = arm.current
        if subtask is None or subtask.kind != "coordination" or subtask.link is None:
            return False
        other = self.arms[1 - arm.arm]
        together = min(subtask.steps, other.subtasks[subtask.link].steps)
        return arm.remaining == together and (
            other.index != subtask.link or other.remaining > together
        )


def edit(
    source: Motion,
    objects: Array,
    start: Array,
    rng: np.random.Generator,
    options: EditOptions | None = None,
) -> Targets:
    """Carry a whole motion over to objects that stay where they are until touched.

    Args:
        source: The recorded motion.
        objects: Object poses in the new scene, (O, 7).
        start: End-effector poses at the start, (A, 7).
        rng: For the noise.
        options: How to edit.

    Returns:
        Targets of all control steps, (L, A, 3), (L, A, 4), (L, A, 6).
    """
    editor = Editor(source, start, options or EditOptions(), rng)
    if all(subtask.kind == "parallel" for arm in source.segments for subtask in arm):
        return _edit_parallel(editor, objects)
    steps = []
    while not editor.done:
        steps.append(editor.step(objects))
    return Targets(**{name: np.stack([getattr(s, name) for s in steps]) for name in ARRAYS})


def _edit_parallel(editor: Editor, objects: Array) -> Targets:
    """Do the same without a Python loop over steps, for arms that never wait."""
    plans = []
    for arm in editor.arms:
        pieces = []
        while arm.following:
            pieces.append(arm.load(editor.motion(arm.arm, arm.index + 1, objects)))
            arm.cursor = len(arm.queue.noisy)
        plans.append(Piece.join(pieces))
    length = max(len(plan.noisy) for plan in plans)
    rows = np.arange(length)
    padded = [plan.rows(np.minimum(rows, len(plan.noisy) - 1)) for plan in plans]
    return Targets(**{n: np.stack([getattr(p, n) for p in padded], axis=1) for n in ARRAYS})
