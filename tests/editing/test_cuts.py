"""Where the shipped seeds of the two-armed tasks are cut, and that edited replays work."""

import dataclasses

import numpy as np
import pytest
from scenes import make, scene

from dexfw_envs.control.codec import PoseCodec
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.editing.augment import augment
from dexfw_envs.editing.cuts import cut_at_exchange, cut_at_press, cut_for
from dexfw_envs.editing.reading import read_motion, read_motions
from dexfw_envs.registry import entry


def source(task):
    return read_motion(load_seed(task), PoseCodec(entry(task).make().needs.robot))


def test_a_lift_is_two_reaches_and_then_one_motion():
    motion = source("Lift")
    reaches, together = zip(*motion.segments, strict=True)
    touched = np.abs(np.diff(motion.objects[:, 0, :3], axis=0)).max(axis=1) > 1e-4
    for reach in reaches:
        assert reach.kind == "parallel" and 0 < reach.lead < reach.stop
        assert not touched[: reach.lead].any(), "the object rests until the hands are near"
    assert together[0] == together[1]
    assert together[0].kind == "coordination" and together[0].scheme == "transform"


def test_a_handover_is_a_grasp_an_exchange_and_a_retreat():
    motion = source("Handover")
    (grasp, right, leave), (wait, left, stay) = motion.segments
    assert grasp.reference == 0 and wait.reference is None and wait.stop == grasp.stop
    assert right == left and right.kind == "coordination" and right.scheme == "replay"
    assert leave == stay and leave.scheme == "replay"
    gap = np.linalg.norm(motion.measured[..., :3] - motion.objects[:, :1, :3], axis=-1)
    assert gap[grasp.stop, 0] < 0.10 < gap[grasp.stop, 1], "only the right hand has it"
    assert gap[right.anchor, 1] < gap[grasp.stop, 1], "the left hand has come"
    assert gap[leave.start, 0] < 0.15 < gap[-1, 0] and gap[leave.start :, 1].max() < 0.10


@pytest.mark.parametrize("task", ["Lift", "Handover"])
@pytest.mark.parametrize("scheme", ["transform", "replay"])
def test_the_scheme_of_coordination_can_be_chosen(task, scheme):
    motion = source(task)
    usual, chosen = cut_for(task)(motion), cut_for(task, scheme)(motion)
    dataclasses.replace(motion, segments=chosen)  # checks them
    for before, after in zip(sum(usual, ()), sum(chosen, ()), strict=True):
        if before.kind == "coordination":
            assert (after.scheme, after.reference) == (scheme, 0)
        else:
            assert after == before


def test_a_scheme_needs_arms_in_coordination():
    with pytest.raises(ValueError, match="'replay' for coordination: no subtask is in"):
        cut_for("Grasp", "replay")(source("Grasp"))
    with pytest.raises(ValueError, match="unknown scheme 'translate'"):
        cut_for("Lift", "translate")(source("Lift"))


@pytest.mark.parametrize("cut", [cut_at_press, cut_at_exchange])
def test_what_cannot_be_cut_is_refused(cut):
    motion = source("Lift" if cut is cut_at_press else "Handover")
    still = dataclasses.replace(
        motion, objects=np.repeat(motion.objects[:1], len(motion.objects), 0)
    )
    with pytest.raises(ValueError, match=r"object 0 (never moved|was never lifted)"):
        cut(still)
    one = dataclasses.replace(source("Grasp"), segments=())
    with pytest.raises(ValueError, match="for two arms, the motion has 1"):
        cut(one)


def test_what_cannot_be_cut_is_left_out_and_told():
    codec = PoseCodec(entry("Lift").make().needs.robot)
    good = load_seed("Lift")
    still = {name: np.repeat(x[:1], len(x), axis=0) for name, x in good.observations.items()}
    bad = dataclasses.replace(good, observations=still)
    with pytest.warns(UserWarning, match="1 of 2 episodes cannot be cut .* never moved"):
        assert len(read_motions([bad, good], codec)) == 1
    with pytest.raises(ValueError, match=r"none of 1 episodes can be cut: .*object 0 never moved"):
        read_motions([bad], codec)


@pytest.mark.parametrize(
    ("task", "object_id", "cells"),
    [
        ("Pour", "tumbler", (0, 8, 9)),
        ("Lift", "milk_case", (0, 3, 4)),
        ("Handover", "drink_carton", (0, 3, 4)),
    ],
)
def test_the_seed_is_carried_over_to_other_places(task, object_id, cells):
    seed = load_seed(task)
    steps = seed.length + 60
    env = make(len(cells), task, autoreset_mode="disabled", max_episode_steps=steps)
    scenes = [scene(object_id, cell=cell, seed=3, task=task) for cell in cells]
    run = augment(env, [seed], scenes, np.random.default_rng(0), failures=True)
    made = list(run)
    won = [episode.success for episode in made]
    assert len(made) == 3 and sum(won) >= 2
    assert (run.tally.attempts, run.tally.successes) == (3, sum(won))
    assert sum(run.tally.reasons.values()) == 3 - sum(won)
    assert [bool(episode.failure) for episode in made] == [not flag for flag in won]
