"""The blocks of the tutorials run as they are written and in their order, as from the root.

Blocks that import a library of others, such as Stable-Baselines3, run in `make test-clients`.
"""

import re

import pytest
from tutorial_blocks import PAGES, blocks_of, link_root, run_block

CLIENTS = ("stable_baselines3",)
WITH_TORCH = ("own_demonstration", "own_method_script", "train_with_sb3_or_cleanrl")
EXPECTED = {
    "adding_a_backend": r"'object': \(\d+,\).*[1-9]\d* passed",
    "own_demonstration": r"recorded \d+ steps, success True.*edited into [1-8] of 8.*T_VAL",
    "own_method_script": r"[1-9]\d* demonstrations.*success on T_VAL \d\.\d\d.*object",
    "own_object": r"\('my_mug',\)",
    "own_robot": r"the iiwa grasps in [1-9]\d* of 16 scenes.*wrote iiwa.urdf",
    "own_task": r"gentle.*\(4, 13\).*pushed 0\.[1-9]",
    "train_with_sb3_or_cleanrl": r"\(82,\).*global_step=\d+, episodic_return.*success 0\.",
}


def test_every_tutorial_is_run():
    assert {path.stem for path in PAGES.glob("*.md")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_tutorial(name, tmp_path):
    if name in WITH_TORCH:
        pytest.importorskip("torch", reason="the page trains a policy: it needs the extra train")
    link_root(tmp_path)
    printed = [
        run_block(language, text, tmp_path)
        for language, text in blocks_of(name)
        if not any(f"from {client} import" in text for client in CLIENTS)
    ]
    assert re.search(EXPECTED[name], "".join(printed), re.DOTALL), "".join(printed)
