"""The Grasp task: its reward, its success, and the ways to cheat that must not count."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import expert_grasp, make, play, scene, started

from dexfw_envs.tasks.base import EpisodeMemory
from dexfw_envs.tasks.grasp import HOLD_STEPS, RAISE, REACH, SPEED_LIMIT, GraspTask
from dexfw_envs.tasks.objects import TABLE_EDGE

TASK = GraspTask()
START = np.array([0.02, -0.03, 0.037])


@pytest.fixture(scope="module")
def template():
    return started([scene()]).world


def state(template, rise=0.25, contact=True, support=False, speed=0.0, away=(0.0, 0.0)):
    """A world whose object is held still, 25 cm above its start, unless told otherwise."""
    position = START + (*away, rise)
    return dataclasses.replace(
        template,
        object_position=position[None, None],
        object_linear_velocity=np.array([[[speed * 0.6, 0.0, speed * 0.8]]]),
        hand_object_contact=np.array([[[contact]]]),
        object_support_contact=np.array([[support]]),
    )


def memory():
    out = EpisodeMemory.empty(1, 1)
    out.start_position[:] = START
    return out


def met(world):
    return {name: bool(flag[0]) for name, flag in TASK.success(world, memory()).items()}


# --- success at an instant


def test_held_still_and_high_meets_everything(template):
    assert all(met(state(template)).values())
    assert tuple(met(state(template))) == TASK.success_terms


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"rise": RAISE - 1e-6}, "raised"),
        ({"contact": False}, "contact"),
        ({"support": True}, "free"),
        ({"speed": SPEED_LIMIT + 1e-6}, "slow"),
        ({"rise": 0.0, "contact": False, "support": True}, "raised contact free"),
    ],
)
def test_each_ingredient_is_needed(template, change, missing):
    flags = met(state(template, **change))
    assert {name for name, flag in flags.items() if not flag} == set(missing.split())


def test_height_is_that_of_the_object_not_of_the_hand(template):
    high = dataclasses.replace(
        state(template, rise=0.01),
        end_effector_position=template.end_effector_position + (0, 0, 0.5),
        fingertip_position=template.fingertip_position + (0, 0, 0.5),
    )
    assert not met(high)["raised"]


def test_lost(template):
    for change, expected in (
        ({}, False),
        ({"rise": TABLE_EDGE - START[2] - 0.001}, True),
        ({"away": (0.0, REACH - 0.001)}, False),
        ({"away": (0.0, -REACH - 0.001)}, True),
    ):
        assert bool(TASK.lost(state(template, **change), memory())["dropped"][0]) == expected, (
            change
        )


def test_stages(template):
    for change, stage in (
        ({"rise": 0.0, "contact": False, "support": True}, "reach"),
        ({"rise": 0.0, "support": True}, "grasp"),
        ({"rise": 0.05}, "lift"),
        ({}, "hold"),
        ({"contact": False}, "reach"),
    ):
        assert TASK.stages[int(TASK.stage(state(template, **change), memory())[0])] == stage


# --- reward


@given(st.floats(-0.6, 2.0), st.floats(0, 3.0))
def test_reward_terms_stay_in_their_bounds(rise, distance):
    world = started_once()
    tips = START + (0.0, 0.0, rise) + distance * np.eye(3)
    tips = np.concatenate([tips, np.zeros((2, 3))])[None, None]
    world = dataclasses.replace(state(world, rise=rise), fingertip_position=tips)
    terms = TASK.reward(world, memory())
    assert tuple(terms) == TASK.reward_terms
    assert 0 < terms["approach"][0] <= 1
    assert -1 - 1e-12 <= terms["lift"][0] <= 20 + 1e-12
    expected = np.exp(-5 * max(3 * distance - 0.05, 0))
    assert terms["approach"][0] == pytest.approx(expected, rel=1e-6)
    assert terms["lift"][0] == pytest.approx(100 * max(0.2 - abs(0.2 - rise), -0.01), abs=1e-9)


def started_once(kept=[]):  # noqa: B006 (a cache that hypothesis may use)
    if not kept:
        kept.append(started([scene()]).world)
    return kept[0]


def test_lifting_pays_up_to_the_goal_and_no_further(template):
    heights = np.array([-0.05, 0.0, 0.1, 0.2, 0.3, 0.5])
    lift = [TASK.reward(state(template, rise=h), memory())["lift"][0] for h in heights]
    assert np.allclose(lift, [-1, 0, 10, 20, 10, -1])


# --- whole episodes


def test_the_expert_succeeds_and_holds_as_long_as_it_must():
    grasp = expert_grasp()
    for world, end in enumerate(grasp.held):
        holds = [r[4]["hold"][world] for r in grasp.results[: end + 1]]
        assert holds[-HOLD_STEPS:] == list(range(1, HOLD_STEPS + 1))
        for r in grasp.results[end - HOLD_STEPS + 1 : end + 1]:
            assert all(flags[world] for flags in r[4]["success_terms"].values())
        assert grasp.results[end][2][world], "success terminates"
        assert not grasp.results[end - 1][2][world]


def place(env, rise=0.0, speed=0.0):
    """Move the object up and give it an upward speed, in every world."""
    backend = env.backend
    backend._qpos[:, backend._object_q[0, 2]] += rise
    backend._qvel[:, backend._object_v[0, 2]] = speed


def idle(env, steps, up=0.0):
    action = np.zeros((env.num_envs, 12))
    action[:, :3] = (-0.5, 0.0, up)
    return play(env, [action] * steps)


def test_a_throw_does_not_count():
    env = started([scene(), scene("cube")])
    place(env, speed=2.4)  # rises by almost 30 cm
    results = idle(env, 40)
    assert any(r[4]["success_terms"]["raised"].all() for r in results), "it was high enough"
    assert not any(r[4]["hold"].any() for r in results)


def test_an_object_put_high_without_a_hand_does_not_count():
    env = started([scene(), scene("egg")])
    place(env, rise=0.4)
    results = idle(env, 30)
    assert any(r[4]["success_terms"]["raised"].all() for r in results)
    assert not any(r[4]["hold"].any() or r[4]["success"].any() for r in results)


def test_a_hand_that_bats_the_object_up_does_not_count():
    """Bounced on the back of a hand that goes up and down: high and touched, but never held."""
    env = started([scene(), scene("cube"), scene("bottle")])
    above = env.world.end_effector_position[:, 0] + (0.0, 0.0, 0.09)
    env.backend._qpos[:, env.backend._object_q[0, :3]] = above
    batted = np.zeros(3, dtype=bool)
    for step in range(60):
        action = np.zeros((3, 12))
        action[:, 2] = 0.2 + 0.6 * (-1) ** (step // 4)
        action[:, 6:] = -1.0
        *_, info = env.step(action)
        terms = info["success_terms"]
        batted |= terms["raised"] & terms["contact"] & terms["free"]
        assert (info["hold"] <= HOLD_STEPS // 2).all() and not info["success"].any()
    assert batted.all(), "only the speed and the hold told it from a grasp"


def test_opening_the_hand_in_mid_air_ends_the_hold():
    grasp = expert_grasp()
    step = int(grasp.held.min()) - 2
    env = make(2, autoreset_mode="disabled")
    env.set_state(grasp.states[step])
    world = int(grasp.held.argmin())
    assert env.memory.hold[world] > 0
    command = np.array(grasp.actions[step])
    command[:, 6:] = -1.0  # open
    results = play(env, [command] * 40)
    assert results[-1][4]["hold"][world] == 0
    assert not results[-1][4]["success_terms"]["raised"][world]


def test_holding_the_object_down_on_the_table_does_not_count():
    """Wedged between the hand and the table from the start, whatever the hand does later."""
    env = started([scene(), scene("small_carton")])
    targets = env.codec.decode(np.zeros((2, 12)))
    targets.position[:, 0] = env.world.object_position[:, 0] + (-0.05, 0.0, 0.05)
    command = np.clip(env.codec.encode(targets), -1, 1)
    command[:, 6:] = 0.2
    results = play(env, [command] * 80)
    assert any(r[4]["success_terms"]["contact"].any() for r in results)
    assert not any(r[4]["hold"].any() for r in results)


def test_the_start_height_is_remembered_per_world():
    env = started([scene("egg"), scene("softball")])
    assert np.array_equal(env.memory.start_position, env.world.object_position)
    heights = [s.object_poses[0][2] for s in env.scenarios]
    assert np.array_equal(env.memory.start_position[:, 0, 2], heights)
