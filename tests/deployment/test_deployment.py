"""Staged starts, retries, and what is kept of deployed episodes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scenes import make, scene, started
from test_interventions import Standing

from dexfw_envs.demos.demonstrations import take_episodes
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.deployment.collection import (
    FLAG,
    JUMPS,
    DeployedEnv,
    check_deployed,
    collection_report,
    deploy,
    flags_of,
    intervened,
)
from dexfw_envs.deployment.scripted_operator import Gate, ScriptedOperator
from dexfw_envs.deployment.shared_control import NEVER, SharedControl
from dexfw_envs.deployment.stages import (
    STAGE,
    Start,
    longest_stage,
    stage_starts,
    stages_of,
    with_stages,
)
from dexfw_envs.deployment.starts import Starts
from dexfw_envs.episodes.episode import Episode
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.tasks.base import GIVEN_UP

SCENE = scene(seed=5)


def demonstration(stages):
    """An episode whose states are numbered."""
    states = np.arange(len(stages))[:, None] * np.ones(4)
    return SimpleNamespace(scenario=SCENE, states=states, observations={STAGE: np.array(stages)})


# --- stages of demonstrations


def test_stages_of_a_demonstration_are_those_it_went_through():
    seed = load_seed("Grasp")
    env = make(3, autoreset_mode="disabled")
    found = stages_of(env, seed)
    assert len(found) == seed.length + 1
    assert found[0] == 0 and found[-1] == 3 and set(found) == {0, 1, 2, 3}
    states = np.asarray(seed.states)[[40, 80]]
    env.set_state_vectors(states, [seed.scenario] * 2, np.array([True, True, False]))
    assert env.task.stage(env.world, env.memory)[:2].tolist() == found[[40, 80]].tolist()
    env.backend.capabilities = replace(env.backend.capabilities, exact_restore=False)
    with pytest.raises(ValueError, match="need a backend that restores states to find it"):
        stages_of(env, seed)
    env.close()


def test_episodes_without_states_start_nothing_in_the_middle():
    bare = demonstration([0] * 10 + [1] * 30)
    bare.states = np.zeros((40, 0))
    with pytest.raises(ValueError, match="without states cannot start in the middle"):
        stage_starts([bare])


def test_starts_are_where_a_stage_is_first_reached():
    first = demonstration([0] * 10 + [1] * 5 + [0] * 5 + [1] * 5 + [2] * 30)
    second = demonstration([0] * 10 + [2] * 40 + [3] * 10)
    found = stage_starts([first, second])
    assert {k: [s.state[0] for s in v] for k, v in found.items()} == {1: [10], 2: [25, 10]}
    assert all(start.scenario == SCENE and start.stage == k for k in found for start in found[k])


def test_longest_stage():
    usual = np.array([0] * 10 + [1] * 5 + [0] * 5 + [1] * 5 + [2] * 4)
    assert longest_stage([usual]) == 15
    assert longest_stage([np.array([0] * 4 + [2] * 9), np.array([0] * 7)]) == 7
    fetched = np.array([0] * 10 + [1] * 200 + [2] * 4)
    assert longest_stage([usual, fetched, usual]) == 15, "one that lost the object is an exception"


# --- the order of starts


def starts(count, stages=True, demonstrations=1, **options):
    made = [demonstration([0] * (10 + k) + [1] * 20 + [2] * 30) for k in range(demonstrations)]
    pools = stage_starts(made) if stages else {}
    scenes = (scene(seed=n) for n in range(100))
    return Starts(count, scenes, pools, np.random.default_rng(0), **options)


def all_won(order):
    """Every start in its turn, each a success before the next."""
    found = []
    for start in order:
        order.record(start, success=True)
        found.append(start)
    return found


def test_first_tries_keep_to_their_shares():
    found = all_won(starts(40, initial=0.5))
    counts = np.bincount([start.stage for start in found])
    assert counts.tolist() == [17, 12, 11], "of 2 : 1 : 1, nearer to each other the surer they are"
    assert all((start.state is None) == (start.stage == 0) for start in found)
    assert [start.pair for start in found] == list(range(40))
    assert not any(start.armed for start in found)
    assert all(start.stage for start in all_won(starts(10, initial=0.0)))
    ordinary = all_won(starts(10, stages=False))
    assert all(start.stage == 0 for start in ordinary)
    assert len({start.scenario.seed for start in ordinary}) == 10


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.9])
def test_every_stage_is_started_from_even_where_first_tries_fail(rate):
    """As a collection goes: eight at a time, four of five first tries from the start."""
    made = [demonstration([stage for stage in range(5) for _ in range(30)]) for _ in range(15)]
    scenes = (scene(seed=n) for n in range(100))
    order = Starts(60, scenes, stage_starts(made), np.random.default_rng(0), initial=0.8)
    rng, running = np.random.default_rng(1), [n for n, _ in zip(range(8), order, strict=False)]
    while running:
        index = running.pop(rng.integers(len(running)))
        start = order.made[index]
        order.record(start, bool(rng.random() < rate or start.attempt))
        running += [len(order.made) - 1 for _ in zip(range(1), order, strict=False)]
    first = np.bincount([s.stage for s in order.made if not s.attempt], minlength=5)
    assert first[1:].min() > 0 and 0.1 < first[1:].sum() / first.sum() < 0.4


def test_what_fails_is_started_more_often():
    order, found = starts(60, initial=0.5), []
    for start in order:  # only the first stage fails, every time
        order.record(start, success=start.stage != 1 or start.attempt > 0)
        found.append(start)
    first = [start.stage for start in found if not start.attempt]
    counts = np.bincount(first)
    assert counts[1] > counts[0] > counts[2] > 0 and counts[1] > len(first) / 2
    assert len(found) == 60 and sum(start.attempt for start in found) == counts[1]


def test_room_is_kept_to_try_again():
    order = starts(30)
    assert len(list(order)) == 15 and list(order) == [], "all of them may fail"
    for start in order.made[:4]:
        order.record(start, success=True)
    assert [start.attempt for start in order] == [0, 0]
    for start in order.made[4:]:
        order.record(start, success=False)
    assert [start.attempt for start in order] == [1] * 13 and len(order.made) == 30


@pytest.mark.parametrize("retries", [0, 3, 14])
def test_second_tries_may_be_fewer_than_failures(retries):
    """As a collection goes, eight at a time: all that fails first is tried again, then nothing."""
    order, rng, failed = starts(30, retries=retries), np.random.default_rng(0), []
    running = [index for index, _ in zip(range(8), order, strict=False)]
    while running:
        index = running.pop(rng.integers(len(running)))
        failed += [order.made[index].pair]
        order.record(order.made[index], success=False)
        running += [len(order.made) - 1 for _ in zip(range(1), order, strict=False)]
    again = [start.pair for start in order.made if start.attempt]
    assert len(order.made) == 30 and len(again) == retries
    firsts = [pair for n, pair in enumerate(failed) if pair not in failed[:n]]
    assert again == firsts[:retries]
    assert len(list(starts(30, retries=0))) == 30, "no room need be kept"


@pytest.mark.parametrize(("worlds", "rate"), [(1, 0.5), (8, 0.1), (8, 0.9), (40, 0.4), (15, 0.7)])
def test_every_start_that_fails_is_tried_again(worlds, rate):
    """Whatever ends when: only the last start may be left without a second try."""
    order, rng = starts(31), np.random.default_rng(0)
    running = [index for index, _ in zip(range(worlds), order, strict=False)]
    failed = []
    while running:
        index = running.pop(rng.integers(len(running)))
        success = bool(rng.random() < rate or order.made[index].attempt)
        failed += [] if success else [order.made[index].pair]
        order.record(order.made[index], success)
        running += [len(order.made) - 1 for _ in zip(range(1), order, strict=False)]
    again = [start.pair for start in order.made if start.attempt]
    assert len(order.made) == 31 and len(failed) - len(again) <= 1
    assert set(again) <= set(failed) and len(set(again)) == len(again)


def test_no_state_is_drawn_twice_before_all_were_drawn():
    found = all_won(starts(24, initial=0.0, demonstrations=6))
    for part in (found[:12], found[12:]):
        assert len({(start.stage, start.state[0]) for start in part}) == 12


def test_a_failed_start_is_tried_again_from_the_same_state_with_an_operator():
    order = starts(10)
    made = [next(order) for _ in range(3)]
    order.record(order.made[1], success=False, lost_at=70)
    order.record(order.made[0], success=True)
    again, fresh = next(order), next(order)
    assert (again.pair, again.attempt, again.armed) == (made[1].pair, 1, True)
    assert again.scenario == made[1].scenario and again.stage == made[1].stage
    assert np.array_equal(again.state, made[1].state)
    assert (again.lost_at, fresh.lost_at) == (70, NEVER)
    assert fresh.attempt == 0 and fresh.pair == 3
    order.record(order.made[3], success=False)
    assert next(order).attempt == 0, "no third try"
    order.record(order.made[2], success=False)
    assert [start.attempt for start in order] == [1] and len(order.made) == 7


@pytest.mark.parametrize(("armed", "first", "second"), [("retries", False, True),
                                                       ("always", True, True),
                                                       ("never", False, False)])  # fmt: skip
def test_when_the_operator_is_armed(armed, first, second):
    order = starts(4, armed=armed)
    assert next(order).armed is first
    order.record(order.made[0], success=False)
    assert next(order).armed is second


def test_an_unknown_way_to_arm_is_refused():
    with pytest.raises(ValueError, match=r"unknown armed 'sometimes'; choose one of \('retries', "):
        starts(4, armed="sometimes")


# --- running them


class Chunks(Standing):
    """Holds still; counts as a policy that plans in chunks."""

    planned = late = 0


def deployed(count=4):
    """The seed demonstration's middle as a start, a policy that stands still, the expert."""
    seed = load_seed("Grasp")
    env = make(2, autoreset_mode="disabled", obs_mode="state+touch", max_episode_steps=260)
    stages = stages_of(env, seed)
    env.reset(seed=0, options={"scenarios": [seed.scenario] * 2})
    pools = {2: stage_starts([with_stages(env, seed)])[2]}
    order = Starts(count, iter(()), pools, np.random.default_rng(0), initial=0.0)
    operator = ScriptedOperator(env, Gate(patience=10, delay=(2, 2), handback=10_000))
    control = SharedControl(Chunks(env), operator, env)
    watched = DeployedEnv(env, control)
    found = sorted(deploy(watched, control, order, "test"), key=lambda e: e.index)
    return seed, stages, watched, found


