"""A person at the keyboard of a terminal, as a source of commands for `PersonOperator`."""

from __future__ import annotations

import contextlib
import copy
import os
import select
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import CONTROL_PERIOD, Targets
from dexfw_envs.envs.protocol import RobotEnv
from dexfw_envs.teleop.person import PersonOperator

# What one key press changes
STEP = 0.008  # of the palm [m]
TURN = 0.04  # of the palm [rad]
BEND = 0.06  # of every finger joint [rad]

# Axes of the table frame
X, Y, Z = np.eye(3)
MOVES = {
    "w": STEP * X,
    "s": -STEP * X,
    "a": STEP * Y,
    "d": -STEP * Y,
    "r": STEP * Z,
    "f": -STEP * Z,
}
TURNS = {
    "u": TURN * X,
    "o": -TURN * X,
    "i": TURN * Y,
    "k": -TURN * Y,
    "j": TURN * Z,
    "l": -TURN * Z,
}
BENDS = {"g": BEND, "h": -BEND}
TOGGLE = " "
OTHER_ARM = "\t"
STOP = "x"
MOST_KEYS = 64  # read at once; the others wait for the next step
HELP = """space: take over, hand back (if this episode allows it)   tab: other arm   x: give it up
w s a d r f: palm forth, back, left, right, up, down
u o i k j l: turn the palm about x, y, z   g h: close, open the fingers"""


def terminal_keys() -> str:
    """Return the keys pressed since the last call; empty where there is no terminal."""
    if not sys.stdin.isatty():
        return ""
    waiting, _, _ = select.select([sys.stdin], [], [], 0.0)
    if not waiting:
        return ""
    return os.read(sys.stdin.fileno(), MOST_KEYS).decode(errors="ignore")


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
        self.limits = limits
        self.keys = keys
        self.period = period
        self._asks = False
        self._stops = False
        self._arm = 0  # that the keys move
        self._due = 0.0  # when the next step may be taken, by the monotonic clock [s]
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
        self._now = copy.deepcopy(robot)

    def stops(self) -> bool:
        """Say if the key that ends the episode was pressed since the last call."""
        stops = self._stops
        self._stops = False
        return stops

    def release(self) -> None:
        """Forget that the person took over or gave up."""
        self._asks = False
        self._stops = False

    def _press(self, key: str) -> None:
        arm = self._arm
        now = self._now
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


def keyboard_operator(env: RobotEnv) -> PersonOperator:
    """A person at this terminal who may take over in `env`; the keys are printed."""
    print(HELP, flush=True)
    return PersonOperator(env, KeyboardSource(env.task.needs.robot.hand.driven_limits()))
