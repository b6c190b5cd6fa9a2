"""What the benchmarks of speed measure: every task, in contact, the same work as MuJoCo alone."""

import pytest

from benchmark.speed.held import HOLDS
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
