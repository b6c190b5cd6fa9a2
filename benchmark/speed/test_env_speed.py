"""`make bench`: the speed of every task in contact, ending with one ratio-to-raw line per task."""

import numpy as np
import pytest

from benchmark.speed.measure import Course
from dexfw_envs.registry import TASKS

WORLDS = 64
THREADS = 2
ROUNDS = 15


@pytest.mark.parametrize("env_id", [item.env_id for item in TASKS])
def test_env_speed(benchmark, env_id, rows):
    course = Course(env_id, WORLDS, THREADS)
    raw = []

    def prepare():
        """Time MuJoCo alone right before the round of the environment that it is paired with."""
        raw.append(course.time_raw())
        course.restore_env()

    benchmark.pedantic(course.run_env, setup=prepare, rounds=ROUNDS, warmup_rounds=1)
    course.check()
    ours = np.array(benchmark.figures.stats.stats.data)
    ratio = float(np.median(np.array(raw[-ROUNDS:]) / ours))
    found = {"steps_per_second": course.size / float(np.median(ours)), "ratio_to_raw": ratio}
    benchmark.extra_info.update(found)
    rows[env_id] = {"worlds": WORLDS, "threads": THREADS, **found}
