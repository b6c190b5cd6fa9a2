"""Small scenes and recorded motions that several test modules need."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest

from dexfw_envs.catalog.splits import make_scenario
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.experts import make_expert

HUNG = 600.0  # [s]; a process that takes longer hangs, however busy the machine
# Bits differ between releases of MuJoCo; Python 3.10 has none from 4.0 on.
NEEDS_SEEDS_MUJOCO = pytest.mark.skipif(
    mujoco.__version__ < "4", reason="the shipped demonstrations replay with MuJoCo 4.0 alone"
)
OBJECTS = ("baseball", "drink_can")


def scene(object_id="baseball", surroundings="neutral", cell=0, seed=1, task="Grasp"):
    return make_scenario(task, object_id, surroundings, cell, seed)


def make(num_envs=2, task="Grasp", **options):
    """Two or more worlds on one thread, with all info, unless told otherwise."""
    return DexVectorEnv(task, num_envs, **{"threads": 1, "info_mode": "full", **options})


def started(scenarios, **options):
    """An environment of one world per scenario, reset to them, without autoreset."""
    env = make(len(scenarios), scenarios[0].task, autoreset_mode="disabled", **options)
    env.reset(seed=0, options={"scenarios": list(scenarios)})
    return env


def actions(steps: int, num_envs: int, seed: int = 0, size: int = 12) -> np.ndarray:
    """Random actions that go on for several steps, so that they lead somewhere."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.uniform(-1, 1, (-(-steps // 8), num_envs, size)), 8, axis=0)[:steps]


def equal(first: Any, second: Any) -> bool:
    """Bit for bit, through dictionaries and tuples; NaN never occurs."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(map(equal, first, second))
    return np.array_equal(first, second) and np.asarray(first).dtype == np.asarray(second).dtype


def rows(value: Any, index: Any) -> Any:
    """Choose worlds out of nested batches."""
    if isinstance(value, dict):
        return {key: rows(item, index) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(rows(item, index) for item in value)
    return value[index]


def play(env, commands) -> list[tuple]:
    """Step through actions; each row holds everything a step returns, and the full state."""
    return [(*env.step(command), env.state_vectors()) for command in commands]


@cache
def expert_grasp(steps: int = 170) -> SimpleNamespace:
    """The expert grasping a ball and a can: actions, states before and results of every step."""
    scenarios = [scene(name, cell=k, seed=7 + k) for k, name in enumerate(OBJECTS)]
    env = started(scenarios, obs_mode="state+touch")
    observation, expert = env._observe(), make_expert(env)
    expert.reset(np.ones(2, bool))
    out = SimpleNamespace(scenarios=scenarios, actions=[], states=[], observations=[], results=[])
    for _ in range(steps):
        out.states.append(env.get_state())
        out.observations.append(observation)
        out.actions.append(expert.act(observation))
        out.results += play(env, out.actions[-1:])
        observation = out.results[-1][0]
    contact = np.array([r[4]["success_terms"]["contact"] for r in out.results])
    free = np.array([r[4]["success_terms"]["free"] for r in out.results])
    held = np.array([r[4]["hold"] for r in out.results]) >= env.task.hold_steps
    assert held.any(axis=0).all(), "the expert should grasp both objects"
    out.held = held.argmax(axis=0)  # the step of success in each world
    out.touched = int(contact.argmax(axis=0).max())  # both are touched
    out.lifting = int((contact & free & ~held).argmax(axis=0).max())  # both are in the hand
    return out


def run_fresh(code: str, before: tuple[str, ...] = (), **environment: str) -> str:
    """Run code in a fresh interpreter without warnings allowed; return what it printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MUJOCO_GL", "PYOPENGL"))}
    done = subprocess.run(
        [*before, sys.executable, "-W", "error", "-c", code],
        env={**kept, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=HUNG,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def _drawing_problem() -> str:
    env = make(1, render_mode="rgb_array", image_size=32)
    try:
        env.reset(seed=0)
        env.render()
    except RuntimeError as error:
        return str(error)
    finally:
        env.close()
    return ""


def need_drawing() -> None:
    """Skip where nothing can draw, saying why."""
    if _drawing_problem():
        pytest.skip(f"no offscreen drawing: {_drawing_problem()}")
