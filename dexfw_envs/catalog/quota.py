"""How often to try each scene when collecting: the paper's rule as plain bookkeeping.

Each scene is tried at most 10 times and left after 4 successes; a scene that uses up its tries
counts as failed and what it gave is kept. Afterwards the successes are thinned to the number
wanted, even over objects. Source: DexFlyWheel, the scenario sampler of the appendix.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dexfw_envs.catalog.splits import redraw
from dexfw_envs.scenario import Scenario

MAX_TRIES = 10
MAX_SUCCESSES = 4


@dataclass
class _Scene:
    scenario: Scenario
    tries: int = 0
    pending: int = 0
    kept: list[Any] = field(default_factory=list)


class CollectionQuota:
    """Says which scene to try next and keeps count; many tries may be under way at once.

    A scene never has more tries under way than it still wants successes, so neither limit is
    passed however many worlds collect.

    Args:
        scenarios: The scenes, as from `configurations`; one may come up several times.
        max_tries: Tries per scene.
        max_successes: Successes after which a scene is full.

    Raises:
        ValueError: If there are no scenes or a limit is below 1.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        max_tries: int = MAX_TRIES,
        max_successes: int = MAX_SUCCESSES,
    ) -> None:
        if not scenarios or max_tries < 1 or max_successes < 1:
            raise ValueError(
                "a quota needs scenarios and limits of at least 1, got "
                f"{len(scenarios)} scenarios, {max_tries} tries, {max_successes} successes"
            )
        self.max_tries = max_tries
        self.max_successes = max_successes
        self._scenes = [_Scene(scenario) for scenario in scenarios]

    def next_try(self, rng: np.random.Generator) -> tuple[int, Scenario] | None:
        """The next try: index of the scene and the scene with fresh jitter.

        Returns:
            The open scene with the fewest tries, or None if none can be tried now: either all
            are `finished` or the rest waits for tries under way.
        """
        ready = [i for i, scene in enumerate(self._scenes) if self._wants_try(scene)]
        if not ready:
            return None
        index = min(ready, key=lambda i: self._scenes[i].tries)
        scene = self._scenes[index]
        scenario = redraw(scene.scenario, rng)
        scene.tries += 1
        scene.pending += 1
        return index, scenario

    def record(self, index: int, success: bool, key: Hashable = None) -> None:
        """Enter how a try ended.

        Args:
            index: The scene, as `next_try` gave it.
            success: Whether the try succeeded.
            key: Name of the episode, given back by `choose`.

        Raises:
            ValueError: If this scene has no try under way.
        """
        if index not in range(len(self._scenes)) or self._scenes[index].pending == 0:
            raise ValueError(f"scene {index!r} has no try under way")
        scene = self._scenes[index]
        scene.pending -= 1
        if success:
            scene.kept.append(key)

    def status(self, index: int) -> str:
        """``"full"`` (enough successes), ``"failed"`` (tries used up) or ``"open"``."""
        scene = self._scenes[index]
        if len(scene.kept) >= self.max_successes:
            return "full"
        if scene.tries >= self.max_tries and scene.pending == 0:
            return "failed"
        return "open"

    @property
    def finished(self) -> bool:
        """Whether every scene is full or failed."""
        return all(self.status(i) != "open" for i in range(len(self._scenes)))

    @property
    def share(self) -> float:
        """Share of the scenes that are full or failed, in [0, 1]."""
        settled = [self.status(i) != "open" for i in range(len(self._scenes))]
        return sum(settled) / len(settled)

    @property
    def tries(self) -> int:
        """Tries begun so far."""
        return sum(scene.tries for scene in self._scenes)

    @property
    def successes(self) -> int:
        """Successes so far."""
        return sum(len(scene.kept) for scene in self._scenes)

    def choose(self, count: int, rng: np.random.Generator) -> list[Any]:
        """Keys of at most `count` successes, drawn at random but as even over objects as can be."""
        by_object: dict[tuple[str, ...], list[Any]] = {}
        for scene in self._scenes:
            by_object.setdefault(scene.scenario.objects, []).extend(scene.kept)
        piles = [[pile[i] for i in rng.permutation(len(pile))] for pile in by_object.values()]
        chosen: list[Any] = []
        while len(chosen) < count and any(piles):
            piles = [piles[i] for i in rng.permutation(len(piles))]
            chosen += [pile.pop() for pile in piles if pile]
        return chosen[:count]

    def to_dict(self) -> dict[str, Any]:
        """All counts, ready for JSON if the keys are. Tries under way are forgotten.

        A run that stops loses what is under way, so those tries do not count when it resumes.
        """
        return {
            "max_tries": self.max_tries,
            "max_successes": self.max_successes,
            "scenes": [
                {
                    "scenario": scene.scenario.to_json(),
                    "tries": scene.tries - scene.pending,
                    "kept": list(scene.kept),
                }
                for scene in self._scenes
            ],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CollectionQuota:
        """Continue from what `to_dict` gave."""
        scenarios = [Scenario.from_json(scene["scenario"]) for scene in data["scenes"]]
        quota = cls(scenarios, data["max_tries"], data["max_successes"])
        for scene, saved in zip(quota._scenes, data["scenes"], strict=True):
            scene.tries = saved["tries"]
            scene.kept = list(saved["kept"])
        return quota

    def _wants_try(self, scene: _Scene) -> bool:
        missing = self.max_successes - len(scene.kept) - scene.pending
        return missing > 0 and scene.tries < self.max_tries
