"""Contact: which bodies collide, and how stiff every contact is.

Only hand, object, support, thumb against fingers, and the partner hand collide.
"""

from __future__ import annotations

HAND, OBJECT, SUPPORT, THUMB, FINGER = 1, 2, 4, 8, 16
LEFT = 32  # every link of a left hand carries this bit too; right hands list it as an opponent


def partner(name: str) -> int:
    """Return the bits of the other arm's hand for an element named right_... or left_...."""
    return LEFT if name.startswith("right_") else 0


# Time constant [s] and damping ratio of contacts and joint limits. MuJoCo scales a contact's
# stiffness with the mass it moves: at the default 0.02 s a pressing arm sinks a light object
# centimetres into the table.
SOLREF = (0.005, 1.0)
