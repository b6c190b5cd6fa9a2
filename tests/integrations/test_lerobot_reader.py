"""LeRobot's own reader on what the export writes; `make test-lerobot` runs it."""

import numpy as np
import pytest
from exports import fill, stored

from dexfw_envs.demos.export import export
from dexfw_envs.demos.export.lerobot import instruction

pytest.importorskip(
    "lerobot", reason="lerobot needs an environment of its own, run: make test-lerobot"
)
KEY = "observation.images.front"


def test_the_real_reader(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))  # read when its libraries are imported
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    store = fill(tmp_path / "store")
    export(store.folder, "lerobot", tmp_path / "out", failures=True)
    wanted = {"action": [0.0, 0.05], KEY: [-0.05, 0.0]}
    options = {"root": tmp_path / "out", "video_backend": "pyav"}
    dataset = LeRobotDataset("dexfw/export", delta_timestamps=wanted, **options)
    episodes = stored(store, failures=True)
    assert (dataset.num_episodes, dataset.fps) == (5, 20)
    assert len(dataset) == sum(episode.length for episode in episodes)
    frame = 0
    for number, episode in enumerate(episodes):
        levels = episode.observations["image"][:, 0, 0, 0]
        for step in range(episode.length):
            item = dataset[frame]
            assert (int(item["episode_index"]), int(item["frame_index"])) == (number, step)
            assert item["task"] == instruction(episode.scenario)
            seen, after = episode.observations, min(step + 1, episode.length - 1)
            np.testing.assert_array_equal(item["observation.state"], seen["proprio"][step])
            np.testing.assert_array_equal(item["observation.touch"], seen["touch"][step])
            np.testing.assert_array_equal(item["action"], episode.actions[[step, after]])
            assert float(item["next.reward"]) == pytest.approx(episode.rewards[step])
            found = 255 * item[KEY].mean(dim=(1, 2, 3))
            expected = levels[[max(step - 1, 0), step]].astype(float)
            np.testing.assert_allclose(found, expected, atol=3)
            frame += 1
    assert dataset.meta.stats["action"]["mean"].shape == (12,)
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=4)))
    assert batch["action"].shape == (4, 2, 12) and batch[KEY].shape == (4, 2, 3, 34, 36)
