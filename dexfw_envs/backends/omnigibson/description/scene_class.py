"""The scene as an OmniGibson class: a scene that has an extent before anything stands in it.

OmniGibson 1.1.1 places a scene beside the one before by its bounding box, which it takes before
robots and objects are loaded. The box of an empty scene is inverted and without end, so that a
second plain `Scene` would stand at infinity. Later releases count it as a point, which is what a
grain below the floor makes of it here.

The class is made when OmniGibson is there: its base is handed in, nothing is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CLASS_NAME = "DexFWScene"
GRAIN = (0.01, -1.0)  # side and height of the grain [m]; the floor is at height 0 and hides it


def scene_class(base: Any, mark: Callable[[int], None]) -> Any:
    """Define the class, which registers itself with OmniGibson; return it.

    Args:
        base: OmniGibson's `Scene`.
        mark: Puts the grain into the scene of an index, as the first thing in it.
    """

    def _load(self: Any) -> None:
        base._load(self)
        mark(self.idx)

    body = {"__module__": __name__, "__doc__": "A plain scene with an extent.", "_load": _load}
    return type(base)(CLASS_NAME, (base,), body)
