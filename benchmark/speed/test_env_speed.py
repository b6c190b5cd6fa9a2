"""`make bench`: the speed of every task in contact, ending with one ratio-to-raw line per task."""

import numpy as np
import pytest

from benchmark.speed.measure import Course
from dexfw_envs.registry import TASKS

WORLDS, THREADS, ROUNDS = 64, 2, 15


@pytest.mark.parametrize("env_id", [item.env_id for item in TASKS])
def test_env_speed(benchmark, env_id, closing_lines):
    course = Course(env_id, WORLDS, THREADS)
    raw = []

    def prepare():
        """Time MuJoCo alone right before the round of the environment that it is paired with."""
        raw.append(course.time_raw())
        course.restore_env()

    benchmark.pedantic(course.run_env, setup=prepare, rounds=ROUNDS, warmup_rounds=1)
    course.check()
    ours = np.array(benchmark.stats.stats.data)
    ratio = np.median(np.array(raw[-ROUNDS:]) / ours)
    speed = course.size / np.median(ours)
    benchmark.extra_info.update(steps_per_second=speed, ratio_to_raw=ratio)
    setting = f"{env_id} worlds={WORLDS} threads={THREADS}"
    closing_lines.append(
        (f"env-steps-per-second {setting}: {speed:.0f}", f"ratio-to-raw {setting}: {ratio:.2f}")
    )
