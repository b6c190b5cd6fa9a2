"""A policy trained by LeRobot, as the evaluator here runs policies.

policy = LeRobotPolicy("outputs/train/act/checkpoints/last/pretrained_model")
records = evaluate(policy, "DexFW/Grasp-v0", split="T_VAL", env_options=policy.env_options)
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors

from dexfw_envs.demos.export.lerobot import feature_name
from dexfw_envs.envs.observe import OBS_MODES
from dexfw_envs.episodes.episode import Observation

if TYPE_CHECKING:
    import torch

_PICTURES = "observation.images."  # begins the name of every camera's pictures
_LEVELS = 255  # of a byte; LeRobot's pictures run from 0 to 1


class LeRobotPolicy:
    """A trained policy with what it keeps of the past for every world; see `rollout.Policy`.

    LeRobot's policies keep one queue for a whole batch, whose episodes begin together; here every
    world begins when its last episode ended. So every world has a copy of the policy that shares
    the weights, and is asked alone.

    Args:
        path: Folder of the policy, as LeRobot's training writes it (`pretrained_model`).
        device: Where it runs, such as "cpu" or "cuda".
        task: Instruction in words, for policies that read one.

    Attributes:
        env_options: What `evaluate` must be told, so that the env shows what the policy has learned
            from; `control_mode` is to be added where it was not "ee_pose".

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The policy looks at what no env shows.
    """

    def __init__(self, path: str | Path, device: str = "cpu", task: str = "") -> None:
        if not Path(path).is_dir():
            raise FileNotFoundError(f"no folder {path}; name a checkpoint's pretrained_model")
        config = PreTrainedConfig.from_pretrained(str(path))
        config.device = device
        self.task = task
        self.policy = get_policy_class(config.type).from_pretrained(str(path), config=config)
        self.policy.eval()
        self.preprocess, self.postprocess = make_pre_post_processors(
            policy_cfg=config,
            pretrained_path=str(path),
            preprocessor_overrides={"device_processor": {"device": device}},
        )
        self.wanted = tuple(config.input_features)
        self.env_options = _env_options(config.input_features)
        self.worlds: list[Any] = []

    def reset(self, mask: np.ndarray) -> None:
        """Forget the past of the worlds in `mask`, (N,) bool."""
        while len(self.worlds) < len(mask):
            self.worlds.append(_sharing_weights(self.policy))
        for world in np.flatnonzero(mask):
            self.worlds[world].reset()

    def act(self, observation: Observation) -> np.ndarray:
        """Return the actions, (N, action), for observations of shape (N, ...)."""
        named = self._named(observation)
        count = len(next(iter(observation.values())))
        actions = [self._act_in(world, named) for world in range(count)]
        return np.stack(actions)

    def _named(self, observation: Observation) -> dict[str, torch.Tensor]:
        """Return the observations under LeRobot's names, as tensors (N, ...)."""
        import torch

        batch = {}
        for group, values in observation.items():
            if group != "image":
                batch[feature_name(group)] = torch.from_numpy(values)
        for name in self.wanted:
            if name.startswith(_PICTURES):
                pictures = torch.from_numpy(observation["image"]).permute(0, 3, 1, 2)
                batch[name] = pictures.float() / _LEVELS
        return {name: batch[name] for name in self.wanted}

    def _act_in(self, world: int, named: dict[str, torch.Tensor]) -> np.ndarray:
        import torch

        batch: dict[str, Any] = {name: values[world : world + 1] for name, values in named.items()}
        batch["task"] = [self.task]
        with torch.inference_mode():
            action = self.worlds[world].select_action(self.preprocess(batch))
            return self.postprocess(action)[0].cpu().numpy()


def _sharing_weights(policy: torch.nn.Module) -> Any:
    """Copy a policy with all that it remembers, but not its parameters and buffers."""
    shared = [*policy.parameters(), *policy.buffers()]
    return copy.deepcopy(policy, {id(tensor): tensor for tensor in shared})


def _env_options(features: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an env that shows what a policy looks at.

    Args:
        features: The policy's inputs, by LeRobot's names.

    Raises:
        ValueError: No env shows them, or they are the pictures of several cameras.
    """
    pictures = [name for name in features if name.startswith(_PICTURES)]
    if len(pictures) > 1:
        raise ValueError(f"the policy looks through {len(pictures)} cameras, an env has one")

    numbers = set(features) - set(pictures)
    modes = [mode for mode in OBS_MODES if _shows(mode, numbers, bool(pictures))]
    if not modes:
        raise ValueError(f"no env shows what the policy looks at: {sorted(features)}")
    if not pictures:
        return {"obs_mode": modes[0]}
    return {
        "obs_mode": modes[0],
        "camera": pictures[0].removeprefix(_PICTURES),
        "image_size": features[pictures[0]].shape[-1],
    }


def _shows(mode: str, numbers: set[str], pictures: bool) -> bool:
    """Tell whether an observation mode shows these arrays, and pictures just if they are wanted."""
    groups = set(OBS_MODES[mode])
    shown = {feature_name(group) for group in groups - {"image"}}
    return numbers <= shown and ("image" in groups) == pictures
