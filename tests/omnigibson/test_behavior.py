"""The table of BEHAVIOR ids against bddl's own inventory, which needs no data set."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from real import need_package

from dexfw_envs.backends.omnigibson.description import behavior

UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


def inventory(name):
    spec = importlib.util.find_spec("bddl")
    if spec is None:
        pytest.skip("bddl is not installed here: run `make test-omnigibson`")
    return json.loads((Path(spec.origin).parent / "generated_data" / name).read_text())


def test_eighty_categories_and_twelve_scenes():
    models = [model for row in behavior.MODELS.values() for model in row]
    assert [len(row) for row in behavior.MODELS.values()] == [20] * 4
    assert len({model.rsplit("-", 1)[0] for model in models}) == 80
    assert len(behavior.SCENES) == 12


def test_models_are_in_the_inventory():
    found = inventory("object_inventory.json")
    for row in behavior.MODELS.values():
        assert set(row) <= set(found["providers"])
    fillable = {name for name, links in found["meta_links"].items() if "fillable" in links}
    assert set(behavior.MODELS["Pour"]) <= fillable


def test_scenes_have_their_tables():
    scenes = inventory("combined_room_object_list.json")["scenes"]
    for scene, (room, table) in behavior.SCENES.items():
        assert scenes[scene][room][table] >= 1


def test_entries_are_strict():
    entry = behavior.object_entry("mug", "mine", np.array([0.1, 0.0, 0.05]), UPRIGHT)
    assert (entry["category"], entry["model"]) == ("mug", "dhnxww")
    assert np.allclose(entry["position"], [0.1, 0.0, 0.8])
    with pytest.raises(ValueError, match=r"unknown category 'mugs' \(did you mean 'mug'\?\)"):
        behavior.object_entry("mugs", "mine", np.zeros(3), UPRIGHT)
    scene = behavior.scene_entry("Rs_int")
    assert scene["load_object_categories"] == ["floors", "walls", "ceilings", "breakfast_table"]
    with pytest.raises(ValueError, match="unknown scene 'Rs'"):
        behavior.scene_entry("Rs")


def test_entries_build_omnigibsons_objects():
    og = need_package()
    from omnigibson.utils.python_utils import extract_class_init_kwargs_from_dict

    entry = behavior.object_entry("pear", "mine", np.zeros(3), UPRIGHT)
    kind = og.REGISTERED_OBJECTS[entry["type"]]
    kept = extract_class_init_kwargs_from_dict(cls=kind, dic=entry)
    assert set(entry) - set(kept) == {"type", "position", "orientation"}
    assert kind(**kept).usd_path.endswith("objects/pear/clvnqe/usd/clvnqe.usd")
    scene = behavior.scene_entry("Rs_int")
    kept = extract_class_init_kwargs_from_dict(cls=og.REGISTERED_SCENES[scene["type"]], dic=scene)
    assert set(scene) - set(kept) == {"type"}
