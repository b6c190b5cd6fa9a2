"""Refuse what OmniGibson would drop without a word: unknown keys and values of a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dexfw_envs.backends.omnigibson.description import contract
from dexfw_envs.backends.omnigibson.description.robot_class import CLASS_NAME, GROUPS
from dexfw_envs.backends.omnigibson.description.scene_class import CLASS_NAME as SCENE
from dexfw_envs.catalog.lookup import find

ROBOT_CLASSES = {
    "FrankaPanda": contract.KEYS["FrankaPanda"],
    CLASS_NAME: contract.ROBOT_KEYS,
}
OBJECT_CLASSES = {
    name: contract.KEYS[name] for name in ("USDObject", "LightObject", "DatasetObject")
}
SCENE_CLASSES = {
    SCENE: contract.KEYS["Scene"],
    "InteractiveTraversableScene": contract.KEYS["InteractiveTraversableScene"],
}
CONTROLLERS = {
    name: contract.KEYS[name] for name in ("JointController", "MultiFingerGripperController")
}
TOP = ("env", "render", "scene", "robots", "objects", "task")
# Keys whose values are dictionaries that nothing here checks: nobody may use them.
UNCHECKED = (
    *("sensor_config", "load_config", "abilities", "noise_kwargs", "termination_config"),
    *("reward_config", "scene_file"),
)


def check_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration of `Environment` unchanged if every key in it is known.

    Raises:
        ValueError: Names the first key or value that is not, and the valid ones.
    """
    _keys("configuration", config, TOP)
    if missing := [name for name in TOP if name not in config]:
        raise ValueError(f"configuration: {missing} are missing")

    for section, valid in contract.SECTIONS.items():
        _keys(section, config[section], valid)
    check_scene(config["scene"])
    task = config["task"]
    _value("task type", task.get("type"), ("DummyTask",))
    _keys("task", task, ("type", *contract.KEYS["DummyTask"]))

    for robot in config["robots"]:
        check_robot(robot)
    for entry in config["objects"]:
        check_object(entry)

    for sensor in config["env"].get("external_sensors") or ():
        check_camera(sensor)
    _unique([*config["robots"], *config["objects"]])

    return config


def check_scene(scene: Mapping[str, Any]) -> None:
    """Check the entry "scene"."""
    keys = find(SCENE_CLASSES, scene.get("type", ""), "scene type")
    _keys("scene", scene, ("type", *keys))


def check_robot(robot: Mapping[str, Any]) -> None:
    """Check one entry of "robots" and its controllers."""
    name = f"robot {robot.get('name')!r}"
    keys = find(ROBOT_CLASSES, robot.get("type", ""), "robot class")
    _keys(name, robot, (*contract.POSE_KEYS["robots"], *keys))
    if "__" in robot.get("name", ""):
        raise ValueError(f"{name}: a name may not hold two underscores in a row")
    if "end_effector" in robot:
        _value(f"{name}: end_effector", robot["end_effector"], contract.END_EFFECTORS)
    for group, controller in robot.get("controller_config", {}).items():
        _value(f"{name}: controller group", group.split("_")[0], GROUPS)
        keys = find(CONTROLLERS, controller.get("name", ""), "controller")
        _keys(f"{name}, {group}", controller, ("name", *keys))


def check_object(entry: Mapping[str, Any]) -> None:
    """Check one entry of "objects"."""
    keys = find(OBJECT_CLASSES, entry.get("type", ""), "object class")
    _keys(f"object {entry.get('name')!r}", entry, (*contract.POSE_KEYS["objects"], *keys))
    if entry["type"] == "LightObject":
        _value("light_type", entry["light_type"], contract.LIGHT_TYPES)


def check_camera(sensor: Mapping[str, Any]) -> None:
    """Check one entry of "external_sensors"."""
    name = f"camera {sensor.get('name')!r}"
    _keys(name, sensor, contract.POSE_KEYS["external_sensors"])
    _value(f"{name}: sensor_type", sensor["sensor_type"], ("VisionSensor",))
    for modality in sensor.get("modalities", ()):
        _value(f"{name}: modality", modality, contract.MODALITIES)
    _keys(f"{name}: sensor_kwargs", sensor.get("sensor_kwargs", {}), contract.KEYS["VisionSensor"])


def _keys(where: str, given: Mapping[str, Any], valid: Iterable[str]) -> None:
    unknown = sorted(set(given) - set(valid))
    if unknown:
        raise ValueError(f"{where}: unknown keys {unknown}; valid: {', '.join(sorted(valid))}")
    if deep := sorted(set(given) & set(UNCHECKED)):
        raise ValueError(f"{where}: what is in {deep} would not be checked, so it may not be given")


def _value(what: str, value: Any, valid: Iterable[str]) -> None:
    if value not in tuple(valid):
        raise ValueError(f"unknown {what} {value!r}; choose one of {tuple(valid)}")


def _unique(entries: list[Mapping[str, Any]]) -> None:
    names = [entry.get("name") for entry in entries]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice or None in names:
        raise ValueError(f"every robot and object needs a name of its own; not so: {twice or None}")
