"""Executing chunks while the next are worked out: who asks when, what is held, what is late."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import HUNG

from dexfw_envs.control.codec import PoseCodec
from dexfw_envs.control.controller import Controller
from dexfw_envs.deployment.chunk_executor import (
    ChunkExecutor,
    InjectedLatency,
    WorkerThread,
    check_latency,
    make_inference,
)
from dexfw_envs.robots.panda_inspire import panda_inspire

ROBOT = panda_inspire()
H, P, SIZE = 6, 2, 12
HELD = 0.05  # of the commands in force, fingers


def stub(worlds=1, real_time=False):
    """What the executor needs of an environment; its fingers stand at `HELD` [action]."""
    controller = Controller(ROBOT, worlds, "ee_pose")
    controller.reset(np.ones(worlds, bool), np.tile(np.array(ROBOT.mounts[0].home), (worlds, 1, 1)))
    lower, upper = ROBOT.hand.driven_limits()
    controller.joints[:, :, 7:] = (upper + lower) / 2 + HELD * (upper - lower) / 2
    can = SimpleNamespace(capabilities=SimpleNamespace(real_time=real_time))
    return SimpleNamespace(num_envs=worlds, codec=PoseCodec(ROBOT), controller=controller,
                           backend=can)  # fmt: skip


class Planner:
    """Its n-th plan is n.00, n.01, ... times 0.1 after the actions known already."""

    def __init__(self, horizon=H):
        self.calls, self.horizon = [], horizon

    def __call__(self, seen, prefix, known):
        self.calls.append(
            (seen["step"].tolist(), prefix[:, :, 0].round(4).tolist(), known.tolist())
        )
        own = 0.1 * len(self.calls) + 0.001 * np.arange(self.horizon)
        chunk = np.tile(own[None, :, None], (len(known), 1, SIZE))
        for row, count in enumerate(known):
            chunk[row, :count] = prefix[row, :count]
        return chunk


def run(steps, latency, mode="async", prefix=P, worlds=1, seed=0):
    """Return the last finger's action at every step (steps, N), the planner and the executor."""
    plan, env = Planner(), stub(worlds)
    inference = InjectedLatency(plan, (worlds, H, SIZE), latency, seed)
    executor = ChunkExecutor(env, inference, prefix, mode)
    executor.reset(np.ones(worlds, bool))
    rows = [executor.act({"step": np.full((worlds,), step)})[:, -1] for step in range(steps)]
    return np.round(np.array(rows), 4), plan, executor


def chunk(n, first=0, stop=H):
    return [round(0.1 * n + 0.001 * k, 4) for k in range(first, stop)]


@pytest.mark.parametrize("latency", [0, 1, 2])
def test_async_goes_on_without_a_pause(latency):
    rows, plan, executor = run(18 + latency, [latency])
    assert rows[:, 0].tolist() == [HELD] * latency + chunk(1) + chunk(2, P) + chunk(3, P) + chunk(
        4, P
    )
    assert executor.late == 0 and executor.planned == 4
    asked = [first[0] for first, _, _ in plan.calls]
    assert asked[:4] == [0, latency + 4, latency + 8, latency + 12], "when P actions are left"
    assert [known for _, _, known in plan.calls[:2]] == [[0], [P]]
    assert plan.calls[1][1] == [chunk(1, 4)], "which are the prefix"


def test_a_late_result_holds_and_is_counted():
    rows, _, executor = run(17, [4])
    first = [HELD] * 4 + chunk(1)
    assert rows[:, 0].tolist() == first + [chunk(1)[-1]] * 2 + chunk(2, P) + [chunk(2)[-1]]
    assert executor.late == 3


