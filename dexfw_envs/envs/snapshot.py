"""The full state of an environment as plain data, for checkpoints, copies and pickles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from dexfw_envs.backends.base import Backend
from dexfw_envs.scenario import Scenario
from dexfw_envs.world import WorldState

NAMES = ("vectors", "scenarios", "generators")  # of what `read` returns
_WORLDS = "worlds' states"  # in place of the backend, which cannot be copied


class CopiedEnv(Protocol):
    """What is read and written of an environment."""

    num_envs: int
    backend: Backend
    world: WorldState
    scenarios: list[Scenario | None]
    generators: list[np.random.Generator]
    closed: bool

    def state_vectors(self) -> np.ndarray:
        """Read the full state of every world, (N, S)."""

    def set_state_vectors(self, states: np.ndarray, scenarios: Sequence[Scenario]) -> Any:
        """Restore all worlds; return the observations."""

    def forget_seeds(self) -> None:
        """Say that no generator follows from a seed any more."""

    def make_worlds(self) -> Backend:
        """Build worlds of its own."""


def read(env: CopiedEnv) -> dict[str, Any]:
    """Read everything the continuation depends on: arrays and strings only."""
    return {
        "vectors": env.state_vectors(),
        "scenarios": [scenario.to_json() if scenario else "" for scenario in env.scenarios],
        "generators": [json.dumps(g.bit_generator.state) for g in env.generators],
    }


def restore(env: CopiedEnv, state: dict[str, Any]) -> dict[str, np.ndarray]:
    """Put back what `read` gave; return the observations."""
    if missing := [name for name in NAMES if name not in state]:
        raise ValueError(f"a state holds {', '.join(NAMES)}; this one lacks {', '.join(missing)}")
    texts = state["scenarios"]
    if len(texts) != env.num_envs:
        raise ValueError(f"a state of {len(texts)} worlds cannot be set in {env.num_envs}")

    if not all(texts):
        raise ValueError("the state was read before the first reset; there is nothing to restore")
    scenarios = [Scenario.from_json(text) for text in texts]
    observation = env.set_state_vectors(state["vectors"], scenarios)

    for generator, text in zip(env.generators, state["generators"], strict=True):
        generator.bit_generator.state = json.loads(text)
    env.forget_seeds()

    return observation


def packed(env: CopiedEnv) -> dict[str, Any]:
    """Return the attributes of an environment, with the worlds that have begun as state vectors."""
    attributes = env.__dict__.copy()
    worlds = attributes.pop("backend")
    begun = _begun(env)
    attributes[_WORLDS] = worlds.get_state()[begun] if begun.any() else None
    return attributes


def unpack(env: CopiedEnv, attributes: dict[str, Any]) -> None:
    """Give a new environment the attributes of another one, and worlds of its own."""
    attributes = attributes.copy()
    states = attributes.pop(_WORLDS)
    env.__dict__.update(attributes)
    env.backend = env.make_worlds()
    if states is not None:
        scenarios = [scenario for scenario in env.scenarios if scenario is not None]
        env.backend.set_state(_begun(env), states, scenarios)
        env.world = env.backend.world()
    if env.closed:
        env.backend.close()


def _begun(env: CopiedEnv) -> np.ndarray:
    return np.array([scenario is not None for scenario in env.scenarios])
