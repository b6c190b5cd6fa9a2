"""Recorded motions cut into object-centric subtasks, one list of subtasks per arm.

A subtask covers the source steps [start, stop). Its first `lead` steps are the free-space
approach, which editing may bend; from `anchor = start + lead` on the motion belongs to the
reference object and moves rigidly with it. The three kinds and two schemes are those of
DexMimicGen (arXiv 2410.24185). `cuts` finds the subtasks of a recorded motion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

KINDS = ("parallel", "coordination", "sequential")
SCHEMES = ("transform", "replay")
OFF_SUPPORT = 0.015  # a leaning object is held, not just tipped, when raised by more than this [m]
TILTED = 0.3  # a carried object leaning further is being poured from [rad]


@dataclass(frozen=True)
class Subtask:
    """One piece of one arm's motion.

    Attributes:
        start: First source step.
        stop: One past the last source step.
        reference: Index of the object it moves with; None for no object (needs `replay`).
        lead: Number of free-space steps at its beginning.
        kind: "parallel" (needs nobody), "coordination" (in step with the other arm's subtask
            `link`, one transform for both) or "sequential" (begins when the other arm has
            finished its subtask `link`).
        scheme: "transform" moves the motion with the object; "replay" leaves it as recorded.
        link: Subtask index of the other arm, for the last two kinds.
    """

    start: int
    stop: int
    reference: int | None = None
    lead: int = 0
    kind: str = "parallel"
    scheme: str = "transform"
    link: int | None = None

    def __post_init__(self) -> None:
        for name, valid in (("kind", KINDS), ("scheme", SCHEMES)):
            if getattr(self, name) not in valid:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; valid: {valid}")
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a subtask needs 0 <= start < stop, got {self.start}, {self.stop}")
        if not 0 <= self.lead < self.steps:
            raise ValueError(f"lead must be in [0, {self.steps - 1}], got {self.lead}")
        if (self.link is None) != (self.kind == "parallel"):
            raise ValueError(f"kind {self.kind!r} with link {self.link}: parallel has none")
        if self.scheme == "transform" and self.reference is None:
            raise ValueError("scheme 'transform' needs a reference object")

    @property
    def steps(self) -> int:
        """Number of source steps."""
        return self.stop - self.start

    @property
    def anchor(self) -> int:
        """First source step that is tied to the reference object."""
        return self.start + self.lead


Segmentation = tuple[tuple[Subtask, ...], ...]


def coordinate(segments: Segmentation, scheme: str) -> Segmentation:
    """Return the subtasks with another scheme where the arms are in coordination.

    A coordination that moved with no object moves with object 0 under "transform".

    Raises:
        ValueError: No subtask is a coordination, or the scheme is unknown.
    """
    if not any(subtask.kind == "coordination" for arm in segments for subtask in arm):
        raise ValueError(f"scheme {scheme!r} for coordination: no subtask is in coordination")

    def changed(subtask: Subtask) -> Subtask:
        if subtask.kind != "coordination":
            return subtask
        return replace(subtask, scheme=scheme, reference=subtask.reference or 0)

    return tuple(tuple(changed(subtask) for subtask in arm) for arm in segments)


def check_segments(segments: Segmentation, steps: int, arms: int, objects: int) -> None:
    """Raise ValueError unless the subtasks fit a motion and can all come to their end."""
    if len(segments) != arms:
        raise ValueError(f"segments for {len(segments)} arms, the motion has {arms}")
    for arm, subtasks in enumerate(segments):
        cuts = [0, *(subtask.stop for subtask in subtasks)]
        if [subtask.start for subtask in subtasks] != cuts[:-1] or cuts[-1] != steps:
            raise ValueError(f"subtasks of arm {arm} must cover the steps 0 to {steps} in order")
        for index, subtask in enumerate(subtasks):
            if subtask.reference is not None and not 0 <= subtask.reference < objects:
                raise ValueError(f"reference {subtask.reference}: there are {objects} objects")
            if subtask.link is not None:
                _check_link(segments, arm, index)
    _check_order(segments)


def _check_link(segments: Segmentation, arm: int, index: int) -> None:
    subtask = segments[arm][index]
    if len(segments) != 2:
        raise ValueError(f"kind {subtask.kind!r} needs two arms, there are {len(segments)}")

    other = segments[1 - arm]
    if subtask.link is None or not 0 <= subtask.link < len(other):
        raise ValueError(f"link {subtask.link}: the other arm has {len(other)} subtasks")

    partner = other[subtask.link]
    if subtask.kind == "sequential":
        return

    # Partners must end together, and a shared transform needs one scheme and one reference.
    mine = ("coordination", subtask.stop, subtask.scheme, subtask.reference, index)
    if (partner.kind, partner.stop, partner.scheme, partner.reference, partner.link) != mine:
        raise ValueError(
            "coordination partners must link to each other, end at the same source step and have "
            f"the same scheme and reference: {subtask} and {partner}"
        )


def _check_order(segments: Segmentation) -> None:
    """Walk through the subtasks as the arms would; neither may wait for ever."""
    done = [0] * len(segments)

    def may_pass(arm: int) -> bool:
        subtask = segments[arm][done[arm]]
        if subtask.link is None:
            return True
        needs = subtask.link + (1 if subtask.kind == "sequential" else 0)
        return done[1 - arm] >= needs

    def waiting() -> Iterator[int]:
        return (arm for arm in range(len(segments)) if done[arm] < len(segments[arm]))

    while True:
        passing = [arm for arm in waiting() if may_pass(arm)]
        if not passing:
            break
        for arm in passing:
            done[arm] += 1
    if any(waiting()):
        raise ValueError(f"the arms wait for each other after {done} subtasks")
