"""Trained policies in small files, which anyone can evaluate or watch without training.

A `.safetensors` file holds the matrices as 6-bit whole numbers with one scale per row, all other
tensors as they are, and the checkpoint's other entries as JSON: no code runs when it is read, and
it is a fifth of the checkpoint's size. Actions change by less than half a percent of their range,
a small part of what the policy differs from its data. torch and safetensors are imported when
called.
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
SCALE, WIDTH = "/scale", "/width"  # end the names of a matrix's scales and number of columns
LARGEST = 31  # of the whole numbers, which lie in -31 .. 31: six bits
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
    packed = [name.removesuffix(SCALE) for name in kept if name.endswith(SCALE)]
    aside = {name + end for name in packed for end in (SCALE, WIDTH)}
    for name in kept.keys() - aside:
        value = _unpack(name, kept) if name in packed else kept[name]
        _put(state, name.split("/"), value)
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
    """A large matrix as rows of bytes, scales and width, anything else as it is."""
    import torch

    value = value.detach().cpu()
    if value.ndim != 2 or value.numel() < SMALLEST or value.dtype != torch.float32:
        yield name, value.contiguous()
        return
    scale = value.abs().amax(1).clamp(min=1e-12) / LARGEST
    whole = (torch.round(value / scale[:, None]) + LARGEST).to(torch.int32)
    whole = torch.nn.functional.pad(whole, (0, -value.shape[1] % 4))
    a, b, c, d = whole.reshape(len(value), -1, 4).unbind(2)  # four numbers in three bytes
    three = [a << 2 | b >> 4, (b & 15) << 4 | c >> 2, (c & 3) << 6 | d]
    yield name, torch.stack(three, dim=2).to(torch.uint8).flatten(1)
    yield name + SCALE, scale
    yield name + WIDTH, torch.tensor(value.shape[1])


def _unpack(name: str, kept: Mapping[str, Any]) -> Any:
    """Turn what `_pack` made of a large matrix back into it."""
    import torch

    x, y, z = kept[name].to(torch.int32).reshape(len(kept[name]), -1, 3).unbind(2)
    four = [x >> 2, (x & 3) << 4 | y >> 4, (y & 15) << 2 | z >> 6, z & 63]
    whole = torch.stack(four, dim=2).flatten(1)[:, : int(kept[name + WIDTH])] - LARGEST
    return whole * kept[name + SCALE][:, None]


def _put(state: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        state = state[key]
    state[keys[-1]] = value
