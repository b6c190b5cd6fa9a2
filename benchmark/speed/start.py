"""`make bench`: the processor time from a fresh interpreter to the first observation.

    python -m benchmark.speed.start [--record]

Processor time, not wall time: what else the machine does hardly changes it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass

from benchmark.speed.record import ROOT, keep
from dexfw_envs.console.command import run_command
from dexfw_envs.registry import TASKS

ROUNDS = 5
STAGES = ("import", "make", "reset")
PROGRAM = """
import json, sys, time

began = time.process_time()
import gymnasium
import dexfw_envs

imported = time.process_time()
env = gymnasium.make(sys.argv[1])

made = time.process_time()
env.reset(seed=0)

ready = time.process_time()
print(json.dumps([imported - began, made - imported, ready - made]))
"""


def start(env_id: str) -> dict[str, float]:
    """Return the processor time of each stage [s], medians over fresh processes."""
    rounds = []

    for _ in range(ROUNDS):
        command = [sys.executable, "-c", PROGRAM, env_id]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        rounds.append(json.loads(done.stdout))

    medians = map(statistics.median, zip(*rounds, strict=True))
    return dict(zip(STAGES, medians, strict=True))


@dataclass
class Args:
    record: bool = False  # keep the figures in results/speed/start.json


def main(args: Args) -> None:
    """Measure every task."""
    load = os.getloadavg()[0]
    rows = {}

    for item in TASKS:
        rows[item.env_id] = start(item.env_id)
        text = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in rows[item.env_id].items())
        print(f"start {item.env_id}: {text} of processor time")

    if args.record:
        keep("start", load, rows)


if __name__ == "__main__":
    sys.exit(run_command(Args, main, __doc__))
