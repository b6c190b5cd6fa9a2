"""From a task's needs and scenarios to the configuration of one OmniGibson scene.

Plain dictionaries, in OmniGibson's words and units, checked by `strict`. Everything is placed in
the scene frame; one configuration is one world.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.backends.layout import CAMERAS, TABLE_CENTRE
from dexfw_envs.backends.omnigibson import TIMESTEP
from dexfw_envs.backends.omnigibson.description.frames import look_at, placed
from dexfw_envs.backends.omnigibson.description.plans import Plan
from dexfw_envs.backends.omnigibson.description.robot_class import CLASS_NAME
from dexfw_envs.backends.omnigibson.description.scene_class import CLASS_NAME as SCENE
from dexfw_envs.backends.omnigibson.description.strict import check_config, check_object
from dexfw_envs.catalog.surroundings import Surroundings
from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.control.controller import physics_steps

VIEWER_SIZE = (1280, 720)  # of the window [px]
IDENTITY = (1.0, 0.0, 0.0, 0.0)
# Lamps are spheres near their own table: one from far away would light every scene of the stage.
# Distance from the table's middle [m], radius [m], intensity of white; never seen, so guesses.
LAMPS = {"key": (2.0, 0.30, 60_000.0), "ambient": (3.0, 1.00, 5_000.0)}
PARKED = (-3.0, 1.1)  # nearest place beside the table for what is not in use, and spacing [m]
ROWS = 16  # of parked things: they stand in a few columns, as scenes stand side by side along x
SPACING = 10.0  # of scenes [m], OmniGibson's own margin
FOCAL_LENGTH = 17.0  # [mm]; the aperture follows from the field of view


@dataclass(frozen=True)
class Settings:
    """How scenes are built.

    Attributes:
        files: Folder of the USD files that `assets` wrote.
        timestep: Physics step [s]; divides the control period.
        cameras: Names of the cameras that each scene has.
        friction_scale: Multiplies hand-object and table friction.
    """

    files: Path
    timestep: float = TIMESTEP
    cameras: tuple[str, ...] = ()
    friction_scale: float = 1.0


def scene_config(
    plan: Plan, needs: SceneNeeds, settings: Settings, entries: tuple[dict[str, Any], ...] = ()
) -> dict[str, Any]:
    """Return the configuration of one scene.

    Args:
        plan: Its robots.
        needs: What the task asks for.
        settings: How scenes are built.
        entries: Tables and objects that are there from the start.

    Raises:
        ValueError: A key or value is not one that OmniGibson knows, or a rate does not fit.
    """
    rate = round(1.0 / CONTROL_PERIOD)
    steps = physics_steps(settings.timestep)
    objects = [*_lamps(), _column(settings, needs.robot.arms), *entries]
    objects += [_ball(settings, index) for index in range(needs.contents)]
    config = {
        "env": {
            "action_frequency": rate,
            # Without a window OmniGibson wants both rates equal.
            "rendering_frequency": rate,
            "physics_frequency": steps * rate,
            "automatic_reset": False,
            "flatten_action_space": False,
            "flatten_obs_space": False,
            "external_sensors": [
                _camera(name, needs.robot.arms) for name in settings.cameras
            ] or None,
        },
        "render": {"viewer_width": VIEWER_SIZE[0], "viewer_height": VIEWER_SIZE[1]},
        "scene": {"type": SCENE, "use_floor_plane": True, "use_skybox": False},
        "robots": _robots(plan),
        "objects": objects,
        "task": {"type": "DummyTask"},
    }  # fmt: skip

    return dict(check_config(config))


def _robots(plan: Plan) -> list[dict[str, Any]]:
    """Return one entry per OmniGibson robot: our own holds both arms, a Franka one."""
    robots: dict[str, dict[str, Any]] = {}
    for names, mount in zip(plan.arms, plan.robot.mounts, strict=True):
        entry = robots.setdefault(
            names.robot,
            {
                "type": plan.kind,
                "name": names.robot,
                "fixed_base": True,
                "self_collisions": True,
                "obs_modalities": ["proprio"],
                "control_freq": round(1.0 / CONTROL_PERIOD),
                "action_type": "continuous",
                "action_normalize": False,
                "grasping_mode": "physical",
                "controller_config": {},
            },
        )
        if plan.kind == CLASS_NAME:  # its root stands in the table frame
            entry |= placed(np.zeros(3), np.array(IDENTITY))
        else:
            entry |= placed(np.array(mount.base_position), np.array(mount.base_quaternion))
            entry["end_effector"] = "inspire"
        entry["controller_config"] |= controllers(names.group)

    return list(robots.values())


def controllers(group: str) -> dict[str, dict[str, Any]]:
    """Return the controllers of one arm and its hand: absolute joint positions, not scaled.

    `inverted` must be said: OmniGibson turns it on for every hand with fingers, and it then fails
    on commands without limits, or flips their sign.
    """
    same = {
        "motor_type": "position",
        "command_input_limits": None,
        "command_output_limits": None,
    }
    arm = {"name": "JointController", "use_delta_commands": False, "use_impedances": False}
    hand = {"name": "MultiFingerGripperController", "mode": "independent", "inverted": False}
    return {f"arm_{group}": arm | same, f"gripper_{group}": hand | same}


def _lamps() -> list[dict[str, Any]]:
    return [
        {
            "type": "LightObject",
            "name": name,
            "light_type": "Sphere",
            "radius": radius,
            "intensity": intensity,
            "fixed_base": True,
            **placed(lamp_place(name, (0.0, 0.0, -1.0)), np.array(IDENTITY)),
        }
        for name, (_, radius, intensity) in LAMPS.items()
    ]


def lamp_place(name: str, direction: tuple[float, float, float]) -> np.ndarray:
    """Return where a lamp hangs that shines in a direction, in the table frame [m], (3,)."""
    along = np.array(direction if name == "key" else (0.0, 0.0, -1.0))
    return np.array(TABLE_CENTRE) - LAMPS[name][0] * along / np.linalg.norm(along)


def lamp_colour(
    name: str, around: Surroundings
) -> tuple[tuple[float, float, float], float]:  # fmt: skip
    """Return colour, its largest channel 1, and intensity of a lamp in given surroundings."""
    light = around.light_diffuse if name == "key" else around.light_ambient
    most = max(light)
    red, green, blue = (channel / most for channel in light)
    return (red, green, blue), LAMPS[name][2] * most


def _column(settings: Settings, arms: int) -> dict[str, Any]:
    pose = placed(np.zeros(3), np.array(IDENTITY))
    return _usd(settings, "column", f"column_{arms}", pose, fixed_base=True, visual_only=True)


def _ball(settings: Settings, index: int) -> dict[str, Any]:
    place = np.array([PARKED[0], -1.0 - 0.05 * index, 0.0])
    return _usd(settings, f"content{index}", "content", placed(place, np.array(IDENTITY)))


def _usd(
    settings: Settings, name: str, file: str, pose: dict[str, Any], **more: Any
) -> dict[str, Any]:
    path = str(settings.files / f"{file}.usda")
    return {"type": "USDObject", "name": name, "usd_path": path, **pose, **more}


def table_name(surroundings_id: str) -> str:
    """Return the name of a table in a scene."""
    return f"table_{surroundings_id}"


def object_name(object_id: str, slot: int) -> str:
    """Return the name of an object that takes a place of the task's scene."""
    return f"{object_id}_{slot}"


