"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

    python tests/lowest.py core train data > constraints.txt

"core" stands for what the package always needs; every other word is an extra.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import tomllib

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
REQUIREMENT = re.compile(r"(?P<name>[\w-]+)>=(?P<lowest>[\d.]+),<[\d.]+(?P<marker>\s*;.*)?")


def lowest(extras: list[str], pyproject: Path = PYPROJECT) -> list[str]:
    """Return one line `name==version` for each requirement, its marker kept.

    Where two extras ask for the same package, the higher of their bounds counts.

    Raises:
        KeyError: There is no such extra.
        ValueError: A requirement is not of the form `name>=version,<version`.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    found: dict[tuple[str, str], str] = {}

    for requirement in (line for extra in extras for line in groups[extra]):
        match = REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ValueError(f"{requirement!r} has no lower and upper bound")

        key = (match["name"], match["marker"] or "")
        version = match["lowest"]
        found[key] = max(version, found.get(key, version), key=_numbers)

    return [f"{name}=={version}{marker}" for (name, marker), version in found.items()]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


if __name__ == "__main__":
    print("\n".join(lowest(sys.argv[1:])))
