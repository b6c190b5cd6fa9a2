"""Objects that a user registers: scenes of them, and what is refused."""

import pytest

from dexfw_envs.catalog import get_object, make_scenario, objects_for, register_object
from dexfw_envs.catalog import objects as catalogue
from dexfw_envs.catalog.object_spec import make, sphere


@pytest.fixture
def ball(monkeypatch):
    monkeypatch.setattr(catalogue, "OBJECTS", dict(catalogue.OBJECTS))
    made = make("my_ball", "ball", (sphere(0.04),), 0.1, "rubber", (1.0, 0.0, 0.0), "test")
    return register_object(made)


@pytest.mark.parametrize("task", ["Grasp", "Pour", "Lift", "Handover"])
def test_a_registered_object_stands_in_scenes_of_every_task(ball, task):
    scene = make_scenario(task, "my_ball", "neutral", 0, 0)
    assert scene.objects[0] == "my_ball"
    assert len(scene.objects) == (2 if task == "Pour" else 1)
    assert "my_ball" not in objects_for(task, 3)


def test_an_object_is_registered_once(ball):
    assert register_object(ball) is get_object("my_ball")
    other = make("my_ball", "ball", (sphere(0.05),), 0.1, "rubber", (1.0, 0.0, 0.0), "test")
    with pytest.raises(ValueError, match="the object id 'my_ball' is taken"):
        register_object(other)
    with pytest.raises(TypeError, match="takes an ObjectSpec, got 'my_ball'"):
        register_object("my_ball")
