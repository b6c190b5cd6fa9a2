"""LeRobot's own programs train on an export and evaluate here; `make test-lerobot` runs it."""

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from exports import fill

from dexfw_envs.demos.export import View, export
from dexfw_envs.demos.seeds import load_seed
from dexfw_envs.episodes.store import EpisodeStore
from dexfw_envs.evaluation.evaluator import evaluate

pytest.importorskip(
    "lerobot", reason="lerobot needs an environment of its own, run: make test-lerobot"
)
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "data.md"
BIN = Path(sys.executable).parent
RELEASE = tuple(int(number) for number in version("lerobot").split(".")[:2])
TASK = "DexFW/Grasp-v0"
SIDE = 64  # of pictures [px]
STEPS = 8  # of an episode
TINY_ACT = (
    "--policy.type=act", "--policy.device=cpu", "--policy.push_to_hub=false",
    "--policy.dim_model=32", "--policy.n_heads=2", "--policy.dim_feedforward=32",
    "--policy.n_encoder_layers=1", "--policy.n_vae_encoder_layers=1", "--policy.latent_dim=4",
    "--policy.chunk_size=6", "--policy.n_action_steps=3",
    "--policy.pretrained_backbone_weights=null",
)  # fmt: skip
TINY_DIFFUSION = (
    "--policy.type=diffusion", "--policy.device=cpu", "--policy.push_to_hub=false",
    "--policy.down_dims=[16,32]", "--policy.n_groups=4", "--policy.diffusion_step_embed_dim=16",
    "--policy.horizon=8", "--policy.n_action_steps=3", "--policy.num_inference_steps=4",
    "--policy.drop_n_last_frames=0",
)  # fmt: skip
TRAINING = (
    "--steps=2",
    "--batch_size=4",
    "--num_workers=0",
    "--save_freq=2",
    "--wandb.enable=false",
)


