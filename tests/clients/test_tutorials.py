"""The blocks of the tutorials that import another project's library run as they are written."""

import pytest
from tutorial_blocks import blocks_of, link_root, run_block

pytest.importorskip("stable_baselines3", reason="run make test-clients")


def test_training_with_stable_baselines3(tmp_path):
    link_root(tmp_path)
    (block,) = [
        (language, text)
        for language, text in blocks_of("train_with_sb3_or_cleanrl")
        if "from stable_baselines3 import" in text
    ]
    assert "saved" in run_block(*block, tmp_path)
    assert (tmp_path / "runs" / "sac-grasp.zip").is_file()
