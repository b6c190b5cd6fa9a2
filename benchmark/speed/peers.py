"""`make bench-peers`: steps per second and core against robosuite's tasks with like robots.

    .venv-peers/bin/python benchmark/speed/peers.py [--record]

Runs in the environment that holds robosuite; ours is measured by the project's own Python in a
process of its own, with one thread, between the rounds of the peer. Both control at 20 Hz, both
without cameras. The peer gets uniformly random actions, as ours does in the first figure; in the
second ours holds an object all the time, which costs more and which the peer seldom does.
Not like for like: robosuite computes its controller in Python at every physics step and has mesh
colliders; ours commands joint servos and has primitives.
"""

import json
import logging
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / ".venv" / "bin" / "python"
STEPS, ROUNDS = 200, 3
RECORD = "--record"


@dataclass(frozen=True)
class Pair:
    """One of our tasks and what is most like it in robosuite."""

    env_id: str
    peer: str
    robots: str  # in words
    options: dict[str, Any] = field(hash=False)


RIGHT, LEFT = "InspireRightHand", "InspireLeftHand"
ONE = {"robots": "Panda", "gripper_types": RIGHT}
TWO = {
    "robots": ["Panda", "Panda"],
    "gripper_types": [RIGHT, LEFT],
    "env_configuration": "parallel",
}
PAIRS = (
    Pair("DexFW/Grasp-v0", "Lift", "Panda, Inspire hand", ONE),
    # Nothing there is poured: the like robot lifts a cube, and ours has nine bodies more to move.
    Pair("DexFW/Pour-v0", "Lift", "Panda, Inspire hand (no pouring there)", ONE),
    Pair("DexFW/Lift-v0", "TwoArmLift", "two Pandas side by side, Inspire hands", TWO),
    Pair("DexFW/Handover-v0", "TwoArmHandover", "two Pandas side by side, Inspire hands", TWO),
)
STARTS = {"random": "random actions", "held": "holding an object"}


def make_peer(pair: Pair) -> Any:
    import robosuite

    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    return robosuite.make(
        pair.peer,
        **pair.options,
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        control_freq=20,
        horizon=10 * STEPS,
    )


def peer_speed(env: Any, random: np.random.Generator) -> float:
    low, high = env.action_spec
    env.reset()
    began = time.perf_counter()
    for _ in range(STEPS):
        env.step(random.uniform(low, high))
    return STEPS / (time.perf_counter() - began)


def run_ours(arguments: list[str], **options: Any) -> str:
    """Run a module of the project in its own environment and return what it prints."""
    command = [str(OURS), "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def our_speed(env_id: str, start: str) -> float:
    setting = ["--env-id", env_id, "--threads", "1", "--rounds", "3", "--start", start]
    return json.loads(run_ours(["benchmark.speed.measure", *setting]))["steps_per_second"]


def compare(pair: Pair) -> dict[str, Any]:
    """Measure both by turns; steps per second are medians over the rounds."""
    env, random = make_peer(pair), np.random.default_rng(0)
    peer_speed(env, random)  # warm up
    figures: dict[str, list[float]] = {"peer": [], **{start: [] for start in STARTS}}
    for _ in range(ROUNDS):
        for start in STARTS:
            figures["peer"].append(peer_speed(env, random))
            figures[start].append(our_speed(pair.env_id, start))
    env.close()
    speed = {name: statistics.median(values) for name, values in figures.items()}
    print(f"robosuite {pair.peer} {pair.robots}: {speed['peer']:.0f} env steps/s on one core")
    for start, words in STARTS.items():
        ratio = speed[start] / speed["peer"]
        print(f"{pair.env_id}, {words}: {speed[start]:.0f} env steps/s on one core")
        print(f"ratio-to-peer {pair.env_id} robosuite-{pair.peer}, {words}: {ratio:.1f}")
    return {"peer": pair.peer, "robots": pair.robots, "steps_per_second": speed}


def main(argv: list[str]) -> None:
    if set(argv) - {RECORD}:
        sys.exit(f"unknown arguments {argv}; the only one is {RECORD}")
    if not OURS.exists():
        sys.exit(f"{OURS.relative_to(ROOT)} is missing: run `make bench` first")
    load = os.getloadavg()[0]
    rows = {pair.env_id: compare(pair) for pair in PAIRS}
    if RECORD in argv:
        known = json.dumps({"load": load, "rows": rows})
        print(run_ours(["benchmark.speed.record", "peers"], input=known), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
