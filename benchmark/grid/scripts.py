"""Importing a training script as a module, for what measures or films its policies."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from benchmark.protocol import ROOT


def load_script(method: str, root: Path = ROOT) -> ModuleType:
    """Import `baselines/<method>.py` of a clone; its dataclasses need it among the modules.

    Raises:
        FileNotFoundError: There is no such script.
    """
    path = root / "baselines" / f"{method}.py"
    spec = importlib.util.spec_from_file_location(method, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[method] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
