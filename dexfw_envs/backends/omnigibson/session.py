"""The one simulator of a process, shared by all environments that are made in it.

OmniGibson runs one simulator per process, and a step advances every scene in it. So environments
take turns: whoever acts next has its worlds put back as they were when another began to act.
Scenes of a closed environment are handed to the next one that wants the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from dexfw_envs.backends.omnigibson.facade.requirements import TESTED
from dexfw_envs.backends.omnigibson.worlds import Stock
from dexfw_envs.robots.spec import RobotSpec


class Owner(Protocol):
    """An environment's worlds, as the session sees them."""

    def suspend(self) -> None:
        """Remember the worlds: others are about to step."""

    def resume(self) -> None:
        """Put the worlds back."""


class Session:
    """Scenes and whose turn it is.

    Args:
        simulator: The facade.
        timestep: Physics step [s], the same for all.
        headless: Whether there is no window.
    """

    def __init__(self, simulator: Any, timestep: float, headless: bool) -> None:
        self.simulator = simulator
        self.timestep = timestep
        self.headless = headless
        self.stocks: list[Stock] = []
        self._kinds: list[tuple[dict[str, Any], RobotSpec]] = []
        self._owners: list[Owner | None] = []
        self._active: Owner | None = None

    def take(self, owner: Owner, kind: tuple[dict[str, Any], RobotSpec], count: int) -> list[int]:
        """Return scenes of a kind, free ones first, new ones where they do not do.

        Args:
            owner: Who takes them.
            kind: Configuration, and the robot asked for.
            count: How many.
        """
        alike = enumerate(zip(self._kinds, self._owners, strict=True))
        ids = [i for i, (have, user) in alike if user is None and have == kind][:count]
        if self._active is not None:
            self._active.suspend()
            self._active = None

        new = count - len(ids)
        if new:
            ids += range(len(self._owners), len(self._owners) + new)
            self.simulator.open([kind[0]] * new)
            self._kinds += [kind] * new
            self._owners += [None] * new
            self.stocks += [Stock() for _ in range(new)]

        for index in ids:
            self._owners[index] = owner
        return ids

    def give(self, owner: Owner) -> None:
        """Take an owner's scenes back."""
        self._owners = [None if user is owner else user for user in self._owners]
        if self._active is owner:
            self._active = None

    def enter(self, owner: Owner) -> None:
        """Make it an owner's turn.

        Raises:
            RuntimeError: The owner was closed.
        """
        if self._active is owner:
            return
        if owner not in self._owners:
            raise RuntimeError("this environment was closed; make a new one")
        if self._active is not None:
            self._active.suspend()
        owner.resume()
        self._active = owner


class Share:
    """An owner's part of the simulator: its worlds are numbered from 0."""

    def __init__(self, simulator: Any, ids: list[int]) -> None:
        self._simulator = simulator
        self._ids = ids

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of the facade that takes the owner's number of a world."""
        method = getattr(self._simulator, name)
        if name in EVERYWHERE:
            return method
        return lambda world, *rest, **named: method(self._ids[world], *rest, **named)


# Methods of the facade that are not about one world.
EVERYWHERE = ("step", "render", "refresh", "impulses", "look", "tensor")
_sessions: list[Session] = []


def session(release: str, timestep: float, headless: bool) -> Session:
    """Return the process's session, begun on first call.

    Args:
        release: Which facade; see `requirements.check`.
        timestep: Physics step [s].
        headless: Whether there is no window.

    Raises:
        ValueError: The simulator already runs with other settings, which cannot be changed.
    """
    if not _sessions:
        _sessions.append(Session(_start(release, headless), timestep, headless))
    running = _sessions[0]
    if (running.timestep, running.headless) != (timestep, headless):
        raise ValueError(
            f"OmniGibson already runs in this process with timestep {running.timestep} s and "
            f"headless={running.headless}; {timestep} s and {headless} need a new process"
        )
    return running


def _start(release: str, headless: bool) -> Any:
    """Start the facade of an installed release."""
    if release == TESTED:
        from dexfw_envs.backends.omnigibson.facade.api import OmniGibson

        return OmniGibson(headless)
    from dexfw_envs.backends.omnigibson.facade.api3 import OmniGibson3

    return OmniGibson3(headless)
