"""The Handover task: reward, success, expert, and the ways to cheat that must not count."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import make, play, scene, started

from dexfw_envs.catalog import split
from dexfw_envs.control.codec import Targets
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.episodes.rollout import run_episodes
from dexfw_envs.experts import handover, make_expert
from dexfw_envs.experts.grasp import LEAD, PREOPPOSED
from dexfw_envs.experts.lift import LiftExpert
from dexfw_envs.tasks import objects
from dexfw_envs.tasks.base import EpisodeMemory
from dexfw_envs.tasks.handover import (
    CARRIED,
    CARRIED_MARK,
    GIVEN,
    HOLD_STEPS,
    PASSED_MARK,
    RAISE,
    REACH,
    SPEED_LIMIT,
    TAKEN,
    HandoverTask,
)
from dexfw_envs.tasks.objects import TABLE_EDGE

TASK = HandoverTask()
START = np.array([0.0, -0.04, 0.086])
BOUNDS = {  # of every reward term
    "right_close": (0.0, 1.0),
    "lift": (0.0, 3.0),
    "left_close": (0.0, 3.0),
    "left_hold": (0.0, 3.0),
    "release": (0.0, 10.0),
    "upright": (0.0, 1.0),
}


def carton(name="drink_carton", **where):
    return scene(name, task="Handover", **where)


@pytest.fixture(scope="module")
def template():
    return started([carton()]).world


def state(
    template,
    rise=0.2,
    right=False,
    left=True,
    support=False,
    link=False,
    speed=0.0,
    away=(0, 0),
    off=(0.3, 0.06),
):
    """A world whose object is held still by the left hand alone, 20 cm up, unless told so."""
    position = START + (*away, rise)
    palms = position + np.array([[0.0, -off[0], 0.0], [0.0, off[1], 0.0]])
    return dataclasses.replace(
        template,
        object_position=position[None, None],
        object_linear_velocity=np.array([[[speed * 0.6, 0.0, speed * 0.8]]]),
        end_effector_position=palms[None],
        hand_object_contact=np.array([[[right], [left]]]),
        object_support_contact=np.array([[support]]),
        arm_object_contact=np.array([[[False], [link]]]),
    )


def memory(passed=True):
    out = EpisodeMemory.empty(1, 1, TASK.marks)
    out.start_position[:] = START
    out.marks[:, PASSED_MARK] = passed
    return out


def met(world, passed=True):
    return {name: bool(flag[0]) for name, flag in TASK.success(world, memory(passed)).items()}


# --- success at an instant


def test_held_still_and_high_by_the_left_hand_meets_everything(template):
    assert all(met(state(template)).values())
    assert tuple(met(state(template))) == TASK.success_terms


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"rise": RAISE - 1e-6}, "raised"),
        ({"off": (GIVEN - 1e-6, 0.06)}, "given"),
        ({"off": (0.3, TAKEN + 1e-6)}, "taken"),
        ({"left": False}, "contact"),
        ({"right": True}, "free"),
        ({"support": True}, "free"),
        ({"link": True}, "free"),
        ({"speed": SPEED_LIMIT + 1e-6}, "slow"),
    ],
)
def test_each_ingredient_is_needed(template, change, missing):
    flags = met(state(template, **change))
    assert {name for name, flag in flags.items() if not flag} == {missing}


RIGHT_ALONE = {"right": True, "left": False, "rise": CARRIED + 0.01}
BOTH = {"right": True, "rise": CARRIED + 0.01}


def remembered(template, *course):
    """The marks after a course of worlds."""
    kept = memory(passed=False)
    for change in course:
        TASK.remember(state(template, **change), kept)
    return kept.marks[0]


def test_it_must_have_been_passed(template):
    flags = met(state(template), passed=False)
    assert {name for name, flag in flags.items() if not flag} == {"passed"}
    assert remembered(template, RIGHT_ALONE, BOTH, {})[PASSED_MARK] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"rise": CARRIED + 0.01},  # the left hand has it
        BOTH,
        {**RIGHT_ALONE, "rise": CARRIED - 0.001},
        {**RIGHT_ALONE, "support": True},
        {**RIGHT_ALONE, "link": True},
    ],
)
def test_the_right_hand_must_have_carried_it_before(template, change):
    marks = remembered(template, change, BOTH, {})
    assert not marks[CARRIED_MARK]
    assert not marks[PASSED_MARK]


@pytest.mark.parametrize("rest", [{"support": True}, {"link": True}])
def test_what_rested_on_anything_else_must_be_passed_anew(template, rest):
    down = {"right": False, "left": False, "rise": 0.0, **rest}
    assert not remembered(template, RIGHT_ALONE, down, {})[PASSED_MARK], "set down, taken up again"
    assert not remembered(template, RIGHT_ALONE, BOTH, down, {})[PASSED_MARK]
    assert not remembered(template, RIGHT_ALONE, {**BOTH, **rest}, {})[PASSED_MARK]
    assert remembered(template, RIGHT_ALONE, down, RIGHT_ALONE, BOTH, {})[PASSED_MARK]


def test_a_throw_from_hand_to_hand_is_no_passing(template):
    nobody = {"right": False, "left": False, "rise": 0.2}
    assert not remembered(template, RIGHT_ALONE, nobody, {})[PASSED_MARK]


def test_taken_is_measured_to_the_axis_and_the_papers_form_to_the_centre(template):
    tall = dataclasses.replace(template, object_extent=np.array([[[-0.12, 0.12]]]))
    lower = state(tall, off=(0.3, 0.06))
    palms = lower.end_effector_position.copy()
    palms[0, 1, 2] -= 0.11  # the left hand holds the lower end
    lower = dataclasses.replace(lower, end_effector_position=palms)
    assert met(lower)["taken"]

    kept = memory()
    for _ in range(HOLD_STEPS):
        TASK.remember(lower, kept)
    assert TASK.measures(lower, kept)["paper"] == 0.0
    for _ in range(HOLD_STEPS):
        assert TASK.measures(state(tall), kept)["paper"] == 0.0
        TASK.remember(state(tall), kept)
    assert TASK.measures(state(tall), kept)["paper"] == 1.0
    TASK.remember(state(tall, rise=0.0), kept)
    assert TASK.measures(state(tall), kept)["paper"] == 1.0, "it was held once"


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
        ({"rise": 0.0, "left": False, "support": True}, "reach"),
        ({"rise": 0.0, "right": True, "left": False, "support": True}, "grasp"),
        ({"rise": 0.05, "right": True, "left": False}, "lift"),
        ({"right": True, "left": False}, "bring"),
        ({"right": True}, "exchange"),
        ({}, "release"),
        ({"left": False}, "reach"),
    ):
        assert TASK.stages[int(TASK.stage(state(template, **change), memory())[0])] == stage


# --- reward


@given(st.floats(-0.6, 2.0), st.floats(0, 3.0), st.booleans(), st.booleans(), st.floats(0.0, 1.0))
def test_reward_terms_stay_in_their_bounds(rise, distance, right, left, off):
    world = state(started_once(), rise=rise, right=right, left=left, off=(off, 0.06))
    tips = world.object_position[:, None] + distance * np.eye(5, 3)
    tips = np.broadcast_to(tips[:, None, 0], (1, 2, 5, 3))
    terms = TASK.reward(dataclasses.replace(world, fingertip_position=tips), memory())
    assert tuple(terms) == TASK.reward_terms == tuple(BOUNDS)
    for name, (low, high) in BOUNDS.items():
        assert low <= float(terms[name][0]) <= high, name


def started_once(kept=[]):  # noqa: B006 (a cache that hypothesis may use)
    if not kept:
        kept.append(started([carton()]).world)
    return kept[0]


def test_every_next_step_of_a_handover_pays_more(template):
    """Standing, carried, both hands at it, given, and the right hand gone."""
    steps = (
        {"rise": 0.0, "left": False, "support": True, "off": (0.3, 0.3)},
        {"right": True, "left": False, "off": (0.06, 0.3)},
        {"right": True, "off": (0.06, 0.06)},
        {"off": (0.10, 0.06)},
        {"off": (0.25, 0.06)},
    )
    paid = []
    for change in steps:
        world = state(template, **change)
        tips = np.repeat(world.end_effector_position[:, :, None], 5, axis=2)
        world = dataclasses.replace(world, fingertip_position=tips)
        paid.append(sum(float(term[0]) for term in TASK.reward(world, memory()).values()))
    assert paid == sorted(paid) and min(np.diff(paid)) > 0.5, paid


# --- the expert


def test_the_expert_hands_every_object_over():
    env = make(20, "Handover", autoreset_mode="disabled")
    scenes = split("Handover", "objects", 20, seed=11)
    failed = [
        (episode.scenario.objects[0], episode.failure)
        for episode in run_episodes(env, make_expert(env), scenes, trajectories=False)
        if not episode.success
    ]
    assert len(failed) <= 2, failed


def test_the_expert_goes_on_from_every_stage_of_the_seed():
    seed = load_seed("Handover")
    moments, seen = np.linspace(0, len(seed.states) - 12, 8).astype(int), set()
    env = make(len(moments), "Handover", autoreset_mode="disabled")
    env.set_state_vectors(seed.states[moments], [seed.scenario] * len(moments))
    expert = make_expert(env, seed=1)
    expert.reset(np.ones(len(moments), bool))
    won = np.zeros(len(moments), bool)
    for _ in range(250):
        seen |= set(env.task.stage(env.world, env.memory).tolist())
        won |= env.step(expert.act({}))[4]["success"]
    assert won.all() and seen == set(range(6))


def test_the_expert_takes_an_object_again_that_slipped_from_the_right_hand():
    """They stay upright."""
    scenes = [split("Handover", "objects", 40, seed=5)[k] for k in (7, 12, 13)]
    env = started(scenes)
    expert, n = make_expert(env), len(scenes)
    expert.reset(np.ones(n, bool))
    won, slipping = np.zeros(n, bool), np.zeros(n, int)
    for _ in range(env.max_episode_steps):
        action = expert.act({})
        slipping += (objects.rise(env.world, env.memory) > 0.003) | (slipping > 0)
        action[(slipping > 0) & (slipping < 10), 6:12] = -1.0  # the right hand opens
        won |= env.step(action)[4]["success"]
        if won.all():
            break
    assert won.all() and (slipping > 100).all()


def test_an_expert_of_another_task_is_refused():
    with pytest.raises(ValueError, match="cannot act in task 'Handover'"):
        LiftExpert(make(1, "Handover"))


# --- ways to cheat


def from_seed(back):
    """A world of the seed, `back` steps before its success, and the command in force there."""
    seed = load_seed("Handover")
    env = make(1, "Handover", autoreset_mode="disabled")
    env.set_state_vectors(seed.states[-1 - back : -back], [seed.scenario])
    return env, np.array(seed.actions[-back])[None]


def test_a_left_hand_that_picks_it_up_alone_does_not_count():
    """The left hand holds the object where it must; the right hand never had it."""
    env, command = from_seed(6)
    env.memory.marks[:] = 0.0
    env.memory.hold[:] = 0.0
    results = play(env, [command] * 20)
    terms = results[-1][4]["success_terms"]
    assert [name for name, flag in terms.items() if not flag[0]] == ["passed"]
    assert not any(r[4]["hold"].any() for r in results)


def test_the_same_with_the_mark_succeeds():
    env, command = from_seed(6)
    assert env.memory.marks[0, PASSED_MARK] == 1
    assert 0 < env.memory.hold[0] < HOLD_STEPS
    assert any(r[4]["success"][0] for r in play(env, [command] * 20))


def test_dropping_it_ends_the_hold():
    env, command = from_seed(9)
    command[:, 18:] = -1.0  # the left hand opens
    results = play(env, [command] * 30)
    assert not any(r[4]["success"][0] for r in results)
    assert results[-1][4]["hold"][0] == 0


def test_both_hands_holding_is_not_yet_given():
    seed = load_seed("Handover")
    env = make(1, "Handover", autoreset_mode="disabled")
    env.set_state_vectors(seed.states[:1], [seed.scenario])
    both, held = 0, []
    for action in seed.actions:
        info = env.step(action[None])[4]
        if env.task.stages[int(info["stage"][0])] == "exchange":
            both += 1
            held.append(int(info["hold"][0]))
    assert both > 10 and not any(held)


def test_a_throw_does_not_count():
    env = started([carton(), carton("spray_can")])
    env.backend._qvel[:, env.backend._object_v[0, 2]] = 2.4
    env.memory.marks[:, PASSED_MARK] = 1.0
    targets = env.codec.decode(np.zeros((2, 24)))
    targets.position[..., 1] += np.array([-0.15, 0.15])
    apart = Targets(targets.position, targets.quaternion, targets.hand)
    results = play(env, [env.codec.encode(apart)] * 30)
    assert any(r[4]["success_terms"]["raised"].all() for r in results), "it was high enough"
    assert not any(r[4]["hold"].any() for r in results)


def test_marks_are_part_of_the_full_state_and_start_at_zero():
    env, _ = from_seed(20)
    again = make(1, "Handover", autoreset_mode="disabled")
    again.set_state(env.get_state())
    assert again.memory.marks[0, 0] == env.memory.marks[0, 0] == 1
    again.reset(options={"scenarios": [carton()]})
    assert again.memory.marks[0, 0] == 0


class SetDown:
    """Lifts with the right hand, sets down, waits 3 s, takes up with the left hand.

    Palms and fingers go where the expert's go; the order is by the clock.
    """

    # Until when each phase lasts [steps]: the right hand comes, slides in, closes, lifts, lowers,
    # opens, leaves and waits; the left hand comes, slides in, closes, lifts.
    ENDS = np.cumsum([45, 25, 25, 15, 15, 12, 20, 40, 35, 30, 25, 40])
    COME, SLIDE, CLOSE, LIFT, LOWER, OPEN, LEAVE, WAIT = range(8)

    def __init__(self, env):
        self.env = env
        self.expert = make_expert(env)
        self.motion = self.expert.motion
        self.touched = []  # which hands touch the object, after every step
        self.risen = []  # how far it is above its start [m]

    def reset(self, mask):
        self.expert.reset(mask)
        self.clock = 0

    def act(self, observation):
        world = self.env.world
        self.touched.append(world.hand_object_contact[0, :, 0].copy())
        self.risen.append(float(objects.rise(world, self.env.memory)[0]))

        phase = min(int(np.searchsorted(self.ENDS, self.clock, side="right")), len(self.ENDS) - 1)
        self.clock += 1
        arm = handover.RIGHT if phase < self.WAIT else handover.LEFT
        step = phase if phase < self.WAIT else max(phase - self.WAIT - 1, self.COME)
        if phase == self.WAIT:
            step = self.LEAVE

        grasp, aside, turn = self.expert._grasps()
        goal = self.motion.position.copy()
        where = {self.COME: aside, self.SLIDE: grasp}
        if step in where:
            goal[:, arm] = where[step][:, arm]
        goal[:, arm, 2] += {self.LIFT: 0.05, self.LOWER: -0.03}.get(step, 0.0)
        if phase == self.LEAVE:
            goal[:, handover.RIGHT] += handover.BACK
        elif phase >= self.WAIT:
            goal[:, handover.RIGHT] = handover.HOMES[handover.RIGHT]

        quaternion = self.motion.quaternion.copy()
        if step in where:
            quaternion[:, arm] = turn[:, arm]
        hand = np.broadcast_to(PREOPPOSED, self.motion.hand.shape).copy()
        if step in (self.CLOSE, self.LIFT, self.LOWER):
            driven = list(self.env.task.needs.robot.hand.driven)
            hand[:, arm] = world.hand_position[:, arm, driven] + LEAD
            hand[..., 0] = PREOPPOSED[0]
        return self.motion.advance(goal, quaternion, hand)


def test_setting_it_down_and_taking_it_up_with_the_other_hand_does_not_count():
    env = make(1, "Handover", autoreset_mode="disabled")
    won = 0
    raised_by_left = 0
    for item in split("Handover", "objects", 6, seed=3):
        probe = SetDown(env)
        (episode,) = run_episodes(env, probe, [item], trajectories=False)
        won += episode.success
        touched, risen = np.array(probe.touched), np.array(probe.risen)
        assert not touched.all(axis=1).any(), "never in both hands at once"
        raised_by_left += bool((touched[:, 1] & (risen > RAISE)).any())
    assert raised_by_left >= 2, "the probe does what it is to do"
    assert won == 0
