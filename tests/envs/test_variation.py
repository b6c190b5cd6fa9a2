"""Worlds that differ from the catalogue: drawn by the scenario's seed, and restored bit for bit."""

import itertools
import json

import gymnasium
import numpy as np
import pytest

from dexfw_envs.catalog import split
from dexfw_envs.control.latency import CommandDelay
from dexfw_envs.envs.vector import DexVectorEnv
from dexfw_envs.evaluation import evaluate
from dexfw_envs.registry import TASKS
from dexfw_envs.scenario import Scenario, varied
from dexfw_envs.variation import AXES, GROUPS, MOST_LATENCY, PHYSICAL, ranges_of

NAMES = [task.name for task in TASKS]
ALL = ranges_of("all")


def scene(task: str = "Grasp", **variation) -> Scenario:
    (scenario,) = split(task, "T_VAL", 1, seed=3)
    return varied(scenario, ranges_of(variation))


def worlds(task: str = "Grasp", count: int = 1, **options) -> DexVectorEnv:
    return DexVectorEnv(task, num_envs=count, threads=1, autoreset_mode="disabled", **options)


def begun(scenario: Scenario, **options) -> DexVectorEnv:
    env = worlds(scenario.task, variation={}, **options)
    env.reset(options={"scenarios": [scenario]})
    return env


# --- the scenario


def test_a_scenario_without_a_variation_reads_as_before():
    (plain,) = split("Grasp", "T_VAL", 1, seed=3)
    assert "variation" not in json.loads(plain.to_json())
    assert varied(plain, {}) == plain
    assert varied(plain, ranges_of({"mass": 1.0, "latency": 0})) == plain


def test_a_varied_scenario_is_written_and_read_back():
    scenario = varied(split("Pour", "T_VAL", 1, seed=3)[0], ALL)
    assert Scenario.from_json(scenario.to_json()) == scenario
    assert len(scenario.variation) >= len(AXES) - 1  # a latency of 0 is left out
    with pytest.raises(ValueError, match="varied already"):
        varied(scenario, ALL)


def test_a_draw_depends_on_the_seed_and_the_axis_alone():
    (plain,) = split("Grasp", "T_VAL", 1, seed=3)
    alone = varied(plain, ranges_of("mass"))
    together = varied(plain, ALL)
    assert alone.value("mass") == together.value("mass")

    drawn = [varied(one, ALL) for one in split("Grasp", "T_VAL", 200, seed=0)]
    for name, axis in AXES.items():
        values = np.array([one.value(name) for one in drawn])
        low, high = axis.usual
        assert low <= values.min() < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.1 * (high - low)


@pytest.mark.parametrize(
    ("variation", "words"),
    [
        ("weight", "unknown variation 'weight'; choose from size, mass"),
        ({"mass": 0.0}, r"variation mass lies in \[0.1, 10.0\] \[x\], got 0.0"),
        ({"mass": float("nan")}, "variation mass lies in"),
        ({"latency": 5}, r"variation latency lies in \[0, 4\] \[steps\], got 5"),
        ({"latency": 0.5}, "variation latency is a whole number of steps, got 0.5"),
        ({"size": (1.2, 0.9)}, r"a range is \(lowest, highest\)"),
        ({"size": (1.2,)}, r"a range is \(lowest, highest\)"),
        (3, "a variation is a name or a mapping"),
    ],
)
def test_what_cannot_be_varied_is_named(variation, words):
    with pytest.raises(ValueError, match=words):
        worlds(variation=variation)


def test_each_group_holds_known_axes():
    assert {name for names in GROUPS.values() for name in names} == set(AXES)


# --- the worlds


