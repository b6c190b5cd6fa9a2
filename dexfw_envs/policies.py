"""Trained policies in small files, which anyone can evaluate or watch without training.

A `.safetensors` file holds the matrices as 8-bit whole numbers with one scale per row, all other
tensors as they are, and the checkpoint's other entries as JSON: no code runs when it is read, and
it is a quarter of the checkpoint's size. torch and safetensors are imported when called.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dexfw_envs.progress import load
from dexfw_envs.runs import atomic_write_bytes

SUFFIX = ".safetensors"
ENTRIES = "dexfw_policy"  # key of the JSON in the file's metadata
SCALE = "/scale"  # ends the name of the scales of a matrix
SMALLEST = 4096  # numbers; smaller tensors are not worth the loss


def write_policy(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint as a small policy file.

    Args:
        path: Ends in `.safetensors`.
        state: Nested dicts with strings as keys; tensors, and what JSON can hold.

    Raises:
        ValueError: The name ends otherwise.
        TypeError: An entry is neither a tensor nor something for JSON.
    """
    from safetensors.torch import save

    if Path(path).suffix != SUFFIX:
        raise ValueError(f"a policy file ends in {SUFFIX}, got {path}")
    tensors, rest = _split(state)
    packed = {name: part for key, value in tensors.items() for name, part in _pack(key, value)}
    atomic_write_bytes(path, save(packed, {ENTRIES: json.dumps(rest, sort_keys=True)}))


def read_policy(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint `*.pt`, or a policy file `*.safetensors`; runs no code from them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or no policy.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        return load(path.read_bytes())
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            state = json.loads((file.metadata() or {})[ENTRIES])
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no policy, or a damaged one: {error}") from error
    for name, value in kept.items():
        if not name.endswith(SCALE):
            scale = kept.get(name + SCALE)
            _put(state, name.split("/"), value if scale is None else value * scale[:, None])
    return state


def _split(state: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tensors by path, and the rest without them."""
    import torch

    tensors: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            tensors[prefix + key] = value
        elif isinstance(value, Mapping):
            found, rest[key] = _split(value, f"{prefix}{key}/")
            tensors |= found
        else:
            rest[key] = value
    return tensors, rest


def _pack(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A large matrix as 8-bit rows and their scales, anything else as it is."""
    import torch

    value = value.detach().cpu()
    if value.ndim != 2 or value.numel() < SMALLEST or value.dtype != torch.float32:
        yield name, value.contiguous()
        return
    scale = value.abs().amax(1).clamp(min=1e-12) / 127
    yield name, torch.round(value / scale[:, None]).to(torch.int8)
    yield name + SCALE, scale


def _put(state: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        state = state[key]
    state[keys[-1]] = value
