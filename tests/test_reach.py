"""Every scene of every split of the two-armed tasks is within reach of both arms."""

import itertools

import numpy as np
import pytest

from dexfw_envs import transforms as tf
from dexfw_envs.catalog import curriculum, get_object, make_scenario, split_names
from dexfw_envs.catalog.curricula import iterations
from dexfw_envs.catalog.splits import combinations, split_combinations
from dexfw_envs.control import PoseCodec, Targets
from dexfw_envs.experts import handover, lift
from dexfw_envs.experts.motion import heading, palm_quaternion
from dexfw_envs.robots.dual_rm75_inspire import dual_rm75_inspire
from dexfw_envs.robots.kinematics import ArmKinematics

ROBOT = dual_rm75_inspire()
CODEC = PoseCodec(ROBOT)
NEAR, TURNED = 0.005, np.deg2rad(3.0)  # what counts as reached [m] and [rad]


def places(task):
    """Every object in every cell that any split or sampler may draw."""
    last = iterations(task)
    drawn = {(c[0], c[2]) for c in combinations(task, last)}
    for name in split_names(task):
        assert {(c[0], c[2]) for c in split_combinations(task, name)} <= drawn
    return sorted(drawn)


def corners(task):
    """Poses of each place at two opposite ends of its jitter, (object, position, quaternion)."""
    jitter = np.array(curriculum(task).jitter[:2])
    for (object_id, cell), sign in itertools.product(places(task), (-1.0, 1.0)):
        pose = np.array(make_scenario(task, object_id, "neutral", cell, 0).object_poses[0])
        pose[:2] = np.array(curriculum(task).cells[cell][:2]) + sign * jitter
        yield get_object(object_id), pose[:3], pose[3:]


def lift_palms():
    for item, centre, turn in corners("Lift"):
        yaw = heading(item.category, turn)
        roll, place, outward = lift._place(item, centre, turn, yaw)
        quaternion = palm_quaternion(np.array([yaw]), np.array([lift.PITCH]), np.array([roll]))[0]
        for position in (place + lift.GAP * outward, place, place + (0.0, 0.0, 0.18)):
            yield item.id, position, quaternion


def handover_palms():
    for item, centre, turn in corners("Handover"):
        grasp, aside, quaternion = handover._grips(item, centre, turn)
        there = np.array([*handover.EXCHANGE, centre[2] + handover.BRING_HEIGHT])
        met, beside, _ = handover._grips(item, there, turn)
        home = np.array(CODEC.centre[handover.LEFT])
        for right, left in ((aside, home), (grasp, home), (met, beside), (met, met)):
            left = left if left.ndim == 1 else left[handover.LEFT]
            yield item.id, np.stack([right[handover.RIGHT], left]), quaternion


@pytest.mark.parametrize("palms", [lift_palms, handover_palms])
def test_all_palm_poses_are_reached(palms):
    names, position, quaternion = (np.array(part) for part in zip(*palms(), strict=True))
    assert len(names) > 500
    hand = np.zeros((len(names), 2, 6))
    asked = CODEC.encode(Targets(position, quaternion, hand))
    asked = asked.reshape(-1, 2, 12)[..., :6]
    assert np.abs(asked).max() <= 1.0, "beyond what an action can ask for"
    for arm, mount in enumerate(ROBOT.mounts):
        kinematics = ArmKinematics(ROBOT, mount)
        q = np.repeat(np.array(mount.home)[None], len(names), axis=0)
        q = kinematics.inverse(q, position[:, arm], quaternion[:, arm], iterations=80)
        reached, turn = kinematics.forward(q)
        off = np.linalg.norm(reached - position[:, arm], axis=1)
        turned = tf.rotvec_from_quat(tf.quat_multiply(turn, tf.quat_conjugate(quaternion[:, arm])))
        angle = np.linalg.norm(turned, axis=1)
        missed = (off > NEAR) | (angle > TURNED)
        assert not missed.any(), (mount.side, missed.mean(), set(names[missed]), off.max())
