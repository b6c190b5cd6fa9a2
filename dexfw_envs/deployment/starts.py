"""Where the episodes of a collection start: initial states, stages reached before, and retries."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np

from dexfw_envs import checks
from dexfw_envs.deployment.shared_control import NEVER
from dexfw_envs.deployment.stages import Start
from dexfw_envs.scenario import Scenario

ARMED = ("retries", "always", "never")  # in which episodes the operator may take over


class Starts:
    """Iterator over the starts of a collection, in the order in which episodes are numbered.

    Every start that fails is tried a second time, or as many as `retries` allows. Room is kept for
    that: while first tries are under way the iterator may stop, and it goes on when `record` has
    told their outcomes. Only the last start may be left without a second try.

    A new start is of the stage that is furthest behind its weight: its share, times the share of
    its first tries that failed so far, since where nothing fails there is little to learn. No
    state is drawn twice before all of its stage were drawn.

    Args:
        count: Episodes in all, retries included.
        scenes: At least `count` scenes for the initial state, in order.
        stages: Starts by intermediate stage; none for ordinary DAgger.
        rng: Draws which start of a stage.
        initial: Share of the initial state, where there are stages; they have equal parts of the
            rest.
        armed: In which episodes the operator may take over, one of `ARMED`.
        retries: Most second tries in all; None: of every start that fails.

    Attributes:
        made: The starts handed out so far.
    """

    def __init__(
        self,
        count: int,
        scenes: Iterator[Scenario],
        stages: dict[int, list[Start]],
        rng: np.random.Generator,
        initial: float = 0.5,
        armed: str = "retries",
        retries: int | None = None,
    ) -> None:
        checks.choice("armed", armed, ARMED)
        self.count = count
        self.scenes = scenes
        self.stages = stages
        self.rng = rng
        self.initial = initial
        self.armed = armed
        self.made: list[Start] = []

        self._left = count if retries is None else retries  # second tries that may still come
        self._drawn: dict[int, list[int]] = {stage: [] for stage in stages}  # of a stage, to come
        self._again: list[Start] = []  # second tries to come
        self._running = 0  # first tries under way
        self._won: list[tuple[int, bool]] = []  # stage and outcome of those that have ended

    def __iter__(self) -> Iterator[Start]:
        return self

    def __next__(self) -> Start:
        """Return the next start: one that failed, else a new one if there is room."""
        room = self.count - len(self.made)
        kept_free = min(self._running + 1, self._left)  # for first tries that may yet fail
        tight = self._running > 0 and room <= kept_free
        if room < 1 or (tight and not self._again):
            raise StopIteration

        if self._again:
            start = self._again.pop(0)
        else:
            start = self._fresh()
            self._running += 1
        self.made.append(start)
        return start

    @property
    def share(self) -> float:
        """How much of the collection has begun, in [0, 1]."""
        return len(self.made) / self.count

    def record(self, start: Start, success: bool, lost_at: int = NEVER) -> None:
        """Tell the outcome of a start, and the step at which it went wrong, if any."""
        if start.attempt > 0:
            return
        self._running -= 1
        self._won.append((start.stage, success))
        if success or self._left == 0:
            return
        self._left -= 1
        ready = self.armed != "never"
        again = dataclasses.replace(start, attempt=1, armed=ready, lost_at=lost_at)
        self._again.append(again)

    def _fresh(self) -> Start:
        """Draw a first try of the stage that is furthest behind."""
        first_tries = Counter(start.stage for start in self.made if start.attempt == 0)
        shares = self._shares()
        stage = min(shares, key=lambda name: (first_tries[name] + 0.5) / shares[name])
        start = self._draw(stage)
        armed = self.armed == "always"
        return dataclasses.replace(start, pair=first_tries.total(), armed=armed)

    def _shares(self) -> dict[int, float]:
        """Weight of every stage that is started from, the initial state as stage 0."""
        if not self.stages:
            return {0: self._failing(0)}
        rest = (1.0 - self.initial) / len(self.stages)
        shares = {0: self.initial, **dict.fromkeys(self.stages, rest)}
        return {s: share * self._failing(s) for s, share in shares.items() if share > 0}

    def _draw(self, stage: int) -> Start:
        """Take the next scene, or a state of a later stage; none twice before all were drawn."""
        if stage == 0:
            return Start(next(self.scenes))
        pool = self.stages[stage]
        if not self._drawn[stage]:
            self._drawn[stage] = self.rng.permutation(len(pool)).tolist()
        return pool[self._drawn[stage].pop()]

    def _failing(self, stage: int) -> float:
        """Share of a stage's first tries that fail, as if one more had failed and one not."""
        won = [success for at, success in self._won if at == stage]
        return (won.count(False) + 1) / (len(won) + 2)
