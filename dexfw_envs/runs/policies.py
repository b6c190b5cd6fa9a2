"""Trained policies in small files, which anyone can evaluate or watch without training.

A `.safetensors` file holds the matrices as whole numbers up to 1023 with one scale per row, Huffman
coded; all other tensors as they are, and the checkpoint's other entries as JSON. No code runs when
it is read, and it is two fifths of the checkpoint's size. Rounding this fine changed 3 of 200
outcomes of a policy of Pour, up to 31 it changed 10. torch and safetensors are imported when
called.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dexfw_envs.files import atomic_write_bytes
from dexfw_envs.runs.checkpoints import load_file

SUFFIX = ".safetensors"
ENTRIES = "dexfw_policy"  # key of checksum and JSON in the file's metadata
SCALE, SHAPE = "/scale", "/shape"  # end the names of what belongs to a matrix
LARGEST = 1023  # of the whole numbers, which lie in -1023 .. 1023; older files have up to 31
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
    entries = json.dumps(rest, sort_keys=True)
    sealed = f"{_checksum(packed, entries)} {entries}"
    atomic_write_bytes(path, save(packed, {ENTRIES: sealed}))


def read_policy(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint `*.pt`, or a policy file `*.safetensors`; runs no code from them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or no policy; the message names it.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        return load_file(path)
    if not path.is_file():
        raise FileNotFoundError(f"no policy file {path}")
    try:
        return _read(path)
    except Exception as error:  # of whatever kind: damaged bytes may mean anything
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is no policy, or a damaged one: {reason}") from error


def _read(path: Path) -> dict[str, Any]:
    """Read a policy file; a damaged one may raise anything."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        entries = (file.metadata() or {})[ENTRIES]
    if not entries.startswith("{"):  # older files have no checksum
        written, _, entries = entries.partition(" ")
        if written != _checksum(tensors, entries):
            raise ValueError("its content has another checksum")
    state: dict[str, Any] = json.loads(entries)
    for name, value in _unpacked(tensors).items():
        _put(state, name.split("/"), value)
    return state


def _checksum(tensors: Mapping[str, Any], entries: str) -> str:
    """Return the SHA-256 of tensors, with their names, types and shapes, and of the rest."""
    import torch

    digest = hashlib.sha256(entries.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _split(state: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tensors by path, and the rest without them."""
    import torch

    tensors: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            tensors[prefix + key] = value
        elif isinstance(value, Mapping):
            inner, rest[key] = _split(value, f"{prefix}{key}/")
            tensors |= inner
        else:
            rest[key] = value
    return tensors, rest


def _pack(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A large matrix as coded bytes, scales and shape, anything else as it is."""
    import torch

    value = value.detach().cpu()
    if value.ndim != 2 or value.numel() < SMALLEST or value.dtype != torch.float32:
        yield name, value.contiguous()
        return
    scale = value.abs().amax(1).clamp(min=1e-12) / LARGEST
    whole = torch.round(value / scale[:, None]).to(torch.int16)
    coder = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)  # nothing in them repeats
    coded = coder.compress(whole.numpy().tobytes()) + coder.flush()
    yield name, torch.frombuffer(bytearray(coded), dtype=torch.uint8)
    yield name + SCALE, scale
    yield name + SHAPE, torch.tensor(value.shape)


def _unpacked(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """All tensors of a file as they were."""
    packed = {name.removesuffix(SCALE) for name in tensors if name.endswith(SCALE)}
    aside = {name + end for name in packed for end in (SCALE, SHAPE)}
    whole = [name for name in tensors if name not in aside]
    return {name: _unpack(name, tensors) if name in packed else tensors[name] for name in whole}


def _unpack(name: str, tensors: Mapping[str, Any]) -> Any:
    """Turn what `_pack` made of a large matrix back into it.

    Raises:
        zlib.error: The bytes are damaged.
        RuntimeError: They are not as many as the shape says.
    """
    import torch

    plain = bytearray(zlib.decompress(tensors[name].numpy().tobytes()))
    shape = tensors[name + SHAPE].tolist()
    kind = torch.int8 if len(plain) == math.prod(shape) else torch.int16  # older files have bytes
    whole = torch.frombuffer(plain, dtype=kind).reshape(shape)
    return whole * tensors[name + SCALE][:, None]


def _put(state: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        state = state[key]
    state[keys[-1]] = value
