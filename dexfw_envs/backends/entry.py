"""What a backend states of itself, before anything of it is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dexfw_envs.backends.base import Capabilities


class MissingRequirementError(RuntimeError):
    """Something that a backend needs is not there; the message says what to install."""


@dataclass(frozen=True)
class BackendEntry:
    """The `ENTRY` in the `__init__.py` of a backend's folder.

    Attributes:
        make: "module:attribute" of the class or function that builds worlds. It is called with
            the `SceneNeeds`, the number of worlds and the options; see `base.Backend`.
        options: Names of the options that it takes.
        capabilities: What it can do.
        perturbations: Those of its options that a robustness test multiplies ("timestep",
            "friction_scale"), each with its usual value.
        requirements: "module:function" that raises `MissingRequirementError` unless all that the
            backend needs is installed; it starts and imports nothing. "" where nothing can lack.
    """

    make: str
    options: tuple[str, ...]
    capabilities: Capabilities
    perturbations: Mapping[str, float] = field(default_factory=dict)
    requirements: str = ""