@pytest.fixture(scope="module")
def run():
    seed, stages, watched, found = deployed()
    yield seed, stages, watched, found
    watched.env.close()


def test_episodes_start_from_the_state_of_the_stage(run):
    seed, stages, _, found = run
    first = int(np.argmax(stages == 2))
    for episode in found:
        assert episode.scenario == seed.scenario
        np.testing.assert_array_equal(episode.states[0], seed.states[first])
        assert episode.observations[STAGE][0] == 2
        assert len(episode.observations[STAGE]) == episode.length + 1


def test_a_failure_and_its_correction_make_a_pair(run):
    _, _, watched, found = run
    tries = [(e.info["start"]["attempt"], e.success) for e in found]
    assert tries == [(0, False), (0, False), (1, True), (1, True)]
    assert [e.info["start"]["pair"] for e in found] == [0, 1, 0, 1]
    for episode in found:
        flags = flags_of(episode)
        assert flags.shape == (episode.length,)
        assert flags.any() == episode.info["start"]["armed"]
        if flags.any():  # after the delay: the first try went wrong at once, by doing nothing
            assert flags.argmax() == 2 and flags[2:].all()
    report = collection_report(found, watched, ("reach", "grasp", "lift", "hold"))
    assert (report["episodes"], report["successes"], report["intervened"]) == (4, 2, 2)
    assert report["starts"] == {"lift": {"episodes": 4, "share": 1.0, "successes": 2}}
    assert report["retries"] == 2 and report["failures"] == {GIVEN_UP: 2}
    assert report["intervened_steps"] == np.concatenate([flags_of(e) for e in found]).mean()


