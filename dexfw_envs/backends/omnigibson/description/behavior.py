"""BEHAVIOR categories, models and scenes by pinned id, for scenes of one's own in OmniGibson.

The models are BEHAVIOR's, encrypted, and may be used only inside OmniGibson; none is part of this
project, and its tasks use none: they have objects of their own, the same on every backend. Ids are
those that the inventories of bddl 3.5 and 3.6 both list.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dexfw_envs.backends.omnigibson.description.frames import placed
from dexfw_envs.backends.omnigibson.description.strict import check_object, check_scene
from dexfw_envs.catalog.lookup import find

# By the task that such things suit; each category with one model.
MODELS: dict[str, tuple[str, ...]] = {
    "Grasp": (
        *("apple-agveuv", "orange-cwcefi", "lemon-asdada", "pear-clvnqe", "potato-bpwohr"),
        *("bell_pepper-ggurxn", "avocado-arswzs", "beefsteak_tomato-altlfz", "egg-brkitw"),
        *("can_of_soda-chwjfu", "bottle_of_pop-bqretx", "bottle_of_medicine-egondf"),
        *("toy_figure-acymin", "sponge-aewrov", "salt_shaker-fonexa", "beeswax_candle-nhdnje"),
        *("cupcake-fabdnw", "pine_cone-bmvhss", "garlic-nlclql", "pool_ball-uoirje"),
    ),
    "Pour": (  # each has a volume to fill
        *("water_glass-cdteyb", "wineglass-aakcyj", "mug-dhnxww", "coffee_cup-ckkwmj"),
        *("teacup-vckahe", "beer_glass-lymciz", "wine_bottle-hlzfxw", "reagent_bottle-tnjpsf"),
        *("soda_cup-vicaqs", "jug-gjgwvi", "pitcher-ankfvi", "teapot-foaehs", "kettle-bzisss"),
        *("carafe-hdbsog", "erlenmeyer_flask-bpwjxr", "vase-aegxpb", "bowl-adciys"),
        *("saucepot-chjetk", "casserole-mmbavt", "bucket-bdhvnt"),
    ),
    "Lift": (
        *("stockpot-azoiaq", "pot_plant-aantth", "tray-avotsj", "storage_box-aqdbdu"),
        *("carton-causya", "shopping_basket-nedrsh", "hamper-clziqw", "pillow-aetpte"),
        *("teddy_bear-ecvxmu", "trash_can-aefcem", "microwave-abzvij", "tote-bnkjle"),
        *("briefcase-fdpjtj", "suitcase-fqsjey", "shoe_box-gvwcka", "watermelon-diflgd"),
        *("monitor-acltvl", "mixing_bowl-bsgybx", "box_of_fruit-jsgbcz", "pop_case-dufbnv"),
    ),
    "Handover": (
        *("bottle_of_wine-fzuiwy", "bottle_of_milk-czblzn", "carving_knife-alekva"),
        *("spatula-bqsefv", "whisk-atmhne", "tongs-gbjqyn", "soup_ladle-cfzneb"),
        *("rolling_pin-mwrdae", "hammer-bbzlel", "screwdriver-irtslw", "flashlight-jtrbkc"),
        *("hairbrush-bdylnb", "wooden_spoon-aeubta", "banana-verqwv", "baguette-pjzkeh"),
        *("sweet_corn-dacgvr", "eggplant-gfytkk", "zucchini-dybtwb", "squeeze_bottle-cuvgtq"),
        "microphone-eyleyk",
    ),
}
# Scene: the room with a table that things fit on, and the table's model.
SCENES: dict[str, tuple[str, str]] = {
    "Rs_int": ("living_room_0", "breakfast_table-skczfi"),
    "Benevolence_1_int": ("dining_room_0", "breakfast_table-idnnmz"),
    "office_large": ("break_room_0", "breakfast_table-yclkbw"),
    "Ihlen_1_int": ("dining_room_0", "breakfast_table-uhrsex"),
    "restaurant_diner": ("dining_room_0", "pedestal_table-nlfgwe"),
    "school_chemistry": ("chemistry_lab_0", "lab_table-jkemfk"),
    "house_single_floor": ("dining_room_0", "breakfast_table-rhjoby"),
    "Wainscott_0_int": ("dining_room_0", "breakfast_table-zypvuv"),
    "grocery_store_cafe": ("dining_room_0", "pedestal_table-xrrhik"),
    "Beechwood_0_int": ("dining_room_0", "breakfast_table-dnsjnv"),
    "Pomaria_1_int": ("kitchen_0", "breakfast_table-uhrsex"),
    "restaurant_cafeteria": ("dining_room_0", "breakfast_table-bhszwe"),
}
STRUCTURE = ("floors", "walls", "ceilings")
_BY_CATEGORY = {model.rsplit("-", 1)[0]: model for row in MODELS.values() for model in row}


def object_entry(
    category: str, name: str, position: np.ndarray, quaternion: np.ndarray
) -> dict[str, Any]:
    """Return an object's entry of an OmniGibson configuration.

    Args:
        category: One of BEHAVIOR's that `MODELS` lists.
        name: In the scene.
        position: In the table frame [m], (3,).
        quaternion: wxyz, (4,).
    """
    model = find(_BY_CATEGORY, category, "category").rsplit("-", 1)[1]
    known = {"type": "DatasetObject", "name": name, "category": category, "model": model}
    entry = {**known, **placed(position, quaternion)}
    check_object(entry)
    return entry


def scene_entry(scene: str) -> dict[str, Any]:
    """Return a scene's entry: one room of it, with its walls and its table alone."""
    room, table = find(SCENES, scene, "scene")
    entry = {
        "type": "InteractiveTraversableScene",
        "scene_model": scene,
        "load_room_instances": [room],
        "load_object_categories": [*STRUCTURE, table.rsplit("-", 1)[0]],
    }
    check_scene(entry)
    return entry
