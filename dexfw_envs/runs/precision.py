"""Precision of training: which one a device computes in by itself, and how older runs named it.

bfloat16 halves the time of a training step where the processor has instructions for it, and takes
ten times as long where it has none and every product is emulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Precision = Literal["auto", "fp32", "bf16"]

#: Of the cells of the benchmark and of the records of a method itself: every processor has it.
COMPARED: Precision = "fp32"

# Instructions for products of bfloat16 numbers, as torch names them.
_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


def native_precision(device: str) -> Precision:
    """Return "bf16" if a device has instructions for it, else "fp32".

    The processor is asked, not timed: on a busy machine a measurement of some milliseconds can turn
    out either way, and the same command would then give other results.

    Args:
        device: A torch device such as "cpu" or "cuda:0".
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = kind == "cpu" and _processor_has_bf16()
    return "bf16" if native else "fp32"


def _processor_has_bf16() -> bool:
    """Ask torch for the processor's instructions; a torch that cannot tell them says no.

    `ATEN_CPU_CAPABILITY=avx2` makes torch behave as on a processor without AVX-512.
    """
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _INSTRUCTIONS)


def with_precision(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings with `precision`, which was a switch `bf16` before."""
    renamed = dict(settings)
    if "bf16" in renamed:
        renamed["precision"] = "bf16" if renamed.pop("bf16") else "fp32"
    return renamed