@pytest.mark.parametrize("latency", [0, 3])
def test_sync_waits_for_every_chunk(latency):
    rows, plan, executor = run(3 * (4 + latency), [latency], "sync")
    want, last = [], HELD
    for n in (1, 2, 3):
        want += [last] * latency + chunk(n, 0, H - P)
        last = want[-1]
    assert rows[:, 0].tolist() == want
    assert executor.late == 0
    assert [known for _, _, known in plan.calls] == [[0]] * 3


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_latency_within_the_prefix_is_ever_felt(data):
    """Whatever the sizes: after the first wait every action is new, and every plan is used up."""
    horizon = data.draw(st.integers(3, 12))
    prefix = data.draw(st.integers(1, (horizon - 1) // 2))
    latency = sorted(data.draw(st.lists(st.integers(0, prefix), min_size=1, max_size=2)))
    plan = Planner(horizon)
    executor = ChunkExecutor(stub(), InjectedLatency(plan, (1, horizon, SIZE), latency), prefix)
    executor.reset(np.ones(1, bool))
    rows = [round(executor.act({"step": np.zeros(1)})[0, -1], 4) for _ in range(50)]
    moving = rows[rows.index(0.1) :]
    assert len(rows) - len(moving) <= latency[-1] and len(set(moving)) == len(moving)
    assert executor.late == 0
    ends = [round(0.1 * n + 0.001 * k, 4) for n in (1, 2) for k in range(horizon)]
    skipped = set(ends[horizon : horizon + prefix])  # of plan 2: plan 1 had these steps
    assert moving[: len(ends) - prefix] == [value for value in ends if value not in skipped]


def test_both_modes_ask_equally_often():
    for mode in ("async", "sync"):
        _, plan, _ = run(41, [0], mode)
        asked = [first[0] for first, _, _ in plan.calls]
        assert set(np.diff(asked)) == {H - P}, mode


def test_latency_is_drawn_from_its_range_and_repeats():
    rows, _, executor = run(60, [0, 5], worlds=3, seed=4)
    again, _, _ = run(60, [0, 5], worlds=3, seed=4)
    other, _, _ = run(60, [0, 5], worlds=3, seed=5)
    assert np.array_equal(rows, again) and not np.array_equal(rows, other)
    assert 0 < executor.late <= 3 * executor.planned
    _, _, never = run(60, [0, P], worlds=3)
    assert never.late == 0


def test_worlds_are_reset_one_by_one_and_left_alone():
    plan, env = Planner(), stub(2)
    executor = ChunkExecutor(env, InjectedLatency(plan, (2, H, SIZE), [1]), P)
    executor.reset(np.ones(2, bool))
    seen = {"step": np.arange(2)}
    for _ in range(4):
        executor.act(seen)
    executor.reset(np.array([False, True]))
    rows = [executor.act(seen, np.array([True, False]))[:, -1] for _ in range(3)]
    assert [row[0] for row in rows] == pytest.approx(chunk(1, 3))
    assert all(row[1] == pytest.approx(HELD) for row in rows), "holds what is in force"
    assert plan.calls[-1][0] == [0]
    rows = [executor.act(seen)[1, -1] for _ in range(3)]
    assert plan.calls[2][0] == [1] and plan.calls[2][2] == [0]
    assert rows[0] == pytest.approx(HELD) and rows[1:] == pytest.approx(chunk(3, 0, 2))


def test_the_observation_is_completed_only_for_worlds_that_plan():
    plan, looked = Planner(), []

    def look(seen, worlds):
        looked.append(worlds.tolist())
        return seen

    executor = ChunkExecutor(stub(2), InjectedLatency(plan, (2, H, SIZE), [0]), P, look=look)
    executor.reset(np.ones(2, bool))
    for _ in range(5):
        executor.act({"step": np.zeros(2)})
    assert looked == [[0, 1]] * 2


# --- in a thread of its own


def planned(inference):
    """Wait until the thread has answered every question."""
    for *_, job in inference._jobs:
        job.exception()
    assert inference.ready()[0]


class SlowPlanner(Planner):
    """Waits to be let go."""

    def __init__(self):
        super().__init__()
        self.go, self.asked = threading.Event(), threading.Event()

    def __call__(self, *question):
        self.asked.set()
        assert self.go.wait(HUNG)
        return super().__call__(*question)


@pytest.fixture
def threaded():
    plan, env = SlowPlanner(), stub(1, real_time=True)
    inference = make_inference(env, plan, H, [0])
    executor = ChunkExecutor(env, inference, P)
    executor.reset(np.ones(1, bool))
    yield (
        plan,
        executor,
        lambda step=0: round(float(executor.act({"step": np.full(1, step)})[0, -1]), 4),
    )
    plan.go.set()
    inference.close()


def test_a_thread_plans_while_actions_are_executed(threaded):
    plan, executor, act = threaded
    assert isinstance(executor.inference, WorkerThread)
    assert [act(), act()] == [HELD] * 2
    plan.go.set()
    planned(executor.inference)
    assert [act() for _ in range(4)] == chunk(1, 0, 4)
    plan.go.clear()
    assert [act() for _ in range(2)] == chunk(1, 4), "goes on while the thread is busy"
    assert [act() for _ in range(3)] == [chunk(1)[-1]] * 3 and executor.late == 3
    plan.go.set()
    planned(executor.inference)
    assert [act() for _ in range(2)] == chunk(2, 2, 4)


def test_a_result_from_before_a_reset_lapses(threaded):
    plan, executor, act = threaded
    act()
    assert plan.asked.wait(HUNG)
    executor.reset(np.ones(1, bool))
    act(7)
    plan.go.set()
    planned(executor.inference)
    assert act() == chunk(2)[0]
    assert plan.calls[-1][0] == [7]


def test_an_error_of_the_policy_is_not_lost():
    env = stub(1, real_time=True)

    def plan(*question):
        raise FloatingPointError("no number")

    inference = make_inference(env, plan, H, [0])
    executor = ChunkExecutor(env, inference, P)
    executor.reset(np.ones(1, bool))

    def ask_and_look():
        executor.act({"step": np.zeros(1)})
        for *_, job in inference._jobs:
            job.exception()  # waits for it
        executor.act({"step": np.zeros(1)})

    with pytest.raises(FloatingPointError, match="no number"):
        ask_and_look()
    inference.close()


# --- bad input


def test_bad_input_is_refused():
    inference = InjectedLatency(Planner(), (1, H, SIZE), [1])
    with pytest.raises(ValueError, match=r"unknown mode 'both'; choose one of \('async', 'sync'\)"):
        ChunkExecutor(stub(), inference, P, "both")
    for prefix in (-1, 3):
        with pytest.raises(ValueError, match=f"shorter than half a chunk of 6: {prefix}"):
            ChunkExecutor(stub(), inference, prefix)
    for latency in ((), (-1,), (3, 2), (1, 2, 3)):
        with pytest.raises(ValueError, match="one number of steps, or least and most"):
            check_latency(latency)
