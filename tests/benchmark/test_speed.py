"""What the benchmarks of speed measure: every task, in contact, the same work as MuJoCo alone."""

import pytest
from mujoco.batch import Batch

from benchmark.speed import scaling, start
from benchmark.speed.held import HOLDS, fresh_worlds
from benchmark.speed.measure import STEPS, Course
from benchmark.speed.peers import PAIRS
from dexfw_envs.registry import TASKS


def test_every_task_is_measured_and_compared():
    assert set(HOLDS) == {item.name for item in TASKS}
    assert [pair.env_id for pair in PAIRS] == [item.env_id for item in TASKS]
    arms = {item.env_id: item.make().needs.robot.arms for item in TASKS}
    for pair in PAIRS:
        hands = pair.options["gripper_types"]
        assert (1 if isinstance(hands, str) else len(hands)) == arms[pair.env_id]


@pytest.mark.skipif(
    not hasattr(Batch, "expanded"), reason="this MuJoCo's batches do not tell their fields"
)
@pytest.mark.parametrize("env_id", [item.env_id for item in TASKS])
def test_both_runs_do_the_same_work_and_hold_the_object(env_id):
    course = Course(env_id, worlds=2, threads=1)
    assert course.size == 2 * STEPS
    course.restore_env()
    course.run_env()
    held = (
        course.env.world.hand_object_contact.any(axis=1) & ~course.env.world.object_support_contact
    )
    assert held[:, 0].all(), "in contact to the end"
    course.time_raw()
    course.check()
    course.env.step(course.env.action_space.sample())
    with pytest.raises(RuntimeError, match="the two runs differ"):
        course.check()


# --- by worlds and threads


def test_threads_double_up_to_every_core():
    assert [scaling.thread_counts(most) for most in (1, 2, 6)] == [(1,), (1, 2), (1, 2, 4, 6)]


def test_more_threads_than_worlds_are_left_out(monkeypatch, capsys):
    query = []

    def alone(env_id, worlds, threads):
        query.append((worlds, threads))
        found = {"steps_per_second": 100.0 * threads, "memory": 50.0}
        return {"worlds": worlds, "threads": threads, **found}

    monkeypatch.setattr(scaling, "point_alone", alone)
    args = scaling.Args(worlds=(1, 4), threads=(1, 2, 8))
    rows = scaling.measure("DexFW/Grasp-v0", args)
    assert query == [(1, 1), (4, 1), (4, 2)] == [(row["worlds"], row["threads"]) for row in rows]
    told = "scaling DexFW/Grasp-v0 worlds=4 threads=2: 200 env steps/s, 50 MB"
    assert told in capsys.readouterr().out


def test_a_point_copies_the_worlds_that_hold_the_object(monkeypatch):
    monkeypatch.setattr(scaling, "SOURCES", 2)
    monkeypatch.setattr(scaling, "STEPS", 2)
    monkeypatch.setattr(scaling, "ROUNDS", 1)
    made = []

    def fresh(env_id, worlds, threads):
        made.append(fresh_worlds(env_id, worlds, threads))
        return made[-1]

    monkeypatch.setattr(scaling, "fresh_worlds", fresh)
    found = scaling.point("DexFW/Grasp-v0", worlds=3, threads=1)
    assert found["steps_per_second"] > 0 and found["memory"] > 0
    world = made[0][0].world
    assert (world.hand_object_contact.any(axis=1) & ~world.object_support_contact)[:, 0].all()


def test_the_start_is_told_by_stages(monkeypatch):
    monkeypatch.setattr(start, "ROUNDS", 1)
    found = start.start("DexFW/Grasp-v0")
    assert list(found) == ["import", "make", "reset"]
    assert all(seconds >= 0 for seconds in found.values())
