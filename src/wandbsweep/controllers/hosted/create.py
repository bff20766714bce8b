"""Create a sweep at W&B from our specification."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import Any

from wandbsweep.controllers.hosted.client import connect
from wandbsweep.controllers.hosted.compatibility import check_supported, find_mixed_bounds
from wandbsweep.controllers.hosted.doctor import require_healthy_setup
from wandbsweep.controllers.hosted.transport import WandbError
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.wandb_runs.auth import Login, read_login


@dataclass(frozen=True)
class SweepPath:
    """The full name of a sweep at W&B."""

    sweep_id: str
    entity: str
    project: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.sweep_id}"


def start_hosted_sweep(spec: SweepSpec, *, entity: str | None = None, project: str | None = None) -> SweepPath:
    """Check the setup as ``wandbsweep doctor`` does, then create the sweep.

    Args:
        spec: What to search.
        entity: None: the sweep file's, else wandb's default.
        project: None: the sweep file's, else wandb's default.

    Raises:
        SweepConfigError: W&B does not support ``spec``.
        SweepError: A check failed.
        WandbError: W&B refuses the sweep.
    """
    entity, project = entity or spec.config.get("entity"), project or spec.config.get("project")
    check_supported(spec)
    require_healthy_setup(spec, entity=entity, project=project)
    return create_hosted_sweep(spec, read_login(entity=entity, project=project))


def create_hosted_sweep(spec: SweepSpec, login: Login) -> SweepPath:
    """Create the sweep with ``wandb.sweep``, whose output goes to standard error.

    Raises:
        SweepConfigError: W&B does not support ``spec``.
        WandbError: W&B refuses the sweep.
    """
    import wandb

    check_supported(spec)
    login = connect(login).login
    try:
        with contextlib.redirect_stdout(sys.stderr):
            sweep_id = str(wandb.sweep(_convert_config(spec), entity=login.entity, project=login.project))
    except (wandb.Error, ValueError) as error:
        raise WandbError(f"W&B refuses the sweep: {' '.join(str(error).split())}") from None
    return SweepPath(sweep_id, login.entity, login.project)


def _convert_config(spec: SweepSpec) -> dict[str, Any]:
    config = spec.dump()
    for name in find_mixed_bounds(spec):
        parameter = config["parameters"][name]
        parameter |= {bound: float(parameter[bound]) for bound in ("min", "max")}
    return config
