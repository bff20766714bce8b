"""Parameters through JSON and back unchanged: it knows no keys but text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ITEMS = "wandbsweep:items"


def packed(value: Any) -> Any:
    """``value`` as JSON can hold it; tuples become lists."""
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key != _ITEMS for key in value):
            return {key: packed(item) for key, item in value.items()}
        return {_ITEMS: [[key, packed(item)] for key, item in value.items()]}
    return [packed(item) for item in value] if isinstance(value, list | tuple) else value


def unpacked(value: Any) -> Any:
    """The inverse of ``packed``."""
    if isinstance(value, dict):
        items = value.get(_ITEMS, value.items())
        return {key: unpacked(item) for key, item in items}
    return [unpacked(item) for item in value] if isinstance(value, list) else value
