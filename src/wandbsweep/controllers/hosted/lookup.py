"""Find a sweep that already exists at W&B."""

from __future__ import annotations

from wandbsweep.controllers.hosted.client import SweepClient, connect
from wandbsweep.controllers.hosted.create import SweepPath
from wandbsweep.controllers.hosted.doctor import require_healthy_setup
from wandbsweep.controllers.hosted.refs import convert_hosted_config, parse_ref
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.wandb_runs.auth import read_login

_OVER = {"FINISHED": "finished", "CANCELED": "cancelled"}


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
