"""What the tasks are played with: objects, surroundings, curricula and the splits of both."""

from dexfw_envs.catalog.curricula import CURRICULA, curriculum, objects_for
from dexfw_envs.catalog.object_spec import ObjectSpec
from dexfw_envs.catalog.objects import GRASP_OBJECTS, get_object, register_object
from dexfw_envs.catalog.quota import CollectionQuota
from dexfw_envs.catalog.shapes import Part
from dexfw_envs.catalog.splits import (
    configurations,
    make_scenario,
    named_sampler,
    split,
    split_names,
    training_sampler,
)
from dexfw_envs.catalog.surroundings import SURROUNDINGS, Surroundings, get_surroundings

__all__ = [
    "CURRICULA",
    "GRASP_OBJECTS",
    "SURROUNDINGS",
    "CollectionQuota",
    "ObjectSpec",
    "Part",
    "Surroundings",
    "configurations",
    "curriculum",
    "get_object",
    "get_surroundings",
    "make_scenario",
    "named_sampler",
    "objects_for",
    "register_object",
    "split",
    "split_names",
    "training_sampler",
]
