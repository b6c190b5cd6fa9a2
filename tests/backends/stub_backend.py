"""The least that a backend does: joints obey at once, and objects stay where scenarios put them.

Copied by a test into a package of its own, as the folder of a new backend would be.
"""

from __future__ import annotations

import numpy as np

from dexfw_envs.backends.base import Capabilities
from dexfw_envs.backends.entry import BackendEntry
from dexfw_envs.backends.starts import arm_starts, start_places
from dexfw_envs.catalog.objects import get_object
from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.robots.kinematics import ArmKinematics
from dexfw_envs.world import WorldState

ENTRY = BackendEntry(
    make=f"{__name__}:StubBackend",
    options=("colour",),
    capabilities=Capabilities(
        exact_restore=True, true_objects=True, parallel_worlds=False, real_time=False
    ),
)
REACH = (0.15, 0.0, 0.0)  # from a palm to its fingertips [m]


class StubBackend:
    """N worlds without physics."""

    capabilities = ENTRY.capabilities

    def __init__(self, needs, num_worlds, colour=0):
        self.needs, self.robot, self.num_worlds = needs, needs.robot, num_worlds
        self.colour = colour
        self.arms = [ArmKinematics(needs.robot, mount) for mount in needs.robot.mounts]
        self.time = np.zeros(num_worlds)
        self.joints = np.zeros((num_worlds, needs.robot.arms, 13))
        self.poses = np.zeros((num_worlds, needs.objects, 7))
        self.poses[..., 3] = 1.0
        self.balls = np.zeros((num_worlds, needs.contents, 3))
        self.openings = np.zeros((num_worlds, needs.objects, 4))
        self.resting = np.zeros(num_worlds, dtype=bool)

    def reset(self, mask, scenarios):
        for world, scenario in zip(np.flatnonzero(mask), scenarios, strict=True):
            noise = np.random.default_rng(scenario.seed)
            self.joints[world, :, :7] = arm_starts(self.robot, noise)
            self.joints[world, :, 7:] = self.robot.home_hand
            self.poses[world] = scenario.object_poses
            self._fill(world, scenario, noise)
        self.time[mask] = 0.0
        self.resting[mask] = False

    def _fill(self, world, scenario, noise):
        self.openings[world] = [get_object(name).opening for name in scenario.objects]
        if self.needs.contents:
            floor = self.openings[world, 0, 2]
            vessel = np.array(scenario.object_poses[0])
            self.balls[world] = start_places(floor, vessel, self.needs.contents, noise)

    def rest(self, mask):
        self.resting |= mask

    def apply(self, joint_targets):
        moving = ~self.resting
        self.joints[moving] = joint_targets[moving]
        self.time[moving] += CONTROL_PERIOD

    def world(self):
        n, arms, objects = self.num_worlds, self.robot.arms, self.needs.objects
        hand = self.robot.hand.full_positions(self.joints[:, :, 7:])
        found = [arm.forward(self.joints[:, i, :7]) for i, arm in enumerate(self.arms)]
        position = np.stack([place for place, _ in found], axis=1)
        quaternion = np.stack([turn for _, turn in found], axis=1)
        return WorldState(
            time=self.time.copy(),
            arm_position=self.joints[:, :, :7].copy(),
            arm_velocity=np.zeros((n, arms, 7)),
            hand_position=hand,
            hand_velocity=np.zeros_like(hand),
            end_effector_position=position,
            end_effector_quaternion=quaternion,
            fingertip_position=np.repeat(position[:, :, None] + REACH, 5, axis=2),
            fingertip_force=np.zeros((n, arms, 5)),
            object_position=self.poses[..., :3].copy(),
            object_quaternion=self.poses[..., 3:].copy(),
            object_linear_velocity=np.zeros((n, objects, 3)),
            object_angular_velocity=np.zeros((n, objects, 3)),
            contents_position=self.balls.copy(),
            object_opening=self.openings.copy(),
            object_extent=np.zeros((self.num_worlds, self.needs.objects, 2)),
            hand_object_contact=np.zeros((n, arms, objects), dtype=bool),
            arm_object_contact=np.zeros((n, arms, objects), dtype=bool),
            penetration=np.zeros((n, 3)),
            object_support_contact=np.ones((n, objects), dtype=bool),
            object_object_contact=np.zeros(n, dtype=bool),
            arm_arm_contact=np.zeros(n, dtype=bool),
            fault=np.zeros(n, dtype=bool),
        )

    def render(self, index, camera, height, width):
        return np.full((height, width, 3), self.colour, dtype=np.uint8)

    def show(self, camera):
        pass

    def get_state(self):
        parts = (self.time, self.joints, self.poses, self.balls)
        return np.concatenate([part.reshape(self.num_worlds, -1) for part in parts], axis=1)

    def set_state(self, mask, states, scenarios):
        self.reset(mask, scenarios)
        start = 0
        for part in (self.time, self.joints, self.poses, self.balls):
            width = int(np.prod(part.shape[1:]))
            rows = states[:, start : start + width]
            part[mask] = rows.reshape(len(rows), *part.shape[1:])
            start += width

    def close(self):
        pass
