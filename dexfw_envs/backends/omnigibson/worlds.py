"""What stands in each scene: tables and objects, brought when first asked for, parked when not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.backends.layout import FLOOR, TABLE_CENTRE, TABLE_HALF_SIZE
from dexfw_envs.backends.omnigibson.description import configs
from dexfw_envs.backends.omnigibson.description.configs import (
    LAMPS,
    Settings,
    object_name,
    table_name,
)
from dexfw_envs.backends.omnigibson.description.frames import to_scene, to_table, to_wxyz
from dexfw_envs.backends.omnigibson.reading import ArmReader
from dexfw_envs.backends.omnigibson.states import UPRIGHT, Placement, edited
from dexfw_envs.backends.omnigibson.usd_files.objects import OBJECT_RULE, TABLE_RULE
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.catalog.surroundings import get_surroundings
from dexfw_envs.observation import OBJECT_POSITION, OBJECT_QUATERNION, OBJECT_SIZE
from dexfw_envs.robots.spec import RobotSpec
from dexfw_envs.scenario import Scenario


@dataclass
class Stock:
    """What was brought to one scene, and where each thing is parked; it outlives its users."""

    parked: dict[str, Placement] = field(default_factory=dict)
    measured: tuple[RobotSpec, list[ArmReader]] | None = None


@dataclass
class _Scene:
    """What is in use of a scene."""

    parked: dict[str, Placement]
    table: str = ""
    in_play: list[str] = field(default_factory=list)


class Scenes:
    """Keeps N scenes' things.

    Args:
        simulator: The facade, or a share of it.
        settings: How scenes are built.
        stocks: What was brought to them before, one each.
    """

    def __init__(self, simulator: Any, settings: Settings, stocks: Sequence[Stock]) -> None:
        self._simulator = simulator
        self._settings = settings
        self._scenes = [_Scene(stock.parked) for stock in stocks]

    def missing(self, ids: np.ndarray, scenarios: Sequence[Scenario]) -> bool:
        """Say whether any scenario needs something that its scene does not have yet."""
        return any(
            name not in self._scenes[world].parked
            for world, scenario in zip(ids, scenarios, strict=True)
            for name in _names(scenario)
        )

    def bring(self, ids: np.ndarray, scenarios: Sequence[Scenario]) -> None:
        """Add what scenarios need; a step must follow before it is used."""
        for world, scenario in zip(ids, scenarios, strict=True):
            self._add_table(int(world), scenario.surroundings)
            for slot, object_id in enumerate(scenario.objects):
                self._add_object(int(world), object_id, slot)

    def _add_table(self, world: int, surroundings_id: str) -> None:
        if table_name(surroundings_id) not in self._scenes[world].parked:
            spot = self._spot(world, FLOOR + TABLE_HALF_SIZE[2])
            entry = configs.table_entry(self._settings, surroundings_id, spot)
            friction = get_surroundings(surroundings_id).table_friction
            self._add(world, entry, Placement(spot, UPRIGHT), friction, TABLE_RULE)

    def _add_object(self, world: int, object_id: str, slot: int) -> None:
        if object_name(object_id, slot) not in self._scenes[world].parked:
            item = get_object(object_id)
            spot = self._spot(world, FLOOR + item.resting_height)
            entry = configs.object_entry(self._settings, object_id, slot, spot)
            pose = Placement(spot, np.array(item.resting_quaternion))
            self._add(world, entry, pose, item.friction, OBJECT_RULE)

    def _spot(self, world: int, height: float) -> np.ndarray:
        return configs.parking_place(len(self._scenes[world].parked)) + (0.0, 0.0, height)

    def _add(
        self, world: int, entry: dict[str, Any], pose: Placement, friction: float, rule: str
    ) -> None:
        self._simulator.add(world, entry)
        if friction * self._settings.friction_scale != friction:
            scaled = friction * self._settings.friction_scale
            self._simulator.set_friction(world, entry["name"], None, scaled, rule)
        self._scenes[world].parked[entry["name"]] = pose

    def choose(self, world: int, scenario: Scenario, contents: int) -> list[str]:
        """Put a scenario's table and light in place; return what is in play: objects, contents."""
        scene = self._scenes[world]
        around = get_surroundings(scenario.surroundings)
        scene.table = table_name(scenario.surroundings)
        objects = [object_name(name, slot) for slot, name in enumerate(scenario.objects)]
        scene.in_play = [*objects, *(f"content{index}" for index in range(contents))]
        for lamp in LAMPS:
            colour, intensity = configs.lamp_colour(lamp, around)
            place = to_scene(configs.lamp_place(lamp, around.light_direction))
            self._simulator.set_light(world, lamp, colour, intensity, place)
        return scene.in_play

    def load(
        self,
        world: int,
        things: dict[str, Placement],
        robots: dict[str, tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Load one scene's state with things in play where told, and all else parked."""
        scene = self._scenes[world]
        table = {scene.table: Placement(np.array(TABLE_CENTRE), UPRIGHT)}
        state = edited(
            self._simulator.dump(world),
            {**scene.parked, **table, **things},
            robots,
            self._simulator.tensor,
        )
        self._simulator.load(world, state)

    def in_play(self, world: int) -> list[str]:
        """Return the names of objects and contents in play, none before the first reset."""
        return self._scenes[world].in_play

    def table(self, world: int) -> str:
        """Return the name of the table in use."""
        return self._scenes[world].table

    def bodies(self, world: int, needs: SceneNeeds) -> np.ndarray:
        """Read what is in play in the table frame, wxyz, with velocities, (O + C, 13)."""
        names = self._scenes[world].in_play
        if not names:
            rows = np.zeros((needs.objects + needs.contents, OBJECT_SIZE))
            rows[:, OBJECT_QUATERNION] = UPRIGHT
            return rows
        rows = np.array([self._simulator.body(world, name) for name in names])
        rows[:, OBJECT_POSITION] = to_table(rows[:, OBJECT_POSITION])
        rows[:, OBJECT_QUATERNION] = to_wxyz(rows[:, OBJECT_QUATERNION])
        return rows


def _names(scenario: Scenario) -> list[str]:
    """Return the names of the table and the objects of a scenario."""
    objects = [object_name(name, slot) for slot, name in enumerate(scenario.objects)]
    return [table_name(scenario.surroundings), *objects]
