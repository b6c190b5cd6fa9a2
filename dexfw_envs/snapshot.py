"""The full state of an environment as plain data, for checkpoints, copies and pickles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dexfw_envs.scenario import Scenario

if TYPE_CHECKING:
    import numpy as np

    from dexfw_envs.vector_env import DexVectorEnv


def read(env: DexVectorEnv) -> dict[str, Any]:
    """Read everything the continuation depends on: arrays and strings only."""
    return {
        "vectors": env.state_vectors(),
        "scenarios": [scenario.to_json() if scenario else "" for scenario in env.scenarios],
        "generators": [json.dumps(g.bit_generator.state) for g in env.generators],
    }


def restore(env: DexVectorEnv, state: dict[str, Any]) -> dict[str, np.ndarray]:
    """Put back what `read` gave; return the observations."""
    texts = state["scenarios"]
    if len(texts) != env.num_envs:
        raise ValueError(f"a state of {len(texts)} worlds cannot be set in {env.num_envs}")
    if not all(texts):
        raise ValueError("the state was read before the first reset; there is nothing to restore")
    scenarios = [Scenario.from_json(text) for text in texts]
    observation = env.set_state_vectors(state["vectors"], scenarios)
    for generator, text in zip(env.generators, state["generators"], strict=True):
        generator.bit_generator.state = json.loads(text)
    return observation


def rebuild(kind: type, args: tuple, options: dict[str, Any], state: dict[str, Any] | None) -> Any:
    """Make an environment anew and restore its state: the reading half of a pickle."""
    env = kind(*args, **options)
    if state is not None:
        env.set_state(state)
    return env
