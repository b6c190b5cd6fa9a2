"""A stand-in for the facade that remembers and never simulates.

Joints jump to their targets at a step, objects stay where they were put or go on at their velocity.
Robots are the suite's own trees under OmniGibson's names, so what is measured of them is known.
"""

from __future__ import annotations

import numpy as np

from dexfw_envs import transforms as tf
from dexfw_envs.backends.omnigibson.description import frames
from dexfw_envs.backends.omnigibson.description.plans import make_plan
from dexfw_envs.control.codec import CONTROL_PERIOD
from dexfw_envs.robots.tree import robot_tree

NARROW = 0.9  # the stub's hands close this share of the suite's range


class StubSimulator:
    """N scenes of one plan."""

    def __init__(self, robot, name=None):
        self.plan = make_plan(robot, name)
        self.tree = robot_tree(self.plan.robot)
        self.worlds, self.calls, self.touches, self._poses = [], [], set(), {}
        self.threads = None
        self.names = {}  # (robot, OmniGibson's name): the tree's
        for arm, mount in zip(self.plan.arms, robot.mounts, strict=True):
            side = mount.side
            hand = [f"{side}_{joint}" for joint in robot.hand.joint_names]
            mine = [f"{side}_joint{i + 1}" for i in range(7)]
            links = [f"{side}_palm", *(self._link(joint) for joint in hand)]
            ours = [*mine, *hand, *links, f"{side}_link7"]
            theirs = [*arm.arm_joints, *arm.hand_joints, *arm.hand_links, arm.flange_link]
            pairs = zip(theirs, ours, strict=True)
            self.names |= {(arm.robot, other): own for other, own in pairs}
        self.hinges = {joint.name: joint for joint in self.tree.hinges}

    @staticmethod
    def _link(joint):
        for name, link in (("thumb_yaw", "thumb_base"), ("thumb_pitch", "thumb_metacarpal")):
            joint = joint.replace(name, link)
        return joint

    # --- the facade's interface

    def open(self, configs):
        self.calls.append(("open", len(configs)))
        for world in self.worlds:  # a restart puts every scene back to its beginning
            for name in world["joints"]:
                world["joints"][name] = np.zeros(len(world["joints"][name]))
        self.worlds += [self._scene(config) for config in configs]

    def _scene(self, config):
        names = {robot["name"] for robot in config["robots"]}
        arms = {n: [a for a in self.plan.arms if a.robot == n] for n in names}
        # Joints in an order of the stub's own, as an articulation has.
        order = {n: sorted(j for a in arms[n] for j in (*a.arm_joints, *a.hand_joints))
                 for n in names}  # fmt: skip
        bodies = {entry["name"]: self._body(entry) for entry in config["objects"]}
        zeros = {n: np.zeros(len(order[n])) for n in names}
        return {"order": order, "joints": zeros, "rates": {n: z.copy() for n, z in zeros.items()},
                "targets": {}, "bodies": bodies, "lamps": {}}  # fmt: skip

    @staticmethod
    def _body(entry):
        return np.concatenate([entry["position"], entry["orientation"], np.zeros(6)])

    def step(self):
        self.calls.append(("step",))
        for world in self.worlds:
            for name, target in world["targets"].items():
                world["joints"][name] = target.copy()
                world["rates"][name] = np.zeros(len(target))
            for body in world["bodies"].values():
                body[:3] += CONTROL_PERIOD * body[7:10]

    def render(self):
        self.calls.append(("render",))

    def refresh(self):
        self.calls.append(("refresh",))

    def register_dual_arm(self, usd_path, urdf_path):
        self.calls.append(("register", usd_path, urdf_path))

    def add(self, world, entry):
        self.calls.append(("add", world, entry["name"]))
        assert entry["name"] not in self.worlds[world]["bodies"]
        self.worlds[world]["bodies"][entry["name"]] = self._body(entry)

    def dump(self, world):
        scene = self.worlds[world]
        registry = {}
        for name, body in scene["bodies"].items():
            root = {"pos": body[:3], "ori": body[3:7], "lin_vel": body[7:10], "ang_vel": body[10:]}
            registry[name] = {"root_link": root}
        for name, joints in scene["joints"].items():
            registry[name] = {"joint_pos": joints, "joint_vel": scene["rates"][name],
                              "joint_eff": joints * 0, "controllers": {}}  # fmt: skip
        return {"object_registry": registry, "system_registry": {}}

    def load(self, world, state):
        self.calls.append(("load", world))
        scene = self.worlds[world]
        for name, entry in state["object_registry"].items():
            if "joint_pos" in entry:
                scene["joints"][name] = np.array(entry["joint_pos"], dtype=float)
                scene["rates"][name] = np.array(entry["joint_vel"], dtype=float)
            else:
                root = entry["root_link"]
                parts = [root[key] for key in ("pos", "ori", "lin_vel", "ang_vel")]
                scene["bodies"][name] = np.concatenate(parts).astype(float)

    def body(self, world, name):
        return self.worlds[world]["bodies"][name].copy()

    def body_path(self, world, name):
        return f"/World/scene_{world}/{name}/base_link"

    def set_light(self, world, name, color, intensity, position):
        self.worlds[world]["lamps"][name] = (tuple(color), intensity, tuple(position))

    def joint_names(self, world, name):
        return self.worlds[world]["order"][name]

    def joint_limits(self, world, name):
        lower, upper = [], []
        for joint in self.joint_names(world, name):
            mine = self.names[name, joint]
            hinge, hand = self.hinges[mine], "_joint" not in mine
            lower.append(0.0 if hand else hinge.lower)
            upper.append(NARROW * (hinge.upper - hinge.lower) if hand else hinge.upper)
        return np.array(lower), np.array(upper)

    def joint_state(self, world, name):
        scene = self.worlds[world]
        return scene["joints"][name].copy(), scene["rates"][name].copy()

    def set_gains(self, world, name, gains):
        self.calls.append(("gains", world, name, dict(gains)))

    def set_friction(self, world, name, links, friction, rule):
        self.calls.append(("friction", world, name, links, friction, rule))

    def link_pose(self, world, name, link_name):
        joints = self.worlds[world]["joints"]
        key = tuple(joints[robot].tobytes() for robot in sorted(joints))
        if self._poses.get("key") != key:
            angles = {
                self.names[robot, joint]: value
                for robot, order in self.worlds[world]["order"].items()
                for joint, value in zip(order, joints[robot], strict=True)
            }
            self._poses = {"key": key, **self.tree.link_poses(angles)}
        place, turn = self._poses[self.names[name, link_name]]
        return frames.to_scene(place), frames.to_xyzw(turn)

    def link_paths(self, world, name):
        return {link: f"/World/scene_{world}/{name}/{link}" for a in self.plan.arms
                for link in (*a.hand_links, *a.arm_links) if a.robot == name}  # fmt: skip

    def command(self, world, name, action):
        scene = self.worlds[world]
        joints = [j for a in self.plan.arms if a.robot == name
                  for j in (*a.arm_joints, *a.hand_joints)]  # fmt: skip
        target = np.zeros(len(joints))
        for joint, value in zip(joints, action, strict=True):
            target[scene["order"][name].index(joint)] = value
        scene["targets"][name] = target

    def impulses(self, rows, columns):
        out = np.zeros((len(rows), len(columns), 3))
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                hit = (row, column) in self.touches or (column, row) in self.touches
                out[i, j, 2] = 0.01 * hit
        return out

    def touching(self, world, name):
        mine = self.body_path(world, name)
        return {path for pair in self.touches if mine in pair for path in pair}

    def picture(self, world, name, height, width, fovy):
        self.calls.append(("picture", world, name, round(float(np.rad2deg(fovy)), 6)))
        return np.zeros((height, width, 3), np.uint8)

    def look(self, position, orientation):
        self.calls.append(("look", tuple(position), tuple(orientation)))

    def tensor(self, values):
        return np.asarray(values, dtype=np.float32)


def straight(robot):
    """Poses of a robot's links with all joints at zero."""
    return robot_tree(robot).link_poses({})


def apart(first, second):
    """Angle between two rotations [rad]."""
    return float(np.linalg.norm(tf.rotvec_from_quat(
        tf.quat_multiply(tf.quat_conjugate(first), second))))  # fmt: skip
