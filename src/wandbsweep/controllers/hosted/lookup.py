"""Find a sweep that already exists at W&B, and read its configuration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from wandbsweep.controllers.hosted.client import SweepClient, connect
from wandbsweep.controllers.hosted.create import SweepPath
from wandbsweep.controllers.hosted.doctor import require_healthy_setup
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.spec.validate import TOP_KEYS
from wandbsweep.wandb_runs.auth import read_login

PREFIX = "wandb:"

_OVER = {"FINISHED": "finished", "CANCELED": "cancelled"}


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


def find_hosted_sweep(ref: str) -> tuple[SweepPath, SweepSpec]:
    """Find the unfinished sweep that ``ref`` names (see ``parse_ref``), and what it searches.

    Raises:
        SweepDirectoryError: There is no such sweep, or it is over.
        WandbError: W&B does not answer.
    """
    entity, project, sweep_id = parse_ref(ref)
    require_healthy_setup(None, entity=entity, project=project)
    transport = connect(read_login(entity=entity, project=project))
    path = SweepPath(sweep_id, transport.login.entity, transport.login.project)
    client = SweepClient(transport, sweep_id)
    config = client.fetch_config()
    if config is None:
        raise SweepDirectoryError(f"W&B has no sweep {path}; name it as hydra.sweeper.sweep_id=ENTITY/PROJECT/ID.")
    if (state := client.fetch_state()) in _OVER:
        raise SweepDirectoryError(
            f"The sweep {path} is {_OVER[state]} at W&B; `wandb sweep --resume {path}` opens it again."
        )
    return path, convert_hosted_config(config)
