"""Read what W&B writes: names of sweeps, their configurations, and the values of parameters. Needs no connection.

JSON turns the keys of mappings into text, and servers written in other languages send 1 for 1.0. A value that is listed
in the sweep file is returned as it is written there.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from typing import Any

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.load import TOP_KEYS, load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec

PREFIX = "wandb:"


def parse_ref(ref: str) -> tuple[str | None, str | None, str]:
    """Return entity, project and id of ``[wandb:][[entity/]project/]id``; None: W&B's default."""
    parts = ref.removeprefix(PREFIX).strip("/").split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise SweepDirectoryError(f"The value is {ref!r}, but must be {PREFIX}ENTITY/PROJECT/ID")
    entity, project, sweep_id = [None] * (3 - len(parts)) + parts
    assert sweep_id is not None
    return entity, project, sweep_id


def convert_hosted_config(config: Mapping[str, Any]) -> SweepSpec:
    """Return the specification of a configuration from W&B, which adds nulls and keys of its own."""
    known = {key: _drop_nulls(value) for key, value in config.items() if key in TOP_KEYS and value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were shown to the user who created the sweep
        return load_sweep(known)


def _drop_nulls(value: Any) -> Any:
    if isinstance(value, Mapping) and "parameters" not in value and not {"value", "values"} & value.keys():
        return {key: _drop_nulls(item) for key, item in value.items() if item is not None}
    return value


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
