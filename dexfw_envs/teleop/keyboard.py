"""A person at the keyboard of a terminal, as a source of commands for `PersonOperator`."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import CONTROL_PERIOD, Targets
from dexfw_envs.teleop.person import PersonOperator

STEP, TURN, BEND = 0.008, 0.04, 0.06  # of one key press [m], [rad], [rad of every finger]
AXES = np.eye(3)
MOVES = {  # in the table frame
    "w": STEP * AXES[0], "s": -STEP * AXES[0], "a": STEP * AXES[1], "d": -STEP * AXES[1],
    "r": STEP * AXES[2], "f": -STEP * AXES[2],
}  # fmt: skip
TURNS = {
    "u": TURN * AXES[0], "o": -TURN * AXES[0], "i": TURN * AXES[1], "k": -TURN * AXES[1],
    "j": TURN * AXES[2], "l": -TURN * AXES[2],
}  # fmt: skip
BENDS = {"g": BEND, "h": -BEND}
TOGGLE, OTHER_ARM, STOP = " ", "\t", "x"
HELP = """space: take over, hand back (if this episode allows it)   tab: other arm   x: give it up
w s a d r f: palm forth, back, left, right, up, down
u o i k j l: turn the palm about x, y, z   g h: close, open the fingers"""


def terminal_keys() -> str:
    """Return the keys pressed since the last call; empty where there is no terminal."""
    if not sys.stdin.isatty() or not select.select([sys.stdin], [], [], 0.0)[0]:
        return ""
    return os.read(sys.stdin.fileno(), 64).decode(errors="ignore")


@contextlib.contextmanager
def raw_terminal() -> Any:
    """Let keys through at once and without showing them, while the block lasts.

    Raises:
        RuntimeError: There is no terminal, or none of the kind of Unix.
    """
    if not sys.stdin.isatty():
        raise RuntimeError("the keyboard operator needs a terminal on standard input")
    try:
        import termios
        import tty
    except ImportError as error:
        raise RuntimeError("the keyboard operator needs a terminal of Unix") from error
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class KeyboardSource:
    """Moves a wrist of its own by keys; aligned with the robot at any time, since it follows it.

    Args:
        limits: Of the driven hand joints, lower and upper [rad], (6,) each.
        keys: Gives the keys pressed since the last call.
        period: Least time between two steps [s], so that a person can follow; 0 for none.
    """

    def __init__(
        self,
        limits: tuple[np.ndarray, np.ndarray],
        keys: Callable[[], str] = terminal_keys,
        period: float = CONTROL_PERIOD,
    ) -> None:
        self.limits, self.keys, self.period = limits, keys, period
        self._asks, self._stops, self._arm, self._due = False, False, 0, 0.0
        self._now = Targets(np.zeros((0, 3)), np.zeros((0, 4)), np.zeros((0, 6)))

    def asks(self) -> bool:
        """Look at the keys, move, and say if the person commands; waits for the step's time."""
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = time.monotonic() + self.period
        for key in self.keys():
            self._press(key)
        return self._asks

    def read(self) -> Targets:
        """Return where the keys have led to."""
        return self._now

    def follow(self, robot: Targets) -> None:
        """Stand where the robot is."""
        self._now = Targets(robot.position.copy(), robot.quaternion.copy(), robot.hand.copy())

    def stops(self) -> bool:
        """Say if the key that ends the episode was pressed since the last call."""
        stops, self._stops = self._stops, False
        return stops

    def release(self) -> None:
        """Forget that the person took over or gave up."""
        self._asks = self._stops = False

    def _press(self, key: str) -> None:
        arm, now = self._arm, self._now
        if key == TOGGLE:
            self._asks = not self._asks
        elif key == STOP:
            self._stops = True
        elif key == OTHER_ARM:
            self._arm = (arm + 1) % len(now.position)
        elif key in MOVES:
            now.position[arm] += MOVES[key]
        elif key in TURNS:
            turn = tf.quat_from_rotvec(TURNS[key])
            now.quaternion[arm] = tf.quat_multiply(turn, now.quaternion[arm])
        elif key in BENDS:
            # The first joint is the thumb's turn across the palm, which stays.
            now.hand[arm, 1:] += BENDS[key]
            now.hand[arm] = np.clip(now.hand[arm], *self.limits)


def keyboard_operator(env: Any) -> PersonOperator:
    """A person at this terminal who may take over in `env`; the keys are printed."""
    print(HELP, flush=True)
    return PersonOperator(env, KeyboardSource(env.task.needs.robot.hand.driven_limits()))
