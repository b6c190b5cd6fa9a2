"""Looking things up by name, with an error that names the valid choices."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


def find(table: Mapping[str, Value], key: str, what: str) -> Value:
    """The entry of a table.

    Args:
        table: What there is, by name.
        key: The name asked for.
        what: What the entries are called in the error, such as ``"object"``.

    Raises:
        ValueError: If there is none of this name.
    """
    if isinstance(key, str) and key in table:
        return table[key]
    near = difflib.get_close_matches(str(key), table, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"unknown {what} {key!r}{hint}; valid: {', '.join(table)}")
