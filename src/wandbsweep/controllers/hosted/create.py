"""A sweep made at W&B from our specification, and what W&B would refuse of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wandbsweep.controllers.hosted.client import complete_login
from wandbsweep.controllers.hosted.transport import WandbError, Wire
from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.wandb_runs.auth import read_login


def create_hosted_sweep(spec: SweepSpec, *, entity: str | None = None, project: str | None = None) -> str:
    """Make a sweep at W&B (``wandb.sweep``); its id. What it prints goes to standard error.

    Raises WandbError where W&B refuses it, SweepConfigError for what W&B's format does not know.
    """
    import wandb

    refuse_what_wandb_refuses(spec)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return str(wandb.sweep(_for_wandb(spec), entity=entity, project=project))
    except (wandb.Error, ValueError) as error:
        raise WandbError(f"W&B refuses the sweep: {' '.join(str(error).split())}") from None


def refuse_what_wandb_refuses(spec: SweepSpec) -> None:
    """Raises SweepConfigError with everything in ``spec`` that only the embedded controller knows."""
    faults = [f"parameters.{name}: W&B allows no `/` and `@` in names" for name in spec.names_wandb_refuses]
    faults += [f"{key}: an extension that W&B does not know" for key in ("repeats", "prior") if getattr(spec, key)]
    faults += [
        f"parameters.{p.name}.when: an extension that W&B does not know" for p in spec.parameters.values() if p.when
    ]
    if spec.early_terminate and spec.early_terminate.type != "hyperband":
        faults.append(f"early_terminate.type: W&B knows hyperband alone, not {spec.early_terminate.type}")
    if spec.metrics and not spec.method_info.external:
        faults.append("metrics: W&B knows several metrics with `method: custom` alone")
    if faults:
        raise SweepConfigError([f"{fault} (controller=wandb)" for fault in faults])


def ambiguous(spec: SweepSpec) -> list[str]:
    """The parameters whose bounds W&B's client refuses: one an integer, one not, and no distribution named."""
    given = spec.config.get("parameters") or {}
    return [
        name
        for name, parameter in given.items()
        if isinstance(parameter, Mapping)
        and "distribution" not in parameter
        and {type(parameter.get("min")), type(parameter.get("max"))} == {int, float}
    ]


def _for_wandb(spec: SweepSpec) -> dict[str, Any]:
    config = spec.dump()
    for name in ambiguous(spec):
        parameter = config["parameters"][name]
        parameter |= {bound: float(parameter[bound]) for bound in ("min", "max")}
    return config


@dataclass(frozen=True)
class Made:
    """A sweep at W&B."""

    sweep_id: str
    entity: str
    project: str


def start_hosted_sweep(spec: SweepSpec, *, entity: str | None = None, project: str | None = None) -> Made:
    """Make a sweep at W&B, after the checks of ``wandbsweep doctor``; where it is then.

    ``entity`` and ``project``: None is what the sweep file says, else what wandb would take.
    """
    from wandbsweep.controllers.hosted.doctor import refuse_if_unwell

    entity, project = entity or spec.config.get("entity"), project or spec.config.get("project")
    refuse_what_wandb_refuses(spec)
    refuse_if_unwell(spec, entity=entity, project=project)
    login = complete_login(Wire(read_login(entity=entity, project=project)))
    assert login.entity is not None
    assert login.project is not None
    return Made(create_hosted_sweep(spec, entity=login.entity, project=login.project), login.entity, login.project)
