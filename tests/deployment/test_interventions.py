"""Operators: when they step in and hand back, and that nothing jumps when they do."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scenes import make, scene, started

from dexfw_envs import transforms as tf
from dexfw_envs.control.codec import HAND_SLEW, Targets
from dexfw_envs.deployment.chunk_executor import commands_in_force
from dexfw_envs.deployment.scripted_operator import Gate, ScriptedOperator
from dexfw_envs.deployment.shared_control import NEVER, SharedControl, SmoothingFilter
from dexfw_envs.teleop import keyboard
from dexfw_envs.teleop.keyboard import KeyboardSource, raw_terminal
from dexfw_envs.teleop.person import ALIGNED, PersonOperator


class Standing:
    """A policy that holds the commands in force, in place of chunks."""

    def __init__(self, env):
        self.env, self.resets = env, []
        self.action = commands_in_force(env)

    def reset(self, mask):
        self.resets.append(mask.tolist())
        self.action[mask] = commands_in_force(self.env)[mask]

    def act(self, observation, active):
        return self.action.copy()


def test_the_filter_starts_at_rest_where_it_is_seeded():
    low_pass = SmoothingFilter(2, 3)
    low_pass.seed(np.array([True, False]), np.full((2, 3), 0.5))
    goal = np.ones((2, 3))
    way = np.array([low_pass.step(goal)[0, 0] for _ in range(20)])
    assert 0.5 < way[0] < 0.6 and way[7] > 0.95, "no jump, and no long delay either"
    assert abs(way[-1] - 1.0) < 1e-3 and way.max() < 1.02
    steps = np.diff(np.concatenate([[0.5], way]))
    assert steps.max() < 0.5 * 0.3


# --- the gate of the scripted operator


class Scripted:
    """One world whose stage and object follow a script; says when the operator has control."""

    def __init__(self, monkeypatch, gate, stages=(), moved=(), armed=True, lost_at=NEVER):
        self.now, self.begun = 0, []
        self.stages, self.moved = list(stages), list(moved)
        expert = SimpleNamespace(reset=lambda mask: None, act=lambda observation: np.ones((1, 12)))
        monkeypatch.setattr(
            "dexfw_envs.deployment.scripted_operator.make_expert", lambda env, **style: expert
        )
        memory = SimpleNamespace(start_position=np.zeros((1, 1, 3)))
        task = SimpleNamespace(name="Grasp", stage=lambda world, memory: np.array([self._stage()]))
        self.env = SimpleNamespace(num_envs=1, task=task, memory=memory)
        self._look()
        self.operator = ScriptedOperator(self.env, gate)
        self.operator.prepare(np.ones(1, bool), np.array([armed]), np.array([lost_at]))
        self.operator.reset(np.ones(1, bool))

    def _stage(self):
        return self.stages[min(self.now, len(self.stages) - 1)] if self.stages else 0

    def _look(self):
        place = self.moved[min(self.now, len(self.moved) - 1)] if self.moved else 0.0
        self.env.world = SimpleNamespace(
            object_position=np.array([[[place, 0.0, 0.0]]]),
            object_support_contact=np.array([[self._stage() < 2]]),
        )

    def run(self, steps):
        held, rows = np.zeros(1, bool), []
        for _ in range(steps):
            self.now += 1
            self._look()
            wants = self.operator.wants({}, held)
            if wants[0] and not held[0]:
                self.operator.begin(wants)
            held = wants
            rows.append(bool(held[0]))
        return "".join(".X"[row] for row in rows)


def test_a_stall_is_noticed_after_the_patience_and_the_delay(monkeypatch):
    gate = Gate(patience=5, delay=(3, 3))
    assert Scripted(monkeypatch, gate).run(10) == "." * 7 + "XXX"
    assert Scripted(monkeypatch, gate, stages=[0, 0, 0, 1]).run(12) == "." * 10 + "XX"
    quick = Gate(patience=5, delay=(0, 0))
    assert Scripted(monkeypatch, quick).run(6) == "....XX"


def test_a_stall_that_it_may_not_mend_ends_the_episode(monkeypatch):
    stages = [0, 0, 1]
    for armed, given_up in ((False, [False] * 6 + [True] * 3), (True, [False] * 9)):
        script = Scripted(monkeypatch, Gate(patience=5, delay=(9, 9)), stages, armed=armed)
        found = []
        for _ in range(9):
            script.run(1)
            found.append(bool(script.operator.gives_up()[0]))
        assert found == given_up


def test_a_drop_is_a_failure_and_a_lost_touch_is_none(monkeypatch):
    gate = Gate(patience=50, dropped=2, delay=(0, 0))
    assert Scripted(monkeypatch, gate, stages=[1, 2, 2, 0]).run(6) == "...XXX"
    assert Scripted(monkeypatch, gate, stages=[1, 1, 1, 0]).run(6) == "......"


def test_a_knocked_object_is_a_failure_and_a_carried_one_is_none(monkeypatch):
    gate = Gate(patience=50, knocked=0.05, delay=(1, 1))
    assert Scripted(monkeypatch, gate, moved=[0.0, 0.0, 0.06]).run(5) == "..XXX"
    assert Scripted(monkeypatch, gate, stages=[2], moved=[0.2]).run(5) == "....."


def test_it_hands_back_when_it_has_helped_and_waits_again(monkeypatch):
    gate = Gate(patience=4, handback=3, delay=(0, 0))
    stages = [0] * 7 + [1] * 20  # the stage rises at step 7
    found = Scripted(monkeypatch, gate, stages=stages).run(14)
    assert found == "...XXX" + "XX" + "...." + "XX"


def test_it_finishes_what_the_policy_fails_at_again(monkeypatch):
    gate = Gate(patience=4, handback=3, delay=(0, 0))
    script = Scripted(monkeypatch, gate, stages=[0] * 7 + [1] * 8 + [2] * 20)
    assert script.run(24) == "...XXX" + "XX" + "...." + "X" * 12
    script.now = 0
    script.operator.reset(np.ones(1, bool))
    assert script.run(10) == "...XXX" + "XX" + "..", "in another episode it hands back again"


@pytest.mark.parametrize(("stages", "moved", "failure", "step"), [
    ([0, 1, 1, 1, 2, 2], [0.0, 0.0, 0.0, 0.06, 0.06, 0.2], "timeout", 3),  # knocked
    ([0, 1, 2, 2, 3, 2], [0.0, 0.0, 0.1, 0.2, 0.3, 0.3], "timeout", 4),  # carried, then stuck
    ([0, 2, 1, 1, 3, 3], [0.0] * 6, "timeout", 3),  # let fall for two steps
    ([0, 2, 1, 2, 2, 2], [0.0] * 6, "dropped", 1),  # for one, then lost
    ([0, 0, 0, 0, 0, 0], [0.0] * 6, "timeout", 0),  # never got further
])  # fmt: skip
def test_when_an_episode_went_wrong(monkeypatch, stages, moved, failure, step):
    operator = Scripted(monkeypatch, Gate(dropped=2)).operator
    seen = {"stage": np.array(stages), "object": np.array(moved)[:, None] * np.eye(13)[0]}
    episode = SimpleNamespace(observations=seen, failure=failure, length=5)
    assert operator.went_wrong(episode) == step


def test_what_went_wrong_before_is_mended_and_not_handed_back(monkeypatch):
    early = Gate(patience=50, handback=2, delay=(1, 1), foresight=4)
    assert Scripted(monkeypatch, early, lost_at=7).run(8) == "...." + "XXXX"
    assert Scripted(monkeypatch, early, lost_at=2).run(4) == ".XXX", "not before the start"
    gate = replace(early, foresight=0)
    assert Scripted(monkeypatch, gate, lost_at=3).run(8) == "...." + "XXXX"
    assert Scripted(monkeypatch, gate, lost_at=0).run(4) == ".XXX"
    stages = [0] * 9 + [1]
    assert Scripted(monkeypatch, gate, lost_at=5, stages=stages).run(12) == "......" + "X" * 6
    script = Scripted(monkeypatch, gate, lost_at=3)
    script.run(3)
    script.operator.reset(np.ones(1, bool))
    assert script.run(8) == "...." + "XXXX", "counted from the start of the episode"
    assert Scripted(monkeypatch, gate).run(20) == "." * 20


def test_an_operator_that_is_not_armed_watches(monkeypatch):
    assert Scripted(monkeypatch, Gate(patience=2, delay=(0, 0)), armed=False).run(9) == "." * 9


def test_delays_are_drawn_from_their_range(monkeypatch):
    gate = Gate(patience=1, delay=(2, 6))
    first = set()
    for seed in range(12):
        script = Scripted(monkeypatch, gate)
        script.operator._rng = np.random.default_rng(seed)
        first.add(script.run(12).index("X"))
    assert first <= set(range(2, 7)) and len(first) > 2


def test_an_operator_of_an_unknown_task_is_refused():
    env = SimpleNamespace(num_envs=1, task=SimpleNamespace(name="Fold"))
    with pytest.raises(ValueError, match=r"no expert for 'Fold'; there is one for \('Grasp', "):
        ScriptedOperator(env)
    with pytest.raises(ValueError, match="patience, dropped, handback: at least 1"):
        Gate(patience=0)
    with pytest.raises(ValueError, match="least and most: got"):
        Gate(delay=(5, 2))


# --- taking over in a world


def test_the_expert_takes_over_from_a_standstill_without_a_jump():
    env = started([scene(seed=7)])
    policy = Standing(env)
    gate = Gate(patience=15, delay=(2, 4), handback=10_000)
    control = SharedControl(policy, ScriptedOperator(env, gate), env)
    control.reset(np.ones(1, bool))
    observation, changes, held = env._observe(), [], []
    for _ in range(230):
        before = env.controller.joints.copy()
        action = control.act(observation)
        assert np.abs(action).max() <= 1.0
        observation, _, _, _, info = env.step(action)
        changes.append(np.abs(env.controller.joints - before).max())
        held.append(bool(control.held[0]))
        if info["success"][0]:
            break
    assert info["success"][0], "the expert finishes the task through the filter"
    first = held.index(True)
    assert 15 <= first <= 21 and all(held[first:])
    assert changes[first] <= max(changes[first + 1 :]), "no larger step than its own later ones"
    assert changes[first] < HAND_SLEW / 2
    env.close()


def test_the_policy_plans_anew_when_it_gets_control_back():
    env = started([scene(seed=7), scene("drink_can", seed=8)])
    policy, wants = Standing(env), np.zeros(2, bool)
    operator = SimpleNamespace(
        reset=lambda mask: None, begin=lambda mask: None,
        wants=lambda observation, held: wants.copy(), act=lambda observation: np.full((2, 12), 0.3),
    )  # fmt: skip
    control = SharedControl(policy, operator, env)
    control.reset(np.ones(2, bool))
    control.act({})
    wants[1] = True
    first = control.act({})
    assert policy.resets == [[True, True]]
    assert np.array_equal(first[0], policy.action[0]), "the other world keeps its policy"
    before = commands_in_force(env)[1]
    assert (np.abs(first[1] - before) < np.abs(0.3 - before)).all(), "seeded with the command"
    wants[1] = False
    assert np.array_equal(control.act({}), policy.action)
    assert policy.resets[1:] == [[False, True]] and not control.held.any()
    env.close()


# --- a person


class Person:
    """A source that does what a test says."""

    def __init__(self, hand):
        self.asking, self.shown = False, []
        self.now = Targets(np.array([[9.0, 9.0, 9.0]]), np.array([[0.0, 1.0, 0.0, 0.0]]), hand)

    def asks(self):
        return self.asking

    def read(self):
        return self.now

    def follow(self, robot):
        self.shown.append(robot)

    def release(self):
        self.asking = False


@pytest.fixture
def one_world():
    env = started([scene(seed=3)])
    yield env
    env.close()


def test_a_person_ends_the_episode(one_world):
    keys = iter(["", "wx", "", "x"])
    source = KeyboardSource((np.zeros(6), np.ones(6)), lambda: next(keys), period=0.0)
    operator, found = PersonOperator(one_world, source), []
    operator.reset(np.ones(1, bool))
    for _ in range(4):
        operator.wants({}, np.zeros(1, bool))
        found.append(operator.gives_up().tolist())
    assert found == [[False], [True], [False], [True]], "once for every press"


def test_control_ends_with_the_episode(one_world):
    keys = iter([" ", "", "x"])
    source = KeyboardSource((np.zeros(6), np.ones(6)), lambda: next(keys, ""), period=0.0)
    operator, one = PersonOperator(one_world, source), np.ones(1, bool)
    operator.reset(one)
    assert operator.wants({}, ~one).all() and operator.wants({}, one).all() and source.asks()
    operator.reset(one)
    assert not operator.wants({}, ~one).any() and not operator.gives_up().any()


def test_a_person_takes_over_only_from_an_aligned_hand(one_world):
    robot = one_world.controller.joints[0, :, 7:].copy()
    person = Person(robot + 2 * ALIGNED)
    operator = PersonOperator(one_world, person)
    operator.reset(np.ones(1, bool))
    free, held = np.zeros(1, bool), np.ones(1, bool)
    assert not operator.wants({}, free)[0]
    person.asking = True
    assert not operator.wants({}, free)[0], "waits until the hand is aligned"
    person.now = Targets(person.now.position, person.now.quaternion, robot + 0.5 * ALIGNED)
    assert operator.wants({}, free)[0]
    np.testing.assert_array_equal(person.shown[-1].hand, robot)
    one, known = np.ones(1, bool), np.full(1, NEVER)
    operator.prepare(one, ~one, known)
    assert not operator.wants({}, free)[0]
    operator.prepare(one, one, known)
    person.now = Targets(person.now.position, person.now.quaternion, robot + 2 * ALIGNED)
    assert operator.wants({}, held)[0], "who has control may move the fingers"


def test_a_persons_wrist_counts_from_where_it_was(one_world):
    command = one_world.controller
    person = Person(command.joints[0, :, 7:].copy())
    operator = PersonOperator(one_world, person)
    operator.begin(np.ones(1, bool))
    np.testing.assert_allclose(operator.act({}), commands_in_force(one_world), atol=1e-6)
    wrist = person.now
    ahead = tf.quat_rotate(wrist.quaternion, np.array([0.05, 0.0, 0.0]))  # along the wrist's x
    person.now = Targets(wrist.position + ahead, wrist.quaternion, wrist.hand)
    moved = one_world.codec.decode(operator.act({})[0])
    along = tf.quat_rotate(command.quaternion[0], np.array([0.05, 0.0, 0.0]))  # the palm's x
    np.testing.assert_allclose(moved.position - command.position[0], along, atol=1e-6)


def test_a_person_commands_one_world():
    env = make(2)
    with pytest.raises(ValueError, match="a person commands one world, got 2"):
        PersonOperator(env, Person(np.zeros((1, 6))))
    env.close()


def test_keys_move_a_wrist_that_stood_where_the_robot_is(one_world):
    keys = []
    limits = one_world.task.needs.robot.hand.driven_limits()
    source = KeyboardSource(limits, keys=lambda: keys.pop(0) if keys else "", period=0.0)
    policy = Standing(one_world)
    control = SharedControl(policy, PersonOperator(one_world, source), one_world)
    control.reset(np.ones(1, bool))
    start = commands_in_force(one_world)
    keys += ["www", " "]  # moves before the take-over do not count: it follows the robot
    for _ in range(2):
        action = control.act({})
    assert control.held[0]
    np.testing.assert_allclose(action, np.clip(start, -1, 1), atol=1e-6)
    keys += ["rrrrr?", "g" * 60]
    control.act({})
    goal = one_world.codec.decode(control.operator.act({})[0])
    here = one_world.controller.position[0]
    np.testing.assert_allclose(goal.position - here, [[0, 0, 5 * keyboard.STEP]], atol=1e-6)
    control.act({})
    np.testing.assert_allclose(source.read().hand[0, 1:], limits[1][1:])
    assert source.read().hand[0, 0] == pytest.approx(one_world.controller.joints[0, 0, 7])
    keys.append(" ")
    control.act({})
    assert not control.held[0] and policy.resets[-1] == [True]


def test_keys_for_turns_and_for_the_other_arm():
    source = KeyboardSource((np.zeros(6), np.ones(6)), keys=lambda: "\tjw\td", period=0.0)
    still = np.tile([1.0, 0.0, 0.0, 0.0], (2, 1))
    source.follow(Targets(np.zeros((2, 3)), still, np.zeros((2, 6))))
    assert not source.asks()
    now = source.read()
    np.testing.assert_allclose(now.position, [[0, -keyboard.STEP, 0], [keyboard.STEP, 0, 0]])
    turns = tf.rotvec_from_quat(now.quaternion)
    np.testing.assert_allclose(turns, [[0, 0, 0], [0, 0, keyboard.TURN]], atol=1e-9)
    assert (still == [1.0, 0.0, 0.0, 0.0]).all(), "the robot's own arrays stay as they are"


def test_without_a_terminal_the_keyboard_says_so(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    assert keyboard.terminal_keys() == ""
    with pytest.raises(RuntimeError, match="needs a terminal"), raw_terminal():
        pass
