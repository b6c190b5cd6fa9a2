"""Subtasks of one and two arms: cutting, checking, and arms that wait for each other."""

import dataclasses

import numpy as np
import pytest
from toy_motions import QUIET, edit_at, object_at, one_arm_source, two_arm_source

from dexfw_envs.editing import cuts
from dexfw_envs.editing.bridging import MIN_JERK_PEAK
from dexfw_envs.editing.editor import Editor
from dexfw_envs.editing.segments import Subtask

# --- two arms --------------------------------------------------------------------------------


def play(editor, objects, steps):
    """Positions (steps, 2, 3) of an editor with objects (O, 7) or a list of them per step."""
    out = []
    for step in range(steps):
        seen = objects[step] if isinstance(objects, list) else objects
        out.append(editor.step(seen).position)
    return np.stack(out)


def test_parallel_arms_do_not_wait_and_the_first_to_finish_stands_still():
    short = (Subtask(0, 10, 0), Subtask(10, 30, scheme="replay"))
    source = two_arm_source((short, (Subtask(0, 30, 0),)))
    options = dataclasses.replace(QUIET, bridge="straight", interpolation_steps=2)
    objects = object_at(0.0, 0.0, 0.1)
    quick = edit_at(source, objects, options=options)
    assert quick.position.shape == (34, 2, 3)
    np.testing.assert_array_equal(quick.position[32:, 1], quick.position[[31, 31], 1])
    editor = Editor(source, source.measured[0], options, np.random.default_rng(0))
    np.testing.assert_allclose(play(editor, objects, 34), quick.position)
    assert editor.done


def coordinated(scheme, left_start):
    right = (
        Subtask(0, 10, 0),
        Subtask(10, 30, 0, kind="coordination", scheme=scheme, link=1),
    )
    left = (
        Subtask(0, left_start, 0),
        Subtask(left_start, 30, 0, kind="coordination", scheme=scheme, link=1),
    )
    return two_arm_source((right, left))


@pytest.mark.parametrize("left_start", [4, 10, 17])
def test_coordinated_arms_end_together_with_one_transform(left_start):
    source = coordinated("transform", left_start)
    editor = Editor(source, source.measured[0], QUIET, np.random.default_rng(0))
    path, lefts = [], []
    for step in range(200):
        # The object wanders: the arms enter at different times but must share what was read first.
        path.append(editor.step(object_at(0.001 * step)).position)
        lefts.append([arm.remaining for arm in editor.arms])
        if editor.done:
            break
    assert editor.done
    together = min(20, 30 - left_start)
    both = np.array([pair for pair in lefts if max(pair) < together])
    assert len(both) >= together - 1
    assert (both[-together:, 0] == both[-together:, 1]).all()
    assert len(editor.shared) == 1
    shift = editor.shared[1][0]
    np.testing.assert_allclose(path[-1], source.position[-1] + shift, atol=1e-9)


@pytest.mark.parametrize("left_start", [4, 17])
def test_unmoved_coordination_plays_the_source_without_waiting(left_start):
    source = coordinated("transform", left_start)
    editor = Editor(source, source.measured[0], QUIET, np.random.default_rng(0))
    np.testing.assert_allclose(play(editor, source.objects[0], 30), source.position, atol=1e-12)
    assert editor.done


def test_waiting_arm_repeats_its_last_target_until_the_partner_comes():
    right = (Subtask(0, 5, 0), Subtask(5, 30, 0, kind="coordination", link=1))
    left = (Subtask(0, 5, 0, lead=4), Subtask(5, 30, 0, kind="coordination", link=1))
    source = two_arm_source((right, left))
    start = source.measured[0].copy()
    start[1, :3] += [0.05, 0.0, 0.0]  # the left arm needs longer for its first subtask
    editor = Editor(source, start, QUIET, np.random.default_rng(0))
    path = play(editor, source.objects[0], 60)
    moves = np.linalg.norm(np.diff(path, axis=0), axis=-1) > 1e-9
    slow = int(np.ceil(MIN_JERK_PEAK * 0.05 / QUIET.warp_speed)) + 1
    assert not moves[4 : slow - 1, 0].any()  # stands
    assert moves[slow - 1 : slow + 24].all()  # both go
    np.testing.assert_allclose(path[slow : slow + 25], source.position[5:], atol=1e-9)


