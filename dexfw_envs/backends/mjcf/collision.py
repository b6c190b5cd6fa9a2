"""Contact: which bodies collide, and how stiff every contact is.

Hands, arm links from the forearm on, objects, supports and a vessel's contents collide, thumbs with
their fingers, and an arm with its partner. The links before the forearm touch the partner alone.
"""

from __future__ import annotations

HAND, OBJECT, SUPPORT, THUMB, FINGER = 1, 2, 4, 8, 16
# Of two arms only the left's elements carry this bit, and only the right's list it as an opponent.
LEFT = 32


def own(name: str) -> int:
    """Return the bit that every element of a left arm, named left_..., carries beside its kind."""
    return LEFT if name.startswith("left_") else 0


def partner(name: str) -> int:
    """Return the bits of the other arm for an element named right_... or left_...."""
    return LEFT if name.startswith("right_") else 0


# Contents touch the walls of vessels, supports and each other, but no hand: balls cannot be batted,
# and the fingers around a cup do not stir them. A vessel stands on a hull or a base, not on walls.
WALL, CONTENT = 64, 128
LINK = 256  # arm links from the forearm on, and the wrist

# Time constant [s] and damping ratio of contacts and joint limits. MuJoCo scales a contact's
# stiffness with the mass it moves: at the default 0.02 s a pressing arm sinks a light object
# centimetres into the table.
SOLREF = (0.005, 1.0)
