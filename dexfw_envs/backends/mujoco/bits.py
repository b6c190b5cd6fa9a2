"""Contact bits: only hand, object, support, thumb against fingers, and the partner hand collide."""

from __future__ import annotations

HAND, OBJECT, SUPPORT, THUMB, FINGER = 1, 2, 4, 8, 16
LEFT = 32  # every link of a left hand carries this bit too; right hands list it as an opponent


def partner(name: str) -> int:
    """Return the bits of the other arm's hand for an element named right_... or left_...."""
    return LEFT if name.startswith("right_") else 0
