"""`make bench`: environment steps per second by worlds and threads, and the memory they take.

    python -m benchmark.speed.scaling [--record]

Every world holds an object and gets random actions around the grasp. A few worlds take hold of it;
the others start from copies of their states. Every point is measured in a process of its own, so
that the memory of one says nothing of another.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark.speed.held import fresh_worlds, held_worlds
from benchmark.speed.measure import JITTER
from benchmark.speed.record import ROOT, keep
from dexfw_envs.console.command import run_command
from dexfw_envs.registry import entry

WORLDS = (1, 4, 16, 64, 256, 1024)
ENV_IDS = ("DexFW/Grasp-v0", "DexFW/Handover-v0")  # with one arm, with two
SOURCES = 16  # worlds that take hold of the object themselves
ROUNDS = 3
STEPS = 20  # control steps in a round
STEPS_OF_MANY = 5  # the same from MANY worlds on
MANY = 256
KIBI = 1024  # ru_maxrss counts in KiB


@dataclass
class Args:
    record: bool = False  # keep the figures in results/speed/scaling.json
    env_ids: tuple[str, ...] = ENV_IDS
    worlds: tuple[int, ...] = WORLDS
    threads: tuple[int, ...] = field(default_factory=lambda: thread_counts(cores()))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def thread_counts(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4 and so on below the number of cores, and that number."""
    counts = []
    count = 1

    while count < most:
        counts.append(count)
        count *= 2

    return (*counts, most)


def point(env_id: str, worlds: int, threads: int) -> dict[str, float]:
    """Measure one number of worlds on one number of threads, in this process.

    Returns:
        `steps_per_second`, the median over the rounds, and `memory`, the most that the process
        held after its first step, Python included [MB].
    """
    env, middle = fresh_worlds(env_id, worlds, threads)
    env.step(middle)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBI / 1e6

    source, hold = held_worlds(env_id, SOURCES, threads)
    chosen = np.arange(worlds) % SOURCES
    states = source.state_vectors()[chosen]
    scenarios = [source.scenarios[index] for index in chosen]

    steps = STEPS if worlds < MANY else STEPS_OF_MANY
    noise = np.random.default_rng(0).uniform(-JITTER, JITTER, (steps, *middle.shape))
    actions = (hold[chosen] + noise).astype(np.float32)

    seconds = []
    for _ in range(1 + ROUNDS):
        env.set_state_vectors(states, scenarios)
        began = time.perf_counter()
        for action in actions:
            env.step(action)
        seconds.append(time.perf_counter() - began)

    measured = statistics.median(seconds[1:])  # the first warms up
    return {"steps_per_second": steps * worlds / measured, "memory": memory}


def point_alone(env_id: str, worlds: int, threads: int) -> dict[str, Any]:
    """Measure one point in a fresh process."""
    program = f"""
import json
from benchmark.speed.scaling import point
print(json.dumps(point({env_id!r}, {worlds}, {threads})))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return {"worlds": worlds, "threads": threads, **json.loads(done.stdout)}


def measure(env_id: str, args: Args) -> list[dict[str, Any]]:
    """Measure every point of a task; more threads than worlds are left out."""
    points = []

    for worlds in args.worlds:
        for threads in args.threads:
            if threads > worlds:
                continue
            found = point_alone(env_id, worlds, threads)
            points.append(found)
            print(
                f"scaling {env_id} worlds={worlds} threads={threads}: "
                f"{found['steps_per_second']:.0f} env steps/s, {found['memory']:.0f} MB",
                flush=True,
            )

    return points


def main(args: Args) -> None:
    for env_id in args.env_ids:
        entry(env_id)  # refuses what is none of ours
    if min((*args.worlds, *args.threads), default=1) < 1:
        raise ValueError("--worlds and --threads must be at least 1 each")
    load = os.getloadavg()[0]
    rows = {env_id: measure(env_id, args) for env_id in args.env_ids}

    if args.record:
        keep("scaling", load, rows)


if __name__ == "__main__":
    sys.exit(run_command(Args, main, __doc__))