def table_entry(settings: Settings, surroundings_id: str, place: np.ndarray) -> dict[str, Any]:
    """Return the entry of a table at a place in the table frame [m]."""
    name = table_name(surroundings_id)
    pose = placed(place, np.array(IDENTITY))
    return _checked(_usd(settings, name, name, pose, fixed_base=True))


def object_entry(
    settings: Settings, object_id: str, slot: int, place: np.ndarray
) -> dict[str, Any]:
    """Return the entry of an object at a place in the table frame [m]."""
    pose = placed(place, np.array(IDENTITY))
    return _checked(_usd(settings, object_name(object_id, slot), object_id, pose))


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    check_object(entry)
    return entry


def parking_place(index: int) -> np.ndarray:
    """Return where the index-th unused thing waits, in the table frame [m], (3,)."""
    column, row = divmod(index, ROWS)
    nearest, spacing = PARKED
    return np.array([nearest - spacing * column, spacing * (row - (ROWS - 1) / 2.0), 0.0])


def _camera(name: str, arms: int) -> dict[str, Any]:
    if name not in CAMERAS[arms]:
        raise ValueError(f"unknown camera {name!r}; choose one of {tuple(CAMERAS[arms])}")
    position, target, _ = CAMERAS[arms][name]
    return {
        "sensor_type": "VisionSensor",
        "name": name,
        "modalities": ["rgb"],
        "sensor_kwargs": {"focal_length": FOCAL_LENGTH},
        **placed(np.array(position), look_at(np.array(position), np.array(target))),
        "pose_frame": "scene",
        "include_in_obs": False,
    }
