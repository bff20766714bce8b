"""Encodes parameters as JSON and decodes them unchanged, although JSON's keys are always strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ITEMS = "wandbsweep:items"


def encode_json(value: Any) -> Any:
    """Return ``value`` in a form that JSON can hold. Tuples become lists."""
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key != _ITEMS for key in value):
            return {key: encode_json(item) for key, item in value.items()}
        return {_ITEMS: [[key, encode_json(item)] for key, item in value.items()]}
    return [encode_json(item) for item in value] if isinstance(value, list | tuple) else value


def decode_json(value: Any) -> Any:
    """Return what ``encode_json`` encoded."""
    if isinstance(value, dict):
        items = value.get(_ITEMS, value.items())
        return {key: decode_json(item) for key, item in items}
    return [decode_json(item) for item in value] if isinstance(value, list) else value
