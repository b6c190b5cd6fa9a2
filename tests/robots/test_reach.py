"""Every scene of every split is within reach of the arms, at both ends of its jitter.

The cells of Grasp, whose expert tilts the palm as each object allows, are in `test_control.py`.
"""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from dexfw_envs import transforms as tf
from dexfw_envs.catalog import curriculum, get_object, make_scenario, split_names
from dexfw_envs.catalog.curricula import iterations
from dexfw_envs.catalog.splits import combinations, split_combinations
from dexfw_envs.control.codec import PoseCodec, Targets
from dexfw_envs.experts import handover, lift, pour
from dexfw_envs.experts.motion import heading, palm_quaternion
from dexfw_envs.registry import TASKS, entry
from dexfw_envs.robots.kinematics import ArmKinematics

NEAR, TURNED = 0.005, np.deg2rad(3.0)  # what counts as reached [m] and [rad]


def places(task):
    """Every object in every cell that any split or sampler may draw."""
    last = iterations(task)
    drawn = {(c[0], c[2]) for c in combinations(task, last)}
    for name in split_names(task):
        assert {(c[0], c[2]) for c in split_combinations(task, name)} <= drawn
    return sorted(drawn)


def corners(task):
    """Scenes and their poses (O, 7) at opposite ends of the jitter of each place and turn."""
    table = curriculum(task)
    ends = itertools.product(places(task), (-1.0, 1.0), (-1.0, 1.0))
    for (object_id, cell), sign, turn in ends:
        scenario = make_scenario(task, object_id, "neutral", cell, 0)
        poses = np.array(scenario.object_poses)
        x, y, yaw = np.array(table.cells[cell]) + np.array((sign, sign, turn)) * table.jitter
        poses[0, :2] = x, y
        rest = get_object(object_id).resting_quaternion
        poses[0, 3:] = tf.quat_multiply(tf.quat_from_yaw(np.deg2rad(yaw)), np.array(rest))
        for side in (-1.0, 1.0) if table.receivers else ():
            beside = side * sign * np.array(table.receiver_cell[2:])
            poses[1, :2] = np.array(table.receiver_cell[:2]) + beside
            yield scenario, poses.copy()
        if not table.receivers:
            yield scenario, poses


def seen_by_expert():
    """The expert of Pour in worlds that only say where things are, one scene each, and these."""
    scenes, poses = zip(*corners("Pour"), strict=True)
    poses, items = np.array(poses), [[get_object(name) for name in s.objects] for s in scenes]
    world = SimpleNamespace(
        object_position=poses[..., :3],
        object_quaternion=poses[..., 3:],
        object_opening=np.array([[item.opening for item in row] for row in items]),
    )
    env = SimpleNamespace(task=entry("Pour").make(), num_envs=len(scenes), world=world)
    return pour.PourExpert(env), items


def pour_palms():
    """Behind the cup, at it, above it, and over the bowl at every tilt of the pour."""
    expert, items = seen_by_expert()
    expert._stand[:] = [[item.resting_height for item in row] for row in items]
    there, fingers = expert._grasp_position()
    world, upright = expert.env.world, np.tile(expert._upright, (len(there), 1))
    world.end_effector_position, world.end_effector_quaternion = there[:, None], upright[:, None]
    up = (0.0, 0.0, pour.RISE)
    way = [(there - pour.RETREAT * fingers, upright), (there, upright), (there + up, upright)]
    for tilt in np.linspace(0.0, pour.POUR_TILT, 3):
        turn = tf.quat_multiply(tf.quat_from_rotvec(np.array([-tilt, 0.0, 0.0])), upright)
        expert._tilt[:], expert.motion.quaternion[:, 0] = tilt, turn
        way.append((expert._carry_position(), turn))
    for position, turn in way:
        for row, place, quaternion in zip(items, position, turn, strict=True):
            yield row[0].id, place[None], quaternion[None]


def lift_palms():
    for scenario, poses in corners("Lift"):
        item, centre, turn = get_object(scenario.objects[0]), poses[0, :3], poses[0, 3:]
        yaw = heading(item.category, turn)
        roll, place, outward = lift._faces_of(item, centre, turn, yaw)
        quaternion = palm_quaternion(np.array([yaw]), np.array([lift.PITCH]), np.array([roll]))[0]
        for position in (place + lift.GAP * outward, place, place + (0.0, 0.0, 0.18)):
            yield item.id, position, quaternion


def handover_palms():
    home = np.array(PoseCodec(entry("Handover").make().needs.robot).centre[handover.LEFT])
    for scenario, poses in corners("Handover"):
        item, centre, turn = get_object(scenario.objects[0]), poses[0, :3], poses[0, 3:]
        there = np.array([*handover.EXCHANGE, centre[2] + handover.BRING_HEIGHT])
        grasped, aside, quaternion = handover._grips(item, centre, turn)
        met, beside, _ = handover._grips(item, there, turn)
        for right, left in ((aside, home), (grasped, home), (met, beside), (met, met)):
            left = left if left.ndim == 1 else left[handover.LEFT]
            yield item.id, np.stack([right[handover.RIGHT], left]), quaternion


PALMS = {"Pour": pour_palms, "Lift": lift_palms, "Handover": handover_palms}


def test_no_task_is_left_out():
    assert {"Grasp", *PALMS} == {item.name for item in TASKS}


@pytest.mark.parametrize("task", PALMS)
def test_all_palm_poses_are_reached(task):
    robot = entry(task).make().needs.robot
    codec = PoseCodec(robot)
    names, position, quaternion = (np.array(part) for part in zip(*PALMS[task](), strict=True))
    assert len(names) > 500
    hand = np.zeros((len(names), robot.arms, 6))
    asked = codec.encode(Targets(position, quaternion, hand))
    asked = asked.reshape(-1, robot.arms, 12)[..., :6]
    assert np.abs(asked).max() <= 1.0, "beyond what an action can ask for"
    for arm, mount in enumerate(robot.mounts):
        kinematics = ArmKinematics(robot, mount)
        q = np.repeat(np.array(mount.home)[None], len(names), axis=0)
        q = kinematics.inverse(q, position[:, arm], quaternion[:, arm], iterations=50)
        reached, turn = kinematics.forward(q)
        off = np.linalg.norm(reached - position[:, arm], axis=1)
        turned = tf.rotvec_from_quat(tf.quat_multiply(turn, tf.quat_conjugate(quaternion[:, arm])))
        angle = np.linalg.norm(turned, axis=1)
        missed = (off > NEAR) | (angle > TURNED)
        assert not missed.any(), (mount.side, missed.mean(), set(names[missed]), off.max())
