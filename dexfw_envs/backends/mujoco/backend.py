"""Parallel MuJoCo worlds: one compiled model, its fields varied per world, stepped in threads."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from dexfw_envs import checks
from dexfw_envs import transforms as tf
from dexfw_envs.backends.base import SceneNeeds
from dexfw_envs.backends.mjcf.objects import (
    BODY_FIELDS,
    GEOM_FIELDS,
    object_fields,
    scaled_fields,
)
from dexfw_envs.backends.mjcf.robot import HAND_FRICTION, prefix, solid_links
from dexfw_envs.backends.mjcf.scene import SUPPORTS, build_model
from dexfw_envs.backends.mujoco import ENTRY, TIMESTEP
from dexfw_envs.backends.mujoco.addresses import content_addresses, hand_geoms, joint_addresses
from dexfw_envs.backends.mujoco.faults import FaultLog, speed_limits
from dexfw_envs.backends.mujoco.graphics import keep_for_ever
from dexfw_envs.backends.starts import arm_starts, start_places
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.catalog.surroundings import get_surroundings
from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.control.controller import physics_steps
from dexfw_envs.robots.spec import FINGERS
from dexfw_envs.scenario import Scenario
from dexfw_envs.world import SUNK, WorldState

STAGE = int(mujoco.mjtStage.mjSTAGE_VEL)  # keep positions and velocities current after a step
SERVO_FIELDS = ("actuator_gainprm", "actuator_biasprm")  # all their numbers are gains
SURROUNDING_FIELDS = ("light_diffuse", "light_ambient", "light_dir", "geom_matid")


class MujocoBackend:
    """N worlds of one task's scene.

    Args:
        needs: The scene.
        num_worlds: N.
        threads: Threads that step worlds; results do not depend on it.
        timestep: Physics step [s]; must divide the control period of 50 ms.
        friction_scale: Multiplies hand-object and table friction, for robustness tests.
        fault_folder: Where the states before a fault are written; see `FaultLog`.
    """

    capabilities = ENTRY.capabilities

    def __init__(
        self,
        needs: SceneNeeds,
        num_worlds: int,
        threads: int = 2,
        timestep: float = TIMESTEP,
        friction_scale: float = 1.0,
        fault_folder: str | Path | None = None,
    ) -> None:
        self._substeps = physics_steps(timestep)
        checks.count("threads", threads)
        checks.positive("friction_scale", friction_scale)
        self.needs = needs
        self.robot = needs.robot
        self.num_worlds = num_worlds
        self.friction_scale = friction_scale
        self.model = build_model(needs, timestep)
        self._threads = min(threads, num_worlds)
        self._openings = np.zeros((num_worlds, needs.objects, 4))
        self._extents = np.zeros((num_worlds, needs.objects, 2))
        self._penetration = np.zeros((num_worlds, len(SUNK)))
        self._open()
        self._fault, self._resting = np.zeros((2, num_worlds), dtype=bool)
        self._speed_limits = speed_limits(self.model)
        self._faults = FaultLog(fault_folder)
        self.fault_dumps = self._faults.dumps
        self._scenarios: list[Scenario | None] = [None] * num_worlds
        self._renderers: dict[tuple[int, int], Any] = {}
        self._window: Any = None
        self._stranded = False  # in a child process, which has none of the batch's threads
        _BACKENDS.add(self)

    def _open(self) -> None:
        self.batch = Batch(self.model, self.num_worlds, self._threads, persistent=True)
        self._bind()
        self._fields = {
            name: self.batch.expand(name)
            for name in (*GEOM_FIELDS, *BODY_FIELDS, *SURROUNDING_FIELDS)
        }

    def strand(self) -> None:
        """Be told, in the child, that the process was forked: threads and pictures stayed behind.

        What is left of them cannot be used or freed: both would wait for ever.
        """
        if self._threads > 1:
            keep_for_ever(self.batch)
            self._stranded = True
        for left in (*self._renderers.values(), self._window):
            keep_for_ever(left)
        self._renderers = {}
        self._window = None

    def _revive(self) -> None:
        """Make the threads of a child process anew; its worlds go on where they were."""
        states = self.get_state()
        resting = self._resting.copy()
        self._open()
        self._stranded = False
        started = np.array([scenario is not None for scenario in self._scenarios])
        scenarios = [scenario for scenario in self._scenarios if scenario is not None]
        self.set_state(started, states[started], scenarios)
        self._resting = resting

    def _bind(self) -> None:
        model = self.model
        robot = self.needs.robot
        bind = self.batch.bind
        self._qpos = bind("qpos")
        self._qvel = bind("qvel")
        self._ctrl = bind("ctrl")
        self._time = bind("time")
        self._sensors = bind("sensordata")
        self._site_position = bind("site_xpos")
        self._body_quaternion = bind("xquat")
        pre = [prefix(robot, arm) for arm in range(robot.arms)]
        arm_names = [[f"{p}joint{i + 1}" for i in range(robot.arm.joints)] for p in pre]
        hand_names = [[f"{p}{name}" for name in robot.hand.joint_names] for p in pre]
        self._arm_q, self._arm_v = joint_addresses(model, arm_names)
        self._hand_q, self._hand_v = joint_addresses(model, hand_names)
        objects = [f"object{i}" for i in range(self.needs.objects)]
        q, v = joint_addresses(model, [objects])
        self._object_q = q[0][:, None] + np.arange(7)  # (O, 7)
        self._object_v = v[0][:, None] + np.arange(6)
        self._object_body = [model.body(name).id for name in objects]
        first = [model.body(name).geomadr[0] for name in objects]
        self._object_geoms = [slice(start, start + self.needs.parts) for start in first]
        self._content_q = content_addresses(model, self.needs.contents)  # (C, 3)
        self._hand_geoms = hand_geoms(model, pre)
        self._palms = [model.body(f"{p}palm").id for p in pre]  # turned as the palm sites are
        self._palm_sites = [model.site(f"{p}end_effector").id for p in pre]
        self._tip_sites = np.array([[model.site(f"{p}{f}_tip").id for f in FINGERS] for p in pre])
        self._bind_sensors(pre, objects)

    def _bind_sensors(self, pre: list[str], objects: list[str]) -> None:
        address = {s.name: s.adr[0] for s in map(self.model.sensor, range(self.model.nsensor))}
        links = [solid_links(self.robot, p) for p in pre]
        self._touch = np.array([[address[f"{p}{o}_contact"] for o in objects] for p in pre])
        self._link_touch = np.array(  # (A, O, links)
            [[[address[f"{x}_{o}_contact"] for x in of_arm] for o in objects] for of_arm in links]
        )
        self._force = np.array(
            [[address[f"{p}{f}_force"] + np.arange(3) for f in FINGERS] for p in pre]
        )
        self._support = np.array([[address[f"{o}_{s}_contact"] for s in SUPPORTS] for o in objects])
        self._found = [part.reshape(-1) for part in (self._link_touch, self._touch, self._support)]
        self._pairs = {n: address.get(n) for n in ("object_object_contact", "arm_arm_contact")}

    # --- commands

    def reset(self, mask: np.ndarray, scenarios: Sequence[Scenario]) -> None:
        """Set worlds to scenarios: models, poses, and start noise from the scenario's seed."""
        ids = np.flatnonzero(mask)
        if len(ids) != len(scenarios):
            raise ValueError(f"{len(ids)} worlds to reset but {len(scenarios)} scenarios given")
        if not len(ids):
            return

        if self._stranded:
            self._revive()
        self._write_models(ids, scenarios)
        self.batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE.value)

        for world, scenario in zip(ids, scenarios, strict=True):
            self._write_start(int(world), scenario)
        self._fault[ids] = self._resting[ids] = False
        self._penetration[ids] = 0.0
        self.batch.forward(ids)

    def _write_models(self, ids: np.ndarray, scenarios: Sequence[Scenario]) -> None:
        for world, scenario in zip(ids, scenarios, strict=True):
            for index, object_id in enumerate(scenario.objects):
                self._write_object(world, index, object_id, scenario)
            self._write_surroundings(world, scenario)
            self._write_robot(world, scenario)
            self._scenarios[world] = scenario
        self.batch.set_const(ids)

    def _friction_of(self, scenario: Scenario) -> float:
        """Return the factor on all friction: the backend's option times the scenario's value."""
        return self.friction_scale * scenario.value("friction")

    def _write_object(self, world: int, index: int, object_id: str, scenario: Scenario) -> None:
        size = scenario.value("size")
        mass = scenario.value("mass")
        rows = scaled_fields(object_fields(object_id, self.needs.parts), size, mass)
        geoms = self._object_geoms[index]
        body = self._object_body[index]
        for name in GEOM_FIELDS:
            self._fields[name][world, geoms] = rows[name]
        for name in BODY_FIELDS:
            self._fields[name][world, body] = rows[name]
        self._fields["geom_friction"][world, geoms, 0] *= self._friction_of(scenario)
        item = get_object(object_id)
        self._openings[world, index] = np.multiply(item.opening, size)
        self._extents[world, index] = np.multiply(item.extent, size)

    def _write_surroundings(self, world: int, scenario: Scenario) -> None:
        around = get_surroundings(scenario.surroundings)
        fields = self._fields
        rolling = get_object(scenario.objects[0]).rolling
        friction = (around.table_friction * self._friction_of(scenario), 0.01, rolling)
        table = self.model.geom("table").id
        fields["geom_friction"][world, table] = friction
        fields["geom_rgba"][world, table] = around.table_rgba
        fields["geom_matid"][world, table] = self.model.material(around.table_texture).id
        fields["light_diffuse"][world, 0] = around.light_diffuse
        fields["light_ambient"][world, 0] = around.light_ambient
        direction = np.asarray(around.light_direction, dtype=float)
        fields["light_dir"][world, 0] = direction / np.linalg.norm(direction)

    def _write_robot(self, world: int, scenario: Scenario) -> None:
        # The higher friction of two decides, so the hand's is scaled along with the objects'.
        sliding = HAND_FRICTION[0] * self._friction_of(scenario)
        self._fields["geom_friction"][world, self._hand_geoms, 0] = sliding

        gain = scenario.value("gain")
        if gain != 1.0 and "actuator_gainprm" not in self._fields:
            for name in SERVO_FIELDS:
                self._fields[name] = self.batch.expand(name)
        if "actuator_gainprm" in self._fields:
            for name in SERVO_FIELDS:
                self._fields[name][world] = getattr(self.model, name) * gain

    def _write_start(self, world: int, scenario: Scenario) -> None:
        robot = self.needs.robot
        noise = np.random.default_rng(scenario.seed)
        hand = robot.hand.full_positions(np.array(robot.home_hand))
        for arm, start in enumerate(arm_starts(robot, noise)):
            self._qpos[world, self._arm_q[arm]] = start
            self._qpos[world, self._hand_q[arm]] = hand
            first = arm * robot.commanded_joints
            hand_first = first + robot.arm.joints
            self._ctrl[world, first:hand_first] = start
            self._ctrl[world, hand_first : first + robot.commanded_joints] = robot.home_hand

        for index, pose in enumerate(scenario.object_poses):
            self._qpos[world, self._object_q[index]] = pose
        if self.needs.contents:
            vessel = np.array(scenario.object_poses[0])
            count = self.needs.contents
            floor = self._openings[world, 0, 2]
            self._qpos[world, self._content_q] = start_places(floor, vessel, count, noise)

    def rest(self, mask: np.ndarray) -> None:
        """Let worlds stand still until they are reset or restored; it saves their time."""
        self._resting |= mask

    def apply(self, joint_targets: np.ndarray) -> None:
        """Hold joint targets [rad], (N, A, 13), for one control period."""
        if self._stranded:
            self._revive()
        self._faults.remember(self.batch.state.copy())
        self._ctrl[:] = joint_targets.reshape(self.num_worlds, -1)
        warned = self.batch.warning.copy()
        try:
            self._step(np.flatnonzero(~self._resting))
        except SimulationError as error:
            self._record_faults(np.isin(np.arange(self.num_worlds), error.ids))
        warnings = (self.batch.warning != warned).reshape(self.num_worlds, -1)
        self._record_faults(warnings.any(axis=1) | self._blown_up())

    def _step(self, ids: np.ndarray) -> None:
        """Step worlds for a control period, and note how deep objects lay in what they touched."""
        before = self._substeps - 1
        deepest = np.zeros((len(ids), len(SUNK)))
        if before:
            recorded = self.batch.rollout(before, record=("sensordata",), ids=ids)["sensordata"]
            deepest = self._depths(recorded).max(axis=1)
        self.batch.step(ids, 1, STAGE)
        self._penetration[ids] = np.maximum(deepest, self._depths(self._sensors[ids]))

    def _depths(self, sensors: np.ndarray) -> np.ndarray:
        """Return how deep links, hands and supports lie in objects [m], (..., 3)."""
        # The distance stands behind the number of contacts.
        parts = [-sensors[..., found + 1].min(axis=-1) for found in self._found]
        return np.maximum(np.stack(parts, axis=-1), 0.0)

    def _blown_up(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return ~(np.abs(self._qvel) < self._speed_limits).all(axis=1)

    def _record_faults(self, broken: np.ndarray) -> None:
        for world in np.flatnonzero(broken & ~self._fault):
            self._faults.dump(int(world), self._scenarios[world])
        self._fault |= broken

    # --- observation

    def world(self) -> WorldState:
        """Read the state of all worlds, as copies."""
        pose = self._qpos[:, self._object_q]
        twist = self._qvel[:, self._object_v]
        quaternion = pose[..., 3:7]
        palm = self._body_quaternion[:, self._palms]
        force = self._sensors[:, self._force]
        never = np.zeros(self.num_worlds, dtype=bool)  # what a scene has only one of
        pairs = {k: never if a is None else self._sensors[:, a] > 0 for k, a in self._pairs.items()}

        return WorldState(
            time=self._time.reshape(-1).copy(),
            arm_position=self._qpos[:, self._arm_q],
            arm_velocity=self._qvel[:, self._arm_v],
            hand_position=self._qpos[:, self._hand_q],
            hand_velocity=self._qvel[:, self._hand_v],
            end_effector_position=self._site_position[:, self._palm_sites],
            end_effector_quaternion=np.where(palm[..., :1] < 0.0, -palm, palm),
            fingertip_position=self._site_position[:, self._tip_sites],
            fingertip_force=np.sqrt((force * force).sum(axis=-1)),
            object_position=pose[..., :3],
            object_quaternion=quaternion,
            object_linear_velocity=twist[..., :3],
            object_angular_velocity=tf.quat_rotate(quaternion, twist[..., 3:]),
            contents_position=self._qpos[:, self._content_q],
            object_opening=self._openings.copy(),
            object_extent=self._extents.copy(),
            hand_object_contact=self._sensors[:, self._touch] > 0,
            arm_object_contact=(self._sensors[:, self._link_touch] > 0).any(axis=-1),
            object_support_contact=(self._sensors[:, self._support] > 0).any(axis=-1),
            **pairs,
            penetration=self._penetration.copy(),
            fault=self._fault.copy(),
        )

    def render(self, index: int, camera: str, height: int, width: int) -> np.ndarray:
        """Draw one world: uint8 (height, width, 3)."""
        from dexfw_envs.backends.mujoco.render import OffscreenRenderer

        if self._stranded:
            self._revive()
        key = (height, width)
        if key not in self._renderers:
            self._renderers[key] = OffscreenRenderer(self.model, height, width)
        return self._renderers[key].draw(self.batch, index, camera)

    def show(self, camera: str) -> None:
        """Show the first world in a window, opened on first use."""
        from dexfw_envs.backends.mujoco.window import Window

        if self._window is None:
            self._window = Window(self.model, CONTROL_PERIOD)
        self._window.show(self.batch, camera)

    # --- state

    def get_state(self) -> np.ndarray:
        """Read all that a world goes on from, (N, S) float64.

        In order: integration state, sensors, penetration, and whether it broke down.
        """
        fault = self._fault[:, None].astype(float)
        return np.concatenate([self.batch.state, self._sensors, self._penetration, fault], axis=1)

    def set_state(
        self, mask: np.ndarray, states: np.ndarray, scenarios: Sequence[Scenario]
    ) -> None:
        """Restore worlds of `mask` from rows of `get_state`, one per world of the mask."""
        ids = np.flatnonzero(mask)
        size = self.batch.nstate
        sensors_end = size + self._sensors.shape[1]
        expected = sensors_end + len(SUNK) + 1
        if states.shape != (len(ids), expected):
            raise ValueError(f"state has shape {states.shape}, expected {(len(ids), expected)}")

        if not len(ids):
            return
        if self._stranded:
            self._revive()

        self._write_models(ids, scenarios)
        self.batch.state[ids] = states[:, :size]
        self.batch.forward(ids)
        self.batch.state[ids] = states[:, :size]  # forward overwrites the solver's warm start
        self._restored_sensors(ids, states[:, size:sensors_end])
        self._penetration[ids] = states[:, sensors_end:-1]
        self._fault[ids] = states[:, -1] > 0
        self._resting[ids] = False

    def _restored_sensors(self, ids: np.ndarray, sensors: np.ndarray) -> None:
        self._sensors.flags.writeable = True
        self._sensors[ids] = sensors
        self._sensors.flags.writeable = False

    def close(self) -> None:
        """Release render contexts and the window."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
        if self._window is not None:
            self._window.close()
        self._window = None


_BACKENDS: weakref.WeakSet[MujocoBackend] = weakref.WeakSet()


def _after_fork() -> None:
    for backend in _BACKENDS:
        backend.strand()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
