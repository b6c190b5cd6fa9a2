"""`make bench-peers`: steps per second and core against robosuite's Lift with a like robot.

    .venv-peers/bin/python benchmark/speed/peers.py

Runs in the environment that holds robosuite; ours is measured by the project's own Python in a
process of its own, with one thread, between the rounds of the peer. Both control at 20 Hz, both
without cameras. The peer gets uniformly random actions, as ours does in the first figure; in the
second ours holds an object all the time, which costs more and which the peer seldom does.
Not like for like: robosuite computes its controller in Python at every physics step and has mesh
colliders; ours commands joint servos and has primitives.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / ".venv" / "bin" / "python"
ENV_ID = "DexFW/Grasp-v0"
STEPS, ROUNDS = 200, 3


def make_peer():
    import logging

    import robosuite

    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    return robosuite.make(
        "Lift",
        robots="Panda",
        gripper_types="InspireRightHand",
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        control_freq=20,
        horizon=10 * STEPS,
    )


def peer_speed(env, random) -> float:
    low, high = env.action_spec
    env.reset()
    began = time.perf_counter()
    for _ in range(STEPS):
        env.step(random.uniform(low, high))
    return STEPS / (time.perf_counter() - began)


def our_speed(start: str) -> float:
    command = [str(OURS), "-m", "benchmark.speed.measure", "--env-id", ENV_ID]
    command += ["--threads", "1", "--rounds", "3", "--start", start]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"measuring {ENV_ID} failed:\n{done.stderr}")
    return json.loads(done.stdout)["steps_per_second"]


def main() -> None:
    if not OURS.exists():
        sys.exit(f"{OURS.relative_to(ROOT)} is missing: run `make bench` first")
    env, random = make_peer(), np.random.default_rng(0)
    peer_speed(env, random)  # warm up
    figures = {"peer": [], "random": [], "held": []}
    for _ in range(ROUNDS):
        for start in ("random", "held"):
            figures["peer"].append(peer_speed(env, random))
            figures[start].append(our_speed(start))
    speed = {name: statistics.median(values) for name, values in figures.items()}
    print(f"robosuite Lift Panda+InspireRightHand: {speed['peer']:.0f} env steps/s on one core")
    for start, words in (("random", "random actions"), ("held", "holding an object")):
        ratio = speed[start] / speed["peer"]
        print(f"{ENV_ID}, {words}: {speed[start]:.0f} env steps/s on one core")
        print(f"ratio-to-peer {ENV_ID} robosuite-Lift, {words}: {ratio:.1f}")


if __name__ == "__main__":
    main()