def program(name, *options):
    """Run one of LeRobot's programs to its end."""
    variables = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    run = subprocess.run(
        [str(BIN / name), *options], env=variables, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr[-3000:]


def documented(name, *options):
    """Run a program as docs/data.md calls it, with some of its options given otherwise."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [block] = [text for text in blocks if text.startswith(name)]
    command = dict.fromkeys(shlex.split(block.replace("\\\n", " "))[1:])
    given = {option.split("=")[0] for option in options}
    kept = [option for option in command if option.split("=")[0] not in given]
    program(name, *kept, *options)


def train(dataset, output, policy=TINY_ACT):
    """Train a tiny policy for two steps and return its folder."""
    source = (f"--dataset.root={dataset}", "--dataset.video_backend=pyav")
    documented("lerobot-train", *source, *policy, *TRAINING, f"--output_dir={output}")
    return output / "checkpoints" / "last" / "pretrained_model"


def lerobot_eval(policy, output, *options):
    """Evaluate a policy on three episodes and return what LeRobot found, and its films."""
    short = (f"--env.episode_length={STEPS}", "--eval.n_episodes=3", "--eval.batch_size=2")
    own = (f"--policy.path={policy}", "--policy.device=cpu", f"--output_dir={output}")
    documented("lerobot-eval", *short, *own, *options)
    found = json.loads((output / "eval_info.json").read_text())
    return found["overall"], sorted(output.rglob("*.mp4"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lerobot")


@pytest.fixture(scope="module")
def of_numbers(folder):
    """Return a policy that sees state, object and touch."""
    store = fill(folder / "store", pictures=False)
    export(store.folder, "lerobot", folder / "numbers", view=View(video=False))
    return train(folder / "numbers", folder / "act-numbers")


@pytest.fixture(scope="module")
def of_pictures(folder):
    """Return a policy that sees the camera's pictures, too."""
    store = EpisodeStore(folder / "seed", TASK, "ee_pose")
    store.add(load_seed("Grasp"), source="scripted", seed=0)
    export(store.folder, "lerobot", folder / "pictures", view=View(image_size=SIDE))
    return train(folder / "pictures", folder / "act-pictures")


# --- lerobot-eval


def test_lerobot_evaluates_on_a_task(of_numbers, tmp_path):
    found, films = lerobot_eval(of_numbers, tmp_path)
    assert (found["n_episodes"], found["pc_success"]) == (3, 0.0)
    assert np.isfinite(found["avg_sum_reward"]) and found["avg_sum_reward"] > 0
    assert len(films) >= 3


@pytest.mark.skipif(RELEASE < (0, 6), reason="LeRobot 0.4.4 looks for its envs in this process")
def test_lerobot_evaluates_in_processes_of_its_own(of_numbers, tmp_path):
    found, _ = lerobot_eval(of_numbers, tmp_path, "--eval.use_async_envs=true")
    assert (found["n_episodes"], found["pc_success"]) == (3, 0.0)


def test_lerobot_evaluates_a_policy_that_sees_pictures(of_pictures, tmp_path):
    mode = "image+touch" if "observation.touch" in inputs(of_pictures) else "image"
    options = (f"--env.obs_mode={mode}", f"--env.image_size={SIDE}")
    found, films = lerobot_eval(of_pictures, tmp_path, *options)
    assert (found["n_episodes"], found["pc_success"]) == (3, 0.0)
    assert len(films) >= 3


def inputs(policy):
    return json.loads((policy / "config.json").read_text())["input_features"]


# --- names


@pytest.mark.parametrize("task", ["Grasp", "Handover"])
def test_a_live_env_is_named_as_an_export(task, folder):
    """What LeRobot makes of an observation has the names and shapes of an export's features."""
    from lerobot.envs.factory import make_env
    from lerobot.envs.utils import preprocess_observation

    from dexfw_envs.integrations.lerobot import DexFWEnv

    item = load_seed(task)
    store = EpisodeStore(folder / f"seed-{task}", item.env_id, "ee_pose")
    store.add(item, source="scripted", seed=0)
    target = folder / f"named-{task}"
    export(store.folder, "lerobot", target, view=View(image_size=SIDE))
    features = json.loads((target / "meta" / "info.json").read_text())["features"]
    exported = {
        name: tuple(value["shape"])
        for name, value in features.items()
        if name.startswith("observation.")
    }

    config = DexFWEnv(task=task, obs_mode="image+touch", image_size=SIDE)
    [vector] = make_env(config, n_envs=2)["dexfw"].values()
    observation, _ = vector.reset(seed=[0, 1])
    shown = {}
    for name, value in preprocess_observation(observation).items():
        shape = tuple(value.shape[1:])
        shown[name] = (*shape[1:], shape[0]) if len(shape) == 3 else shape
    if RELEASE < (0, 6):
        exported.pop("observation.touch", None)  # it passes on no names beside its own
    assert exported.items() <= shown.items()
    assert set(config.features_map.values()) >= {*exported, "action"}
    assert re.search(r"hand|pick", vector.call("task_description")[0])
    vector.close()


# --- here


def test_a_policy_trained_there_acts_here(of_numbers):
    """Every world has its own past: the episodes do not depend on the number of worlds."""
    from dexfw_envs.integrations.lerobot import LeRobotPolicy

    policy = LeRobotPolicy(of_numbers)
    assert policy.env_options == {"obs_mode": "state+touch"}
    options = {**policy.env_options, "max_episode_steps": STEPS}
    common = {"split": "T_VAL", "episodes": 3, "env_options": options}
    alone = evaluate(policy, TASK, num_envs=1, **common)
    together = evaluate(LeRobotPolicy(of_numbers), TASK, num_envs=2, **common)
    for one, other in zip(alone, together, strict=True):
        assert (one["success"], one["length"]) == (False, STEPS)
        assert one["jerk"] > 0
        np.testing.assert_allclose(one["jerk"], other["jerk"], rtol=1e-5)


def test_a_policy_that_remembers_observations_acts_here(of_numbers, folder):
    """A diffusion policy sees the two last observations of its own world."""
    from dexfw_envs.integrations.lerobot import LeRobotPolicy

    policy = LeRobotPolicy(train(folder / "numbers", folder / "diffusion", TINY_DIFFUSION))
    options = {**policy.env_options, "max_episode_steps": STEPS}
    records = evaluate(policy, TASK, split="T_VAL", episodes=3, num_envs=2, env_options=options)
    assert [record["length"] for record in records] == [STEPS] * 3
    remembered = [world._queues["observation.state"] for world in policy.worlds]
    assert not (remembered[0][-1] == remembered[1][-1]).all()


def test_a_policy_that_sees_pictures_acts_here(of_pictures):
    from dexfw_envs.integrations.lerobot import LeRobotPolicy

    policy = LeRobotPolicy(of_pictures)
    assert policy.env_options["camera"] == "front"
    assert policy.env_options["image_size"] == SIDE
    options = {**policy.env_options, "max_episode_steps": STEPS}
    [record] = evaluate(policy, TASK, split="T_VAL", episodes=1, num_envs=1, env_options=options)
    assert record["length"] == STEPS


def test_a_folder_that_is_not_there_is_named(tmp_path):
    from dexfw_envs.integrations.lerobot import LeRobotPolicy

    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        LeRobotPolicy(tmp_path / "nowhere")
