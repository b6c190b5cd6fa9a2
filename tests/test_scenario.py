import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexfw_envs.scenario import Scenario, displaced

POSE = (0.1, -0.2, 0.037, 1.0, 0.0, 0.0, 0.0)
FINITE = st.floats(-10, 10)


def scenario(**changes):
    fields = {
        "task": "Grasp",
        "objects": ("baseball",),
        "surroundings": "neutral",
        "pose": 0,
        "object_poses": (POSE,),
        "seed": 7,
    }
    return Scenario(**(fields | changes))


@given(
    position=st.tuples(FINITE, FINITE, FINITE),
    axis=st.tuples(FINITE, FINITE, FINITE, FINITE).filter(lambda q: np.linalg.norm(q) > 1e-3),
    pose=st.integers(0, 100),
    seed=st.integers(0, 2**63),
)
def test_json_gives_back_an_equal_scenario(position, axis, pose, seed):
    turn = np.array(axis) / np.linalg.norm(axis)
    before = scenario(object_poses=((*position, *turn),), pose=pose, seed=seed)
    after = Scenario.from_json(before.to_json())
    assert after == before
    assert hash(after) == hash(before)
    assert after.to_json() == before.to_json()


def test_arrays_and_numpy_numbers_become_plain_data():
    made = scenario(
        objects=["baseball"], object_poses=np.array([POSE]), pose=np.int64(3), seed=np.uint32(5)
    )
    assert made == scenario(pose=3, seed=5)
    assert type(made.pose) is int
    assert all(type(value) is float for value in made.object_poses[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": ""}, "task must hold"),
        ({"surroundings": 3}, "surroundings must hold"),
        ({"objects": ()}, "non-empty tuple"),
        ({"objects": "baseball"}, "non-empty tuple"),
        ({"objects": (1,)}, "objects must hold"),
        ({"objects": ("baseball", "cube")}, "2 objects need"),
        ({"object_poses": (POSE[:6],)}, "7 finite numbers"),
        ({"object_poses": ((*POSE[:6], float("nan")),)}, "7 finite numbers"),
        ({"object_poses": (("a",) * 7,)}, "7 numbers"),
        ({"object_poses": ((0, 0, 0, 2, 0, 0, 0),)}, "unit quaternion"),
        ({"pose": -1}, "pose must be an integer"),
        ({"pose": True}, "pose must be an integer"),
        ({"seed": 1.5}, "seed must be an integer"),
    ],
)
def test_bad_fields_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        scenario(**changes)


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", None])
def test_text_that_is_no_scenario_is_refused(text):
    with pytest.raises(ValueError, match="not a scenario"):
        Scenario.from_json(text)


def test_missing_and_unknown_fields_are_named():
    data = json.loads(scenario().to_json())
    del data["seed"]
    with pytest.raises(ValueError, match=r"missing fields \['seed'\].*unknown fields \['mood'\]"):
        Scenario.from_json(json.dumps(data | {"mood": "good"}))


@given(seed=st.integers(0, 2**63), distance=st.floats(0, 0.1))
def test_a_displaced_object_is_so_far_from_its_place(seed, distance):
    before = scenario(objects=("cup", "bowl"), object_poses=(POSE, POSE), seed=seed)
    after = displaced(before, distance)
    (x, y, *rest), bowl = after.object_poses
    assert np.hypot(x - POSE[0], y - POSE[1]) == pytest.approx(distance, abs=1e-12)
    assert (tuple(rest), bowl, after.seed) == (POSE[2:], POSE, seed)
    assert displaced(before, distance) == after


@pytest.mark.parametrize("distance", [-0.01, float("nan"), float("inf")])
def test_a_distance_that_is_none_is_refused(distance):
    with pytest.raises(ValueError, match="displacement must be a number of metres"):
        displaced(scenario(), distance)