def test_size_mass_friction_and_gain_reach_the_model():
    plain = begun(scene()).backend
    changed = begun(scene(size=1.2, mass=2.0, friction=0.5, gain=0.8)).backend
    geoms, body = plain._object_geoms[0], plain._object_body[0]

    def ratio(field, *where):
        after, before = changed._fields[field][(0, *where)], plain._fields[field][(0, *where)]
        return np.unique(np.round(after[before != 0] / before[before != 0], 9))

    assert ratio("geom_size", geoms) == ratio("geom_aabb", geoms) == 1.2
    assert ratio("body_mass", [body]) == 2.0
    assert ratio("body_inertia", body) == pytest.approx(2.0 * 1.2**2)
    assert ratio("geom_friction", geoms, 0) == 0.5
    assert ratio("geom_friction", plain._hand_geoms, 0) == 0.5
    table = plain.model.geom("table").id
    assert ratio("geom_friction", [table], 0) == 0.5

    for name in ("actuator_gainprm", "actuator_biasprm"):
        expected = 0.8 * getattr(plain.model, name)
        np.testing.assert_allclose(changed._fields[name][0], expected)


def test_friction_below_the_hands_own_makes_a_grasp_slip():
    """The higher friction of two counts: the hand's has to be scaled with the object's."""
    env = worlds(friction_scale=0.2)
    env.reset(options={"scenarios": [split("Grasp", "T_VAL", 1, seed=3)[0]]})
    hand = env.backend._fields["geom_friction"][0, env.backend._hand_geoms, 0]
    thing = env.backend._fields["geom_friction"][0, env.backend._object_geoms[0], 0]
    np.testing.assert_allclose(hand, 0.1)
    assert thing.max() <= 0.2


def test_a_varied_world_leaves_nothing_behind():
    env = worlds(variation={})
    (plain,) = split("Grasp", "T_VAL", 1, seed=3)
    fields = []
    for scenario in (plain, varied(plain, ranges_of({"size": 1.3, "gain": 2.0})), plain):
        env.reset(options={"scenarios": [scenario]})
        fields.append({name: np.array(rows) for name, rows in env.backend._fields.items()})
    for name, rows in fields[0].items():
        np.testing.assert_array_equal(rows, fields[2][name])
    np.testing.assert_array_equal(
        fields[2]["actuator_gainprm"][0], env.backend.model.actuator_gainprm
    )


@pytest.mark.parametrize("task", NAMES)
def test_scaled_objects_stand_where_the_catalogue_puts_them(task):
    for size in (0.85, 1.15):
        env = begun(scene(task, size=size))
        before = env.world.object_position.copy()
        for _ in range(20):
            env.step(env.codec.encode(targets_now(env)))
        moved = np.abs(env.world.object_position - before).max()
        assert moved < 0.003, f"{moved} m at size {size}"
        assert not env.world.fault.any()


def targets_now(env):
    from dexfw_envs.control.codec import Targets

    return Targets(
        env.controller.position, env.controller.quaternion, env.controller.joints[:, :, 7:]
    )


# --- the link between policy and worlds


def test_a_command_acts_after_its_latency():
    delay = CommandDelay(2, (1, 13))
    start = np.zeros((2, 1, 13))
    delay.reset(np.ones(2, dtype=bool), [0, 3], start)
    acting = [delay.step(np.full((2, 1, 13), step))[:, 0, 0] for step in range(1, 7)]
    assert [row[0] for row in acting] == [1, 2, 3, 4, 5, 6]
    assert [row[1] for row in acting] == [0, 0, 0, 1, 2, 3]


def test_latency_delays_the_joints():
    rows = []
    for latency in (0, 2):
        env = begun(scene(latency=latency))
        rng = np.random.default_rng(0)
        actions = rng.uniform(-1, 1, (8, *env.action_space.shape))
        commanded = []
        for action in actions:
            env.step(action)
            commanded.append(env.backend._ctrl[0].copy())
        rows.append(np.array(commanded))
    np.testing.assert_array_equal(rows[0][:6], rows[1][2:])