def test_a_first_try_that_stalls_is_ended(run):
    lost = [e for e in run[3] if not e.success]
    assert [e.length for e in lost] == [10, 10], "as soon as the patience is over"
    assert [e.failure for e in lost] == [GIVEN_UP, GIVEN_UP]


def test_flags_belong_to_the_steps_that_the_operator_commanded(run):
    for episode in run[3]:
        moves = np.abs(np.diff(episode.actions, axis=0)).max(axis=1) > 0
        flags = flags_of(episode)[1:]
        assert not moves[~flags].any() and moves[flags].all()


def test_jumps_at_take_over_are_measured(run):
    jumps = run[2].jumps
    assert set(jumps) == set(JUMPS) and all(set(j) == {"arm", "hand"} for j in jumps.values())
    assert max(jumps["policy"].values()) < 1e-2, "it stands"
    assert 0 < jumps["take_over"]["arm"] < jumps["blended"]["arm"]
    assert max(jumps["operator"].values()) > 1e-2
    assert jumps["hand_back"] == {"arm": 0.0, "hand": 0.0}, "called by what it knew, it goes on"


def test_flags_and_outcomes_survive_the_store(run, tmp_path):
    store = EpisodeStore(tmp_path, "DexFW/Grasp-v0", "ee_pose")
    for episode in run[3]:
        store.add(episode, source="policy", seed=0)
    for one, kept in zip(run[3], store.episodes(), strict=True):
        assert np.array_equal(flags_of(one), flags_of(kept))
        assert (one.success, one.info["start"]) == (kept.success, kept.info["start"])


