"""Size of a residual and what it does to the joints: `benchmark.kept.residuals`."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch, which this environment lacks")

from benchmark.kept import residuals
from dexfw_envs.episodes.episode import Episode
from dexfw_envs.files import atomic_write_bytes, atomic_write_json
from dexfw_envs.runs.checkpoints import dump
from dexfw_envs.runs.folder import RunFolder

SCRIPT = """
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch

import dexfw_envs
from dexfw_envs.runs.settings import ScriptArgs


@dataclass(frozen=True)
class Args(ScriptArgs):
    task: str = "Grasp"
    threads: int = 2


class Policy:
    def __init__(self, change):
        self.change = change

    def reset(self, mask):
        pass

    def base_action(self, observation):
        return torch.full((len(observation["object"]), 12), 0.5)

    def act(self, observation):
        return self.base_action(observation).numpy() + np.float32(self.change)


def open_policy(state, args, name):
    env = gymnasium.make_vec(
        "DexFW/Grasp-v0", num_envs=8, autoreset_mode="disabled", max_episode_steps=4,
        threads=args.threads,
    ).unwrapped
    return Policy(0.25 if name == "combined" else 0.0), env
"""


def episode(joints: np.ndarray) -> Episode:
    """An episode of one arm whose first proprioception is `joints`, (steps, 7)."""
    proprio = np.zeros((len(joints), 69))
    proprio[:, :7] = joints
    proprio[:, 7:] = 9.0 * len(joints)  # fingers, velocities: not to be counted
    fields = dict.fromkeys(Episode.__dataclass_fields__)
    return Episode(**{**fields, "observations": {"proprio": proprio}})


def test_joints_differ_by_their_mean_until_the_shorter_episode_ends():
    first, second = np.zeros((5, 7)), np.full((3, 7), 0.2)
    second[:, 0] = 0.9
    expected = (6 * 0.2 + 0.9) / 7
    assert residuals.joint_difference(episode(first), episode(second)) == pytest.approx(expected)


def test_both_arms_count():
    proprio = np.zeros((2, 138))
    proprio[:, 19:26] = 1.0
    assert residuals._arm_joints(proprio).mean() == 0.5


@pytest.mark.parametrize("task", ["Grasp", "Pour", "Lift", "Handover"])
def test_thirds_share_the_objects_from_light_to_heavy(task):
    found = residuals.object_groups(task)
    thirds = [found[name] for name in residuals.MASS_THIRDS]
    names = [name for third in thirds for name in third]
    assert len(names) == len(set(names)) == sum(map(len, found.values())) / 2
    masses = [residuals.get_object(name).mass for name in names]
    assert masses == sorted(masses)


def test_a_group_needs_all_its_objects():
    found = residuals.object_groups("Grasp")
    light = {name: [1.0, 3.0] for name in found["light third"]}
    made = residuals.mean_differences(light, "Grasp")
    assert made["light third"] == 2.0 and "heavy third" not in made


def test_a_finished_run_is_measured_once(tmp_path, monkeypatch):
    monkeypatch.setattr(residuals, "EPISODES", 1)
    atomic_write_bytes(tmp_path / "baselines" / "some_method.py", SCRIPT.encode())
    atomic_write_json(tmp_path / "run" / "config.json", {"config": {}, "provenance": {}})
    run = RunFolder.open(tmp_path / "run")
    state = {
        "method": "some_method",
        "args": {"task": "Grasp", "threads": 1},
        "residual": {"w": torch.ones(1)},
    }
    atomic_write_bytes(run.path / "checkpoints" / "policy_2.pt", dump(state))
    atomic_write_bytes(run.path / "checkpoints" / "policy_3.pt", dump({**state, "residual": None}))
    assert residuals.measure_run(run, tmp_path) == [run.path / "residual_2.json"]
    found = json.loads((run.path / "residual_2.json").read_text())
    assert found["n"] == 22 and found["residual_ratio"] == pytest.approx(50.0)
    assert set(found["joint_difference"]) > {
        "heavy third",
        *residuals.object_groups("Grasp")["ball"],
    }
    assert residuals.measure_run(run, tmp_path) == []
