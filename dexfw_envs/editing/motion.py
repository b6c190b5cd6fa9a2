"""A recorded motion as trajectory editing takes it: targets, and the poses they belong to."""

from __future__ import annotations

from dataclasses import dataclass

from dexfw_envs.editing.segments import Segmentation, Subtask, check_segments
from dexfw_envs.transforms import Array


@dataclass(frozen=True, eq=False)
class Motion:
    """A recorded motion of T steps of A arms among O objects, ready to be edited.

    Attributes:
        position: End-effector targets as commanded [m], (T, A, 3).
        quaternion: Their orientations, (T, A, 4).
        hand: Hand joint targets [rad], (T, A, 6).
        objects: Object poses before each step and after the last, (T+1, O, 7).
        measured: End-effector poses before each step and after the last, (T+1, A, 7).
        segments: Subtasks of each arm; without any, all of it is one subtask of object 0.
        object_ids: Catalogue ids of the objects, for choosing among sources.
        label: Where the motion comes from, such as the id of the stored episode.
    """

    position: Array
    quaternion: Array
    hand: Array
    objects: Array
    measured: Array
    segments: Segmentation = ()
    object_ids: tuple[str, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        steps, arms = self.hand.shape[:2]
        shapes = {
            "position": (steps, arms, 3),
            "quaternion": (steps, arms, 4),
            "objects": (steps + 1, self.objects.shape[1], 7),
            "measured": (steps + 1, arms, 7),
        }

        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, need {shape}")

        if not self.segments:
            whole = ((Subtask(0, steps, reference=0),),) * arms
            object.__setattr__(self, "segments", whole)

        check_segments(self.segments, steps, arms, self.objects.shape[1])

    @property
    def steps(self) -> int:
        """Number of control steps T."""
        return len(self.hand)

    @property
    def arms(self) -> int:
        """Number of arms A."""
        return self.hand.shape[1]