def test_an_operator_learns_when_a_try_went_wrong(monkeypatch):
    order, ends = starts(6), {0: "dropped", 1: "timeout", 2: ""}
    operator = SimpleNamespace(went_wrong=lambda episode: 5 if episode.failure != "timeout" else 3)

    def episodes(env, policy, scenarios, progress):
        made = [next(scenarios) for _ in ends]
        for index, failure in ends.items():
            known = {"index": index, "success": not failure, "failure": failure}
            yield Episode(scenario=made[index], observations={}, actions=np.zeros((7, 12)),
                          rewards=np.zeros(7), states=np.zeros((8, 1)), raised=False, hold=0,
                          length=7, jerk=0.0, info={}, **known)  # fmt: skip

    monkeypatch.setattr("dexfw_envs.deployment.collection.run_episodes", episodes)
    found = deploy(None, SimpleNamespace(operator=operator), order, "test")
    assert [e.failure for e in found] == list(ends.values())
    assert [start.lost_at for start in order._again] == [5, 3]


def test_episodes_that_were_not_deployed_are_refused():
    seed = replace(load_seed("Grasp"))
    flags = {FLAG: np.zeros(seed.length + 1, bool)}
    episode = SimpleNamespace(**{**vars(seed), "identifier": "mine"})
    episode.observations = {**seed.observations, **flags}
    with pytest.raises(ValueError, match="mine has no stages: it needs the observation 'stage'"):
        check_deployed(episode)
    episode.observations[STAGE] = np.zeros(seed.length + 1, np.int8)
    check_deployed(episode)
    episode.observations[FLAG] = np.zeros(seed.length, bool)
    with pytest.raises(ValueError, match=f"needed is one for every state: .{seed.length + 1},"):
        check_deployed(episode)


def test_share_of_a_window_that_is_the_operators():
    seed = load_seed("Grasp")
    flags = np.zeros(seed.length + 1, bool)
    flags[[3, 4, -1]] = True  # of steps 2, 3 and the last
    episode = replace(seed, observations=seed.observations | {FLAG: flags})
    share = intervened(episode, 4)
    assert share.shape == (seed.length,)
    assert share[:5].tolist() == [0.5, 0.5, 0.5, 0.25, 0.0]
    assert share[-4:].tolist() == [0.25, pytest.approx(1 / 3), 0.5, 1.0], "shorter at the end"


# --- bad input


def test_episodes_without_flags_or_outcome_are_refused():
    seed = load_seed("Grasp")
    with pytest.raises(ValueError, match=r"seed.* has no flags of intervention: .*'intervention'"):
        flags_of(replace(seed, identifier="seed"))
    seen = {**seed.observations, FLAG: np.zeros(seed.length + 1, bool)}
    with pytest.raises(ValueError, match="has no outcome: neither success nor a reason of failure"):
        flags_of(replace(seed, observations=seen, success=False, failure=""))


def test_taking_episodes_takes_the_first_ones(tmp_path):
    seed = load_seed("Grasp")
    store = EpisodeStore(tmp_path / "from", seed.env_id, seed.control_mode)
    for index in (3, 0, 2, 1):
        store.add(replace(seed, scenario=replace(seed.scenario, seed=index)), source="policy",
                  seed=0, index=index)  # fmt: skip
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "left.h5").write_text("half-written")
    take_episodes(tmp_path / "from", tmp_path / "to", 3)
    assert [row["index"] for row in EpisodeStore(tmp_path / "to").manifest()] == [0, 1, 2]
    store = EpisodeStore(tmp_path / "pairs", seed.env_id, seed.control_mode)
    for index, pair in enumerate((0, 1, 2, 0, 1)):
        info = {"start": {"pair": pair}}
        store.add(replace(seed, info=info), source="policy", seed=0, index=index)
    take_episodes(tmp_path / "pairs", tmp_path / "to", 3)
    assert [row["index"] for row in EpisodeStore(tmp_path / "to").manifest()] == [0, 1, 3]
    with pytest.raises(ValueError, match="from holds 4 episodes, needed are 5"):
        take_episodes(tmp_path / "from", tmp_path / "to", 5)


def test_a_start_in_the_middle_needs_only_its_own_worlds():
    env = started([SCENE, scene("drink_can", seed=6)])
    states = env.state_vectors()
    told = []
    operator = SimpleNamespace(
        prepare=lambda *what: told.append([x.tolist() for x in what]),
        gives_up=lambda: np.zeros(2, bool),
    )
    control = SimpleNamespace(held=np.zeros(2, bool), operator=operator)
    watched = DeployedEnv(env, control)
    chosen = [Start(SCENE, 0), Start(SCENE, 1, states[0], armed=True, lost_at=9)]
    options = {"scenarios": chosen, "reset_mask": np.ones(2, bool)}
    watched.step(np.zeros((2, 12)))
    observation, _ = watched.reset(options=options)
    np.testing.assert_array_equal(env.state_vectors()[1], states[0])
    assert told == [[[True, True], [False, True], [NEVER, 9]]]
    assert not observation[FLAG].any() and observation[STAGE].dtype == np.int8
    env.close()
