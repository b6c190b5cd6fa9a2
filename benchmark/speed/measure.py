"""Environment steps per second, and the share of what MuJoCo alone reaches on the same states.

    python -m benchmark.speed.measure --env-id DexFW/Grasp-v0 --worlds 64 --threads 1

Every world holds an object and gets random actions around the grasp (or, with `--start random`,
starts afresh and gets actions from the whole space). A round restores the same
states and runs the same steps, once through the environment and once as a bare `mujoco.batch`
given the same models, states and joint commands; both end in the same state, bit for bit.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from mujoco.batch import Batch

from benchmark.speed.held import fresh_worlds, held_worlds
from dexfw_envs import checks
from dexfw_envs.backends.mjcf.objects import BODY_FIELDS, GEOM_FIELDS
from dexfw_envs.backends.mujoco.backend import SURROUNDING_FIELDS, MujocoBackend
from dexfw_envs.console.command import run_command
from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.registry import entry

STEPS = 20  # control steps in a round
JITTER = 0.04  # half width of the random part of an action


class Course:
    """One fixed stretch of `STEPS` control steps, for the environment and for MuJoCo alone."""

    def __init__(self, env_id: str, worlds: int, threads: int, held: bool = True) -> None:
        make = held_worlds if held else fresh_worlds
        self.env, centre = make(env_id, worlds, threads)
        assert isinstance(self.env.backend, MujocoBackend)
        self._backend = self.env.backend
        self.size = worlds * STEPS
        half = JITTER if held else 1.0
        noise = np.random.default_rng(0).uniform(-half, half, (STEPS, *centre.shape))
        self._actions = (centre + noise).astype(np.float32)
        self._start = self.env.state_vectors()
        self._scenarios = [scenario for scenario in self.env.scenarios if scenario]
        self._substeps = round(CONTROL_PERIOD / self._backend.model.opt.timestep)
        self._raw = self._bare_copy(threads)
        self._commands = self._record()

    def _bare_copy(self, threads: int) -> Batch:
        """Build a batch of the same models that nothing but MuJoCo knows of."""
        ours = self._backend.batch
        raw = Batch(ours.model, ours.nsim, threads, persistent=True)
        for name in (*GEOM_FIELDS, *BODY_FIELDS, *SURROUNDING_FIELDS):
            raw.expand(name)[:] = ours.expanded(name)
        raw.set_const()
        return raw

    def _record(self) -> list[np.ndarray]:
        """Run once through the environment and keep the joint commands and the last state."""
        self.restore_env()
        self._raw_start = self._backend.batch.state.copy()
        commands = []
        for action in self._actions:
            self.env.step(action)
            commands.append(self._backend.batch.bind("ctrl").copy())
        self._end = self._backend.batch.state.copy()
        return commands

    def restore_env(self) -> None:
        """Go back to the start."""
        self.env.set_state_vectors(self._start, self._scenarios)

    def run_env(self) -> None:
        """Run the environment from the start."""
        for action in self._actions:
            self.env.step(action)

    def time_raw(self) -> float:
        """Run MuJoCo alone from the start; return the time taken [s]."""
        self._raw.state[:] = self._raw_start
        self._raw.forward()
        self._raw.state[:] = self._raw_start  # forward overwrites the solver's warm start
        command = self._raw.bind("ctrl")
        began = time.perf_counter()
        for values in self._commands:
            command[:] = values
            self._raw.step(nstep=self._substeps)
        return time.perf_counter() - began

    def check(self) -> None:
        """Raise unless both have gone the same way to the same state."""
        for state in (self._backend.batch.state, self._raw.state):
            if not np.array_equal(state, self._end):
                raise RuntimeError("the two runs differ: they did not do the same work")


@dataclass
class Args:
    env_id: str = "DexFW/Grasp-v0"
    worlds: int = 64
    threads: int = 2
    rounds: int = 9
    start: Literal["held", "random"] = "held"  # holding an object, or fresh with random actions


def measure(args: Args) -> dict[str, float]:
    """Return environment steps per second and the ratio to raw, medians over the rounds."""
    course = Course(args.env_id, args.worlds, args.threads, args.start == "held")
    ours = []
    raw = []
    for _ in range(args.rounds):
        raw.append(course.time_raw())
        course.restore_env()
        began = time.perf_counter()
        course.run_env()
        ours.append(time.perf_counter() - began)
        course.check()
    ratio = float(np.median(np.array(raw) / np.array(ours)))
    return {"steps_per_second": course.size / float(np.median(ours)), "ratio_to_raw": ratio}


def main(args: Args) -> None:
    """Measure and print the figures."""
    entry(args.env_id)  # refuses what is none of ours
    checks.least(args, 1, "worlds", "threads", "rounds")
    print(json.dumps(measure(args)))


if __name__ == "__main__":
    sys.exit(run_command(Args, main, __doc__))
