"""Worlds in OmniGibson: N scenes side by side in one Isaac Sim, stepped together.

Never run in Isaac Sim by this project: it was checked against the source of OmniGibson 1.1.1, by
building its real classes without a simulator, and by a recording stand-in for the simulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dexfw_envs import checks
from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.backends.layout import CAMERAS
from dexfw_envs.backends.omnigibson import ENTRY, TIMESTEP
from dexfw_envs.backends.omnigibson.arms import Arms
from dexfw_envs.backends.omnigibson.assets import file_folder, need_files, own_robot_files
from dexfw_envs.backends.omnigibson.description.configs import Settings, scene_config
from dexfw_envs.backends.omnigibson.description.frames import look_at, to_scene, to_xyzw
from dexfw_envs.backends.omnigibson.description.plans import Plan, make_plan
from dexfw_envs.backends.omnigibson.facade import requirements
from dexfw_envs.backends.omnigibson.reading import ContactReader, measured_robot, no_contacts
from dexfw_envs.backends.omnigibson.session import Share, session
from dexfw_envs.backends.omnigibson.states import Placement, Row, blown_up, start_row, width
from dexfw_envs.backends.omnigibson.worlds import Scenes
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.observation import (
    ARM_JOINTS,
    OBJECT_ANGULAR_VELOCITY,
    OBJECT_LINEAR_VELOCITY,
    OBJECT_POSITION,
    OBJECT_QUATERNION,
    POSE_SIZE,
)
from dexfw_envs.scenario import Scenario
from dexfw_envs.world import SUNK, WorldState

GAINS = ("suite", "simulator")
USUAL_CAMERAS = {1: ("front",), 2: ("front", "head")}  # by number of arms


class OmniGibsonBackend:
    """N worlds of one task's scene.

    Args:
        needs: The scene.
        num_worlds: N.
        robot: Which robots; see `plans.PLANS`. The usual one for the task by default.
        files: Folder of the suite's USD files; see `assets.file_folder` for the usual one.
        cameras: Cameras in every scene, each a render per step; USUAL_CAMERAS if None.
        headless: Whether to run without a window.
        gains: "suite" for the stiffness of the MuJoCo model, "simulator" for OmniGibson's own.
        timestep: Physics step [s]; must divide the control period of 50 ms.
        threads: Threads of physics from its next start on; Isaac Sim's own choice by default.
        friction_scale: Multiplies hand-object and table friction, for robustness tests.

    Raises:
        MissingRequirementError: Something is not installed; the message says what.
    """

    capabilities = ENTRY.capabilities

    def __init__(
        self,
        needs: SceneNeeds,
        num_worlds: int,
        robot: str | None = None,
        files: str | Path | None = None,
        cameras: Sequence[str] | None = None,
        headless: bool = True,
        gains: str = "suite",
        timestep: float = TIMESTEP,
        threads: int | None = None,
        friction_scale: float = 1.0,
    ) -> None:
        checks.choice("gains", gains, GAINS)
        if threads is not None:
            checks.count("threads", threads)

        checks.positive("friction_scale", friction_scale)
        self.needs = needs
        self.num_worlds = num_worlds
        self._gains = gains
        plan = make_plan(needs.robot, robot)
        chosen = USUAL_CAMERAS[needs.robot.arms] if cameras is None else tuple(cameras)
        self.settings = Settings(file_folder(files), timestep, chosen, friction_scale)
        config = scene_config(plan, needs, self.settings)
        release = requirements.check(requirements.look(), plan.files)
        need_files(self.settings.files, plan.own)
        self._session = session(release, timestep, headless)

        if threads is not None:
            self._session.simulator.threads = threads
        if plan.own:
            self._session.simulator.register_dual_arm(*own_robot_files(self.settings.files))

        self._open(plan, config)

    def _open(self, plan: Plan, config: dict[str, Any]) -> None:
        n = self.num_worlds
        needs = self.needs
        ids = self._session.take(self, (config, needs.robot), n)
        stocks = [self._session.stocks[index] for index in ids]
        self.simulator = Share(self._session.simulator, ids)
        self._scenes = Scenes(self.simulator, self.settings, stocks)

        if stocks[0].measured is None:  # hands are straight when they are new, and only then
            stocks[0].measured = measured_robot(self.simulator, plan, needs.robot)
        self.robot, readers = stocks[0].measured
        self._arms = Arms(self.simulator, self.robot, readers)
        self._contacts = [
            ContactReader(self.simulator, world, readers, self.settings.timestep)
            for world in range(n)
        ]
        self._targets = np.zeros((n, needs.robot.arms, needs.robot.commanded_joints))
        self._time = np.zeros(n)
        self._fault = np.zeros(n, dtype=bool)
        self._scenarios: list[Scenario | None] = [None] * n
        self._kept: list[Row] = []
        self._stale = True  # whether pictures lag behind what was set

        for world in range(n):
            self._arms.set_friction(world)
        self._session.enter(self)

    # --- turns

    def suspend(self) -> None:
        """Remember the worlds: another environment of the process is about to step."""
        self._kept = [self._row(world) for world in range(self.num_worlds)]

    def resume(self) -> None:
        """Put the worlds back, with their gains, which a restart of the simulator forgets."""
        for world in range(self.num_worlds):
            if self._gains == "suite":
                self._arms.set_gains(world)
        self._put_back(list(enumerate(self._kept)))
        for world, scenario in enumerate(self._scenarios):
            if scenario is None:
                self._hold(world, self._row(world).joints)
        self._settle()

    def _put_back(self, rows: list[tuple[int, Row]]) -> None:
        for world, row in rows:
            scenario = self._scenarios[world]
            if scenario is not None:
                self._set(world, row, scenario)

    # --- commands

    def reset(self, mask: np.ndarray, scenarios: Sequence[Scenario]) -> None:
        """Set worlds to scenarios by loading the state of their scenes; no other world moves."""
        ids = np.flatnonzero(mask)
        if len(ids) != len(scenarios):
            raise ValueError(f"{len(ids)} worlds to reset but {len(scenarios)} scenarios given")
        self._session.enter(self)
        self._bring(ids, scenarios)
        for world, scenario in zip(ids, scenarios, strict=True):
            self._set(int(world), start_row(self.robot, self.needs, scenario), scenario)
        self._settle()

    def _bring(self, ids: np.ndarray, scenarios: Sequence[Scenario]) -> None:
        """Add what is new to a scene. That takes a step, so the other worlds are put back."""
        if not self._scenes.missing(ids, scenarios):
            return
        kept = [(world, self._row(world)) for world in range(self.num_worlds) if world not in ids]
        self._scenes.bring(ids, scenarios)
        self.simulator.step()
        self._put_back(kept)

    def _set(self, world: int, row: Row, scenario: Scenario) -> None:
        """Set one world to a row of state, and tell its controllers to hold."""
        names = self._scenes.choose(world, scenario, self.needs.contents)
        things = {
            name: Placement(values[OBJECT_POSITION], values[OBJECT_QUATERNION], values[POSE_SIZE:])
            for name, values in zip(names, row.objects, strict=True)
        }
        self._scenes.load(world, things, self._arms.states(world, row.joints, row.rates))
        self._scenarios[world] = scenario
        self._targets[world] = row.targets
        self._time[world] = row.time
        self._fault[world] = row.fault
        self._hold(world, row.joints)

    def _settle(self) -> None:
        self.simulator.refresh()
        self._stale = True

    def _hold(self, world: int, joints: np.ndarray) -> None:
        """Command the joints as they are: without a command OmniGibson's hands go to 0 rad."""
        self._arms.command(world, joints[:, :ARM_JOINTS], joints[:, ARM_JOINTS:])

    def rest(self, mask: np.ndarray) -> None:
        """Save nothing: all scenes of the process step together."""

    def apply(self, joint_targets: np.ndarray) -> None:
        """Hold joint targets [rad], (N, A, 13), for one control period; passive joints follow."""
        self._session.enter(self)
        self._targets[:] = joint_targets
        hands = self.robot.hand.full_positions(joint_targets[..., ARM_JOINTS:])
        for world in range(self.num_worlds):
            self._arms.command(world, joint_targets[world, :, :ARM_JOINTS], hands[world])
        self.simulator.step()
        self._time += CONTROL_PERIOD
        self._fault |= [blown_up(self._row(world)) for world in range(self.num_worlds)]

    # --- observation

    def _row(self, world: int) -> Row:
        joints, rates = self._arms.joints(world)
        objects = self._scenes.bodies(world, self.needs)
        time = float(self._time[world])
        fault = bool(self._fault[world])
        return Row(joints, rates, self._targets[world].copy(), objects, time, fault)

    def world(self) -> WorldState:
        """Read the state of all worlds."""
        self._session.enter(self)
        worlds = range(self.num_worlds)
        rows = [self._row(world) for world in worlds]
        joints = np.array([r.joints for r in rows])
        rates = np.array([r.rates for r in rows])
        things = np.array([row.objects for row in rows])
        objects, contents = np.split(things, [self.needs.objects], axis=1)
        place, turn = self._arms.palms(joints[..., :ARM_JOINTS])
        contacts = [self._contacts_of(world) for world in worlds]

        return WorldState(
            time=self._time.copy(),
            arm_position=joints[..., :ARM_JOINTS].copy(),
            arm_velocity=rates[..., :ARM_JOINTS].copy(),
            hand_position=joints[..., ARM_JOINTS:].copy(),
            hand_velocity=rates[..., ARM_JOINTS:].copy(),
            end_effector_position=place,
            end_effector_quaternion=turn,
            fingertip_position=np.array([self._arms.fingertips(world) for world in worlds]),
            object_position=objects[..., OBJECT_POSITION].copy(),
            object_quaternion=objects[..., OBJECT_QUATERNION].copy(),
            object_linear_velocity=objects[..., OBJECT_LINEAR_VELOCITY].copy(),
            object_angular_velocity=objects[..., OBJECT_ANGULAR_VELOCITY].copy(),
            contents_position=contents[..., OBJECT_POSITION].copy(),
            object_opening=self._of_objects("opening", 4),
            object_extent=self._of_objects("extent", 2),
            penetration=np.full((self.num_worlds, len(SUNK)), np.nan),  # not told by PhysX
            fault=self._fault.copy(),
            **{name: np.array([c[name] for c in contacts]) for name in contacts[0]},
        )

    def _contacts_of(self, world: int) -> dict[str, np.ndarray]:
        names = self._scenes.in_play(world)
        objects = self.needs.objects
        if names:
            return self._contacts[world].read(names[:objects], self._scenes.table(world))
        return no_contacts(self.needs.robot.arms, objects)

    def _of_objects(self, attribute: str, size: int) -> np.ndarray:
        """Return an attribute of every object in play, (N, O, size); zeros before a reset."""
        values = np.zeros((self.num_worlds, self.needs.objects, size))
        for world, scenario in enumerate(self._scenarios):
            if scenario is not None:
                items = [get_object(name) for name in scenario.objects]
                values[world] = [getattr(item, attribute) for item in items]
        return values

    def render(self, index: int, camera: str, height: int, width: int) -> np.ndarray:
        """Draw one world: uint8 (height, width, 3)."""
        fovy = self._camera(camera)[2]
        if camera not in self.settings.cameras:
            raise ValueError(
                f"the scenes have no camera {camera!r} but {self.settings.cameras}: make the "
                f"environment with cameras=({camera!r},)"
            )
        self._session.enter(self)
        if self._stale:
            self.simulator.render()
            self._stale = False
        return self.simulator.picture(index, camera, height, width, np.deg2rad(fovy))

    def _camera(self, name: str) -> tuple:
        cameras = CAMERAS[self.needs.robot.arms]
        if name not in cameras:
            raise ValueError(f"unknown camera {name!r}; choose one of {list(cameras)}")
        return cameras[name]

    def show(self, camera: str) -> None:
        """Look at the first scene of the process in Isaac Sim's own window."""
        position, target, _ = self._camera(camera)
        if self._session.headless:
            raise RuntimeError("there is no window: make the environment with headless=False")
        turn = look_at(np.array(position), np.array(target))
        self.simulator.look(to_scene(np.array(position)), to_xyzw(turn))

    # --- state

    def get_state(self) -> np.ndarray:
        """Read joints, targets and objects of every world, (N, S) float64."""
        self._session.enter(self)
        return np.array([self._row(world).to_vector() for world in range(self.num_worlds)])

    def set_state(
        self, mask: np.ndarray, states: np.ndarray, scenarios: Sequence[Scenario]
    ) -> None:
        """Restore worlds of `mask` from rows of `get_state`; contacts and forces start anew."""
        ids = np.flatnonzero(mask)
        expected = (len(ids), width(self.needs))
        if states.shape != expected:
            raise ValueError(f"state has shape {states.shape}, expected {expected}")
        self._session.enter(self)
        self._bring(ids, scenarios)
        for world, vector, scenario in zip(ids, states, scenarios, strict=True):
            self._set(int(world), Row.from_vector(vector, self.needs), scenario)
        self._settle()

    def close(self) -> None:
        """Hand the scenes back. Isaac Sim runs until the process ends: it starts only once."""
        self._session.give(self)
