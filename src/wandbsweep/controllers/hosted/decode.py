"""Parameter values as the sweep file means them, from what came over W&B's wire.

JSON has text keys only, and servers written in other languages make 1 of 1.0. What is listed in the sweep file is
given out as it stands there.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from wandbsweep.spec.distributions import Parameter


def restored(parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Flat: ``values`` by dotted name, nested ones unfolded where the sweep has parameters below them.

    Constants are there even if W&B does not repeat them.
    """
    flat = flattened(values, parameters)
    flat |= {name: p.value for name, p in parameters.items() if p.distribution == "constant" and name not in flat}
    return {name: _restored(parameters[name], v) if name in parameters else v for name, v in flat.items()}


def flattened(values: Mapping[str, Any], parameters: Mapping[str, Parameter], above: str = "") -> dict[str, Any]:
    """W&B gives nested parameters as nested mappings; a mapping that is one parameter's value stays whole."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{above}{key}"
        if name not in parameters and isinstance(value, Mapping):
            found |= flattened(value, parameters, f"{name}.")
        else:
            found[name] = value
    return found


def _restored(parameter: Parameter, value: Any) -> Any:
    if parameter.distribution == "constant":
        return copy.deepcopy(parameter.value)
    if parameter.values is not None:
        return _listed(parameter.values, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if parameter.distribution == "int_uniform" or isinstance(parameter.q, int):
        return int(value) if float(value).is_integer() else value
    return float(value)


def _listed(choices: tuple[Any, ...], value: Any) -> Any:
    """The choice that ``value`` is: written the same in JSON, else equal, and of one kind."""
    text = _written(value)
    same = [choice for choice in choices if _written(choice) == text]
    equal = [choice for choice in choices if isinstance(choice, bool) == isinstance(value, bool) and choice == value]
    return copy.deepcopy((same or equal or [value])[0])


def _written(value: Any) -> str:
    return json.dumps(json.loads(json.dumps(value)), sort_keys=True)  # keys are text only once they are in JSON