def test_the_tracker_deviates_as_much_as_it_says():
    env = begun(scene(tracker_position=0.01, tracker_rotation=0.05))
    places, turns = [], []
    for _ in range(150):
        observation, *_ = env.step(env.codec.encode(targets_now(env)))
        true = env.world.object_position[0, 0]
        places.append(observation["object"][0, :3] - true)
        between = np.abs(observation["object"][0, 3:7] @ env.world.object_quaternion[0, 0])
        turns.append(2.0 * np.arccos(np.clip(between, 0.0, 1.0)))
    assert np.std(places) == pytest.approx(0.01, rel=0.15)
    assert np.sqrt(np.mean(np.square(turns)) / 3.0) == pytest.approx(0.05, rel=0.2)
    np.testing.assert_array_equal(env.unwrapped._observe()["object"], observation["object"])


def test_dropped_steps_show_the_object_as_it_was_seen_last():
    env = begun(scene(tracker_position=0.01, tracker_dropped=0.5))
    seen = []
    for _ in range(200):
        observation, *_ = env.step(env.codec.encode(targets_now(env)))
        seen.append(observation["object"][0].copy())
    same = np.mean([np.array_equal(one, other) for one, other in itertools.pairwise(seen)])
    assert same == pytest.approx(0.5, abs=0.12)


def test_without_the_option_a_latency_is_refused():
    env = worlds()
    env.reset(options={"scenarios": [scene(mass=2.0)]})
    with pytest.raises(ValueError, match=r"varies 'latency': make the environment with variation"):
        env.reset(options={"scenarios": [scene(latency=1)]})


def test_what_a_backend_cannot_build_is_refused():
    from dexfw_envs.envs.varied import ExactLink

    link = ExactLink(1, ("mass",))
    link.check([scene(mass=2.0)])
    with pytest.raises(ValueError, match="this backend cannot vary 'size'; it varies mass"):
        link.check([scene(size=1.1)])
    assert set(worlds().backend.capabilities.varies) == set(PHYSICAL)


@pytest.mark.parametrize("task", NAMES)
def test_a_varied_episode_continues_bit_for_bit(task):
    scenarios = [varied(one, ALL) for one in split(task, "T_VAL", 3, seed=1)]
    env = worlds(task, 3, variation={})
    other = worlds(task, 3, variation={})
    rng = np.random.default_rng(1)
    actions = rng.uniform(-1, 1, (12, *env.action_space.shape))

    env.reset(options={"scenarios": scenarios})
    for action in actions[:6]:
        env.step(action)
    restored = other.set_state(env.get_state())
    np.testing.assert_array_equal(restored["object"], env._observe()["object"])

    for action in actions[6:]:
        one, two = env.step(action)[0], other.step(action)[0]
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    np.testing.assert_array_equal(env.state_vectors(), other.state_vectors())


def test_episodes_of_a_varied_environment_differ_and_repeat():
    env = gymnasium.make("DexFW/Grasp-v0", variation="all", info_mode="full")
    first = env.reset(seed=4)[1]["scenario"]
    second = env.reset()[1]["scenario"]
    assert first.variation and second.variation and first.variation != second.variation
    assert env.reset(seed=4)[1]["scenario"] == first


class Idle:
    def reset(self, mask):
        pass

    def act(self, observation):
        return np.zeros((len(observation["object"]), 12))


def test_the_evaluator_takes_a_variation_as_a_test_axis():
    options = {"env_options": {"threads": 1, "max_episode_steps": 3}, "num_envs": 2}
    records = evaluate(
        Idle(), "DexFW/Grasp-v0", split="T_VAL", episodes=2, variation={"latency": 1}, **options
    )
    drawn = [Scenario.from_json(record["scenario"]) for record in records]
    assert [one.value("latency") for one in drawn] == [1, 1]


def test_the_usual_range_of_latency_stays_within_what_is_held_back():
    assert AXES["latency"].usual[1] <= MOST_LATENCY
