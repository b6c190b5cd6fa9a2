"""Where the episodes of a collection start: initial states, stages reached before, and retries."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from dexfw_envs import checks
from dexfw_envs.deployment.shared_control import NEVER
from dexfw_envs.deployment.stages import Start
from dexfw_envs.scenario import Scenario

ARMED = ("retries", "always", "never")  # in which episodes the operator may take over


class Starts:
    """Iterator over the starts of a collection, in the order in which episodes are numbered.

    Room is kept to try every start again that fails, or as many as `retries` allows; only the last
    may be left without. So it may run dry while first tries are under way, and goes on when their
    outcome is known. A stage is drawn by its share, times the share of its first tries that failed
    so far: where nothing fails there is little to learn. States are not drawn a second time before
    all of their stage were.

    Args:
        count: Episodes in all, retries included.
        scenes: At least `count` scenes for the initial state, in order.
        stages: Starts by intermediate stage; none for ordinary DAgger.
        rng: Draws which start of a stage.
        initial: Share of the initial state, where there are stages; they have equal parts of the
            rest.
        armed: In which episodes the operator may take over, one of `ARMED`.
        retries: Most second tries in all; None: of every start that fails.
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
        self.count, self.scenes, self.stages, self.rng = count, scenes, stages, rng
        self.initial, self.armed = initial, armed
        self._left = count if retries is None else retries  # second tries that may still come
        self.made: list[Start] = []
        self._drawn: dict[int, list[int]] = {stage: [] for stage in stages}  # of a stage, to come
        self._again: list[Start] = []
        self._running = 0  # first tries under way
        self._won: list[tuple[int, bool]] = []  # stage and outcome of those that have ended

    def __iter__(self) -> Iterator[Start]:
        return self

    def __next__(self) -> Start:
        """Return the next start: one that failed, else a new one if there is room."""
        room = self.count - len(self.made)
        tight = self._running > 0 and room <= min(self._running + 1, self._left)
        if room < 1 or (tight and not self._again):
            raise StopIteration
        start = self._again.pop(0) if self._again else self._fresh()
        self.made.append(start)
        self._running += start.attempt == 0
        return start

    @property
    def share(self) -> float:
        """How much of the collection has begun, in [0, 1]."""
        return len(self.made) / self.count

    def record(self, index: int, success: bool, lost_at: int = NEVER) -> None:
        """Tell the outcome of start number `index`, and the step at which it went wrong, if any."""
        start = self.made[index]
        if start.attempt == 0:
            self._running -= 1
            self._won.append((start.stage, success))
        if not (success or start.attempt) and self._left > 0:
            again = dataclasses.replace(start, attempt=1, armed=self.armed != "never")
            self._again.append(dataclasses.replace(again, lost_at=lost_at))
            self._left -= 1

    def _fresh(self) -> Start:
        """Draw a first try of the stage that is furthest behind."""
        first = Counter(start.stage for start in self.made if not start.attempt)
        rest = (1.0 - self.initial) / max(1, len(self.stages))
        shares = {0: self.initial if self.stages else 1.0, **dict.fromkeys(self.stages, rest)}
        shares = {s: share * self._failing(s) for s, share in shares.items() if share > 0}
        stage = min(shares, key=lambda name: (first[name] + 0.5) / shares[name])
        known: dict[str, Any] = {"pair": sum(first.values()), "armed": self.armed == "always"}
        if not stage:
            return Start(next(self.scenes), **known)
        pool = self.stages[stage]
        self._drawn[stage] = self._drawn[stage] or self.rng.permutation(len(pool)).tolist()
        return dataclasses.replace(pool[self._drawn[stage].pop()], **known)

    def _failing(self, stage: int) -> float:
        """Share of a stage's first tries that fail, as if one more had failed and one not."""
        won = [success for at, success in self._won if at == stage]
        return (won.count(False) + 1) / (len(won) + 2)