def test_replayed_coordination_ignores_where_the_object_went():
    source = coordinated("replay", 10)
    editor = Editor(source, source.measured[0], QUIET, np.random.default_rng(0))
    path = play(editor, object_at(0.08, 0.02, 0.0, yaw=0.5), 200)
    assert editor.done
    assert not editor.shared
    np.testing.assert_allclose(path[-1], source.position[-1], atol=1e-9)


def test_sequential_subtask_begins_only_after_the_other_arm_is_through():
    right = (Subtask(0, 20, 0), Subtask(20, 30, scheme="replay"))
    left = (Subtask(0, 5, 0), Subtask(5, 30, 0, kind="sequential", link=0))
    source = two_arm_source((right, left))
    editor = Editor(source, source.measured[0], QUIET, np.random.default_rng(0))
    moved = [object_at(0.0, 0.0, 0.001 * step) for step in range(80)]
    path = play(editor, moved, 80)
    assert editor.done
    np.testing.assert_array_equal(path[5:20, 1], np.repeat(path[4:5, 1], 15, axis=0))
    # It reads the object's pose when it begins, at step 20.
    np.testing.assert_allclose(path[-1, 1], source.position[-1, 1] + [0.0, 0.0, 0.02], atol=1e-9)


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "together"}, "valid"),
        ({"scheme": "guess"}, "valid"),
        ({"stop": 0}, "start < stop"),
        ({"lead": 10}, "lead"),
        ({"kind": "sequential"}, "link"),
        ({"link": 0}, "link"),
        ({"reference": None}, "reference"),
    ],
)
def test_subtask_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        Subtask(**{"start": 0, "stop": 10, "reference": 0, **fields})


def sequential(link):
    return Subtask(0, 30, 0, kind="sequential", link=link)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (((Subtask(0, 30, 0),),), "arms"),
        (((Subtask(0, 29, 0),), (Subtask(0, 30, 0),)), "cover"),
        (((Subtask(0, 30, 1),), (Subtask(0, 30, 0),)), "reference"),
        (((sequential(0),), (sequential(0),)), "wait for each other"),
        (((sequential(3),), (Subtask(0, 30, 0),)), "link"),
        (
            ((Subtask(0, 30, 0, kind="coordination", link=0),), (Subtask(0, 30, 0),)),
            "partners",
        ),
    ],
)
def test_segmentation_refuses(segments, message):
    with pytest.raises(ValueError, match=message):
        two_arm_source(segments)


# --- cut points ------------------------------------------------------------------------------


def test_pregrasp_is_the_last_step_away_from_the_object():
    hand = np.zeros((10, 3))
    hand[:, 0] = [0.3, 0.2, 0.1, 0.15, 0.1, 0.08, 0.05, 0.05, 0.3, 0.3]
    target = np.zeros((10, 3))
    assert cuts.pregrasp_step(hand, target, contact=6, distance=0.12) == 3
    assert cuts.pregrasp_step(hand, target, contact=6, distance=0.5) == 0
    flags = np.zeros((10, 1, 2), dtype=bool)
    assert cuts.first_contact(flags) is None
    flags[6:, 0, 1] = True
    assert cuts.first_contact(flags) == 6
    target[7:, 2] = [0.001, 0.004, 0.01]
    assert cuts.first_motion(target) == 8


def test_cut_at_pregrasp_measures_each_motion():
    source = one_arm_source()
    objects = source.objects.copy()
    objects[46:, 0, 2] += 0.05
    source = dataclasses.replace(source, objects=objects)
    (subtask,) = cuts.cut_at_pregrasp(source, clearance=0.05)[0]
    gap = np.linalg.norm(source.measured[:, 0, :3] - source.objects[0, 0, :3], axis=-1)
    at_contact = np.linalg.norm(source.measured[46, 0, :3] - source.objects[46, 0, :3])
    assert gap[subtask.lead] > at_contact + 0.05 >= gap[subtask.lead + 1]
    early = cuts.cut_at_pregrasp(source, clearance=0.05, contact=20)[0][0]
    assert early.lead < subtask.lead < 40
    with pytest.raises(ValueError, match="never moved"):
        cuts.cut_at_pregrasp(one_arm_source())
