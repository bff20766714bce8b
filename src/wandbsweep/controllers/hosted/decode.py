"""Decode parameter values from W&B's JSON to the types of the sweep file.

JSON turns the keys of mappings into text, and servers written in other languages send 1 for 1.0. A value that is listed
in the sweep file is returned as it is written there.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from wandbsweep.spec.distributions import Parameter


def decode_params(parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` by dotted name, with the types of ``parameters``; constants that W&B left out are added."""
    flat = flatten_params(values, parameters)
    flat |= {name: p.value for name, p in parameters.items() if p.distribution == "constant" and name not in flat}
    return {name: _decode_value(parameters[name], v) if name in parameters else v for name, v in flat.items()}


def flatten_params(values: Mapping[str, Any], parameters: Mapping[str, Parameter], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters, which W&B sends as nested mappings, by dotted name.

    A mapping that is the value of one parameter stays a mapping.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name not in parameters and isinstance(value, Mapping):
            found |= flatten_params(value, parameters, f"{name}.")
        else:
            found[name] = value
    return found


def _decode_value(parameter: Parameter, value: Any) -> Any:
    if parameter.distribution == "constant":
        return copy.deepcopy(parameter.value)
    if parameter.values is not None:
        return _match_choice(parameter.values, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if parameter.distribution == "int_uniform" or isinstance(parameter.q, int):
        return int(value) if float(value).is_integer() else value
    return float(value)


def _match_choice(choices: tuple[Any, ...], value: Any) -> Any:
    """Return the choice with the same JSON as ``value``, else an equal one, else ``value``; true never matches 1."""
    text = _normalize_json(value)
    same = [choice for choice in choices if _normalize_json(choice) == text]
    equal = [choice for choice in choices if isinstance(choice, bool) == isinstance(value, bool) and choice == value]
    return copy.deepcopy((same or equal or [value])[0])


def _normalize_json(value: Any) -> str:
    return json.dumps(json.loads(json.dumps(value)), sort_keys=True)  # the inner round trip makes keys text
