"""The names of sweeps at W&B, and the configuration as W&B stores it. Nothing here needs a connection."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from wandbsweep.errors import SweepDirectoryError
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
