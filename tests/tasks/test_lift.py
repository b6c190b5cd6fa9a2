"""The Lift task: its reward, its success, its expert, and the ways to cheat that must not count."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import make, play, scene, started

from dexfw_envs import transforms as tf
from dexfw_envs.catalog import split
from dexfw_envs.control.codec import Targets
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.experts import make_expert
from dexfw_envs.experts.handover import HandoverExpert
from dexfw_envs.tasks.base import EpisodeMemory
from dexfw_envs.tasks.lift import HOLD_STEPS, RAISE, REACH, SPEED_LIMIT, LiftTask
from dexfw_envs.tasks.objects import TABLE_EDGE

TASK = LiftTask()
START = np.array([0.0, 0.02, 0.06])


def box(name="gift_box", **where):
    return scene(name, task="Lift", **where)


@pytest.fixture(scope="module")
def template():
    return started([box()]).world


def state(
    template, rise=0.2, right=True, left=True, support=False, speed=0.0, away=(0, 0), over=1.0
):
    """A world whose object is held still between both palms, 20 cm up, unless told otherwise."""
    position = START + (*away, rise)
    palms = position + np.array([[0.0, -0.08, 0.0], [0.0, 0.08 * over, 0.0]])
    return dataclasses.replace(
        template,
        object_position=position[None, None],
        object_linear_velocity=np.array([[[speed * 0.6, 0.0, speed * 0.8]]]),
        end_effector_position=palms[None],
        hand_object_contact=np.array([[[right], [left]]]),
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
        ({"right": False}, "right"),
        ({"left": False}, "left"),
        ({"over": -1.0}, "between"),
        ({"support": True}, "free"),
        ({"speed": SPEED_LIMIT + 1e-6}, "slow"),
    ],
)
def test_each_ingredient_is_needed(template, change, missing):
    flags = met(state(template, **change))
    assert {name for name, flag in flags.items() if not flag} == {missing}


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
        ({"rise": 0.0, "right": False, "left": False, "support": True}, "reach"),
        ({"rise": 0.0, "left": False, "support": True}, "reach"),
        ({"rise": 0.0, "support": True}, "press"),
        ({"rise": 0.05}, "lift"),
        ({}, "hold"),
    ):
        assert TASK.stages[int(TASK.stage(state(template, **change), memory())[0])] == stage


def test_tilt_is_reported_in_degrees(template):
    turn = tf.quat_from_rotvec(np.deg2rad([0.0, 40.0, 0.0]))
    tilted = dataclasses.replace(state(template), object_quaternion=turn[None, None])
    assert TASK.measures(tilted, memory())["tilt"][0] == pytest.approx(40.0)
    assert TASK.reward(tilted, memory())["tilt"][0] == pytest.approx(-2.0)
    assert TASK.reward(state(template), memory())["tilt"][0] == 0.0
    assert all(met(tilted).values()), "reported, not judged"
    assert "tilt" in started([box()]).reset()[1]["measures"]


# --- reward


@given(st.floats(-0.6, 2.0), st.floats(0, 3.0), st.floats(-3.1, 3.1))
def test_reward_terms_stay_in_their_bounds(rise, distance, angle):
    world = state(started_once(), rise=rise)
    tips = world.object_position[:, None] + distance * np.eye(5, 3)
    world = dataclasses.replace(
        world,
        fingertip_position=np.broadcast_to(tips[:, None, 0], (1, 2, 5, 3)),
        object_quaternion=tf.quat_from_rotvec(np.array([angle, 0.0, 0.0]))[None, None],
    )
    terms = {name: float(term[0]) for name, term in TASK.reward(world, memory()).items()}
    assert tuple(terms) == TASK.reward_terms
    assert 0 < terms["right"] <= 1 and 0 < terms["left"] <= 1 and 0 < terms["together"] <= 4
    assert 0 <= terms["height"] <= 10 and -5 <= terms["tilt"] <= 0


def started_once(kept=[]):  # noqa: B006 (a cache that hypothesis may use)
    if not kept:
        kept.append(started([box()]).world)
    return kept[0]


# --- the expert


def test_the_expert_lifts_every_object():
    env = make(26, "Lift", autoreset_mode="disabled")
    scenes = split("Lift", "objects", 26, seed=11)
    failed = [
        (episode.scenario.objects[0], episode.failure)
        for episode in run_episodes(env, make_expert(env), scenes, trajectories=False)
        if not episode.success
    ]
    assert len(failed) <= 2, failed


def test_the_expert_goes_on_from_every_stage_of_the_seed():
    seed = load_seed("Lift")
    moments, seen = np.linspace(0, len(seed.states) - 12, 5).astype(int), set()
    env = make(len(moments), "Lift", autoreset_mode="disabled")
    env.set_state_vectors(seed.states[moments], [seed.scenario] * len(moments))
    expert = make_expert(env, seed=1)
    expert.reset(np.ones(len(moments), bool))
    won = np.zeros(len(moments), bool)
    for _ in range(150):
        seen |= set(env.task.stage(env.world, env.memory).tolist())
        won |= env.step(expert.act({}))[4]["success"]
    assert won.all() and seen == {0, 1, 2, 3}


def test_the_expert_takes_a_dropped_object_again():
    env = started([box(), box("football")])
    expert = make_expert(env)
    expert.reset(np.ones(2, bool))
    won, dropped = np.zeros(2, bool), np.zeros(2, int)
    for _ in range(env.max_episode_steps):
        action = expert.act({})
        rise = env.world.object_position[:, 0, 2] - env.memory.start_position[:, 0, 2]
        dropped += (rise > 0.05) | (dropped > 0)
        pulled = (dropped > 0) & (dropped < 8)
        action[pulled, 1] -= 0.4
        action[pulled, 13] += 0.4
        won |= env.step(np.clip(action, -1, 1))[4]["success"]
    assert (dropped > 0).all() and won.all()


def test_an_expert_of_another_task_is_refused():
    with pytest.raises(ValueError, match="cannot act in task 'Lift'"):
        HandoverExpert(make(1, "Lift"))


# --- ways to cheat


def rest(env, steps):
    """Both hands stay apart."""
    targets = env.codec.decode(np.zeros((env.num_envs, 24)))
    targets.position[..., 1] += np.array([-0.15, 0.15])
    return play(env, [env.codec.encode(targets)] * steps)


def test_a_throw_does_not_count():
    env = started([box(), box("handball")])
    env.backend._qvel[:, env.backend._object_v[0, 2]] = 2.4
    results = rest(env, 30)
    assert any(r[4]["success_terms"]["raised"].all() for r in results), "it was high enough"
    assert not any(r[4]["hold"].any() for r in results)


def test_an_object_carried_by_one_hand_does_not_count():
    """Put on the flat hand of one arm, and carried there: raised, free, slow, touched."""
    env = started([box()])
    nominal = env.codec.decode(np.zeros((1, 24)))
    upward, roll = nominal.quaternion.copy(), tf.quat_from_rotvec(np.deg2rad([45.0, 0.0, 0.0]))
    upward[:, 0] = tf.quat_multiply(roll, nominal.quaternion[:, 0])
    position = nominal.position + np.array([[[0.0, 0.0, 0.1], [0.0, 0.2, 0.0]]])
    action = np.clip(env.codec.encode(Targets(position, upward, nominal.hand * 0)), -1, 1)
    play(env, [action] * 40)
    seen = []
    for _ in range(40):  # held in place by force, whatever the hand can really bear
        palm = env.world.end_effector_position[0, 0]
        env.backend._qpos[:, env.backend._object_q[0, :3]] = palm + (0.02, 0.0, 0.074)
        env.backend._qvel[:, env.backend._object_v[0]] = 0.0
        seen.append(env.step(action)[4])
    terms = [s["success_terms"] for s in seen]
    assert any(t["raised"][0] and t["right"][0] and t["free"][0] for t in terms)
    assert not any(s["success"].any() or s["hold"].any() for s in seen)


def test_letting_go_ends_the_hold():
    seed = load_seed("Lift")
    env = make(1, "Lift", autoreset_mode="disabled")
    env.set_state_vectors(seed.states[-3:-2], [seed.scenario])
    assert 0 < env.memory.hold[0] < HOLD_STEPS
    results = rest(env, 20)
    assert results[-1][4]["hold"][0] == 0
    assert not results[-1][4]["success_terms"]["raised"][0]
