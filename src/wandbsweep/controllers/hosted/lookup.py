"""A sweep that is at W&B already: what names it, and what stands there of its configuration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from wandbsweep.controllers.hosted.client import SweepClient, complete_login
from wandbsweep.controllers.hosted.create import Made
from wandbsweep.controllers.hosted.transport import Wire
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.spec.validate import TOP_KEYS
from wandbsweep.wandb_runs.auth import read_login

PREFIX = "wandb:"

_OVER = {"FINISHED": "finished", "CANCELED": "cancelled"}


def parse_ref(ref: str) -> tuple[str | None, str | None, str]:
    """Entity, project and id of ``entity/project/id``, ``wandb:`` before it or not; None: W&B's default."""
    parts = ref.removeprefix(PREFIX).strip("/").split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise SweepDirectoryError(f"The value is {ref!r}, but must be {PREFIX}ENTITY/PROJECT/ID")
    entity, project, sweep_id = [None] * (3 - len(parts)) + parts
    assert sweep_id is not None
    return entity, project, sweep_id


def spec_at_wandb(config: Mapping[str, Any]) -> SweepSpec:
    """The specification in W&B's words for it: with nulls for what was not said, and maybe with keys of its own."""
    known = {key: _said(value) for key, value in config.items() if key in TOP_KEYS and value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were for whoever made the sweep
        return load_sweep(known)


def _said(value: Any) -> Any:
    if isinstance(value, Mapping) and "parameters" not in value and not {"value", "values"} & value.keys():
        return {key: _said(more) for key, more in value.items() if more is not None}
    return value


def find_hosted_sweep(ref: str) -> tuple[Made, SweepSpec]:
    """The sweep at W&B that ``ref`` (``parse_ref``) names, to be gone on with, and what it searches.

    Raises SweepDirectoryError where there is none or it is over, WandbError where W&B does not tell.
    """
    from wandbsweep.controllers.hosted.doctor import refuse_if_unwell

    entity, project, sweep_id = parse_ref(ref)
    refuse_if_unwell(None, entity=entity, project=project)
    wire = Wire(read_login(entity=entity, project=project))
    wire.login = complete_login(wire)
    assert wire.login.entity is not None
    assert wire.login.project is not None
    made = Made(sweep_id, wire.login.entity, wire.login.project)
    place = f"{made.entity}/{made.project}/{sweep_id}"
    client = SweepClient(wire, sweep_id)
    config = client.config()
    if config is None:
        raise SweepDirectoryError(f"W&B has no sweep {place}; name it as hydra.sweeper.sweep_id=ENTITY/PROJECT/ID.")
    if (state := client.state()) in _OVER:
        raise SweepDirectoryError(
            f"The sweep {place} is {_OVER[state]} at W&B; `wandb sweep --resume {place}` opens it again."
        )
    return made, spec_at_wandb(config)
