"""Create a sweep at W&B from our specification, or find one that exists there."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import Any

from wandbsweep.controllers.hosted.client import SweepClient, connect
from wandbsweep.controllers.hosted.decode import convert_hosted_config, parse_ref
from wandbsweep.controllers.hosted.doctor import check_supported, find_mixed_bounds, require_healthy_setup
from wandbsweep.controllers.hosted.transport import WandbError
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.wandb_runs.auth import Login, read_login

_OVER = {"FINISHED": "finished", "CANCELED": "cancelled"}


@dataclass(frozen=True)
class SweepPath:
    """The full name of a sweep at W&B."""

    sweep_id: str
    entity: str
    project: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.sweep_id}"


def start_hosted_sweep(spec: SweepSpec) -> SweepPath:
    """Check the setup as ``wandbsweep doctor`` does, then create the sweep where the sweep file says, or by default.

    Raises:
        SweepConfigError: W&B does not support ``spec``.
        SweepError: A check failed.
        WandbError: W&B refuses the sweep.
    """
    entity, project = spec.config.get("entity"), spec.config.get("project")
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
