"""``wandb_logger``: a run at W&B, which a trial's later attempts continue."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf

from wandbsweep.current import current_trial

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger


_OTHER_KEYS = ("log_model", "summary", "wandb_sweep")
"""Keys of ``logger`` that the training and the sweep read; they are no options of ``wandb.init``."""


def wandb_logger(*, cfg: DictConfig, save_dir: str, project: str, **init: Any) -> WandbLogger:
    """Make the logger of one W&B run; a trial's run is grouped by its sweep.

    Args:
        cfg: The run's configuration, which W&B shows.
        save_dir: Where W&B writes its files.
        project: W&B's project.
        init: Options of ``wandb.init``.
    """
    from lightning.pytorch.loggers import WandbLogger
    from lightning.pytorch.utilities import rank_zero_only

    init = {name: _to_plain(value) for name, value in init.items() if name not in _OTHER_KEYS and value is not None}

    class GlobalStepLogger(WandbLogger):
        """Logs at the training's step, so that steps which a resumed trial repeats are not added twice."""

        @rank_zero_only
        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            if step is not None and step < first:
                return  # the attempt before logged it, and was killed before its next checkpoint
            # W&B drops values for a step before its last one.
            at = None if step is None else max(step, self.experiment.step)
            self.experiment.log({**metrics, "trainer/global_step": step}, step=at)

    # Not started by WandbLogger: that passes an option which W&B warns of, and its offline=True sets WANDB_MODE for
    # the rest of the process.
    run = None if getattr(rank_zero_only, "rank", 0) else _start_run(cfg, dir=save_dir, project=project, **init)
    first = run.starting_step if run else 0
    return GlobalStepLogger(save_dir=save_dir, project=project, experiment=run)


def _to_plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value  # tags, settings


def _start_run(cfg: DictConfig, **init: Any) -> Any:
    import wandb

    run_config = {
        **current_trial().params,
        # Under one key: a parameter that chooses a config group (`model`) has the name of that group.
        "config": OmegaConf.to_container(cfg, resolve=True),
    }
    ours = {"mode": wandb_mode(), "settings": _make_settings(), **current_trial().wandb}
    options = {**ours, **init}
    if os.environ.get("WANDB_SWEEP_ID"):  # W&B's agent has chosen the run's project and id
        options = {name: value for name, value in options.items() if name not in ("project", "entity", "id", "resume")}
    run = wandb.init(config=run_config, **options)
    run.define_metric("trainer/global_step")  # the x-axis, as WandbLogger would have it
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return run


def wandb_mode() -> str | None:
    """``WANDB_MODE`` if it is set; else online if W&B is set up, and offline if not. It never asks for a login."""
    import wandb

    if mode := os.environ.get("WANDB_MODE"):
        return mode
    settings = wandb.setup().settings
    if settings.mode != "online":  # `wandb offline` and `wandb disabled` were run here
        return str(settings.mode)
    base_url = os.environ.get("WANDB_BASE_URL", settings.base_url)
    has_key = os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    return "online" if has_key or _has_stored_login(base_url) else "offline"


def _has_stored_login(base_url: str) -> bool:
    """Whether ``wandb login`` was run for this server: it stores the key in the netrc file."""
    candidates = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in (Path(candidate).expanduser() for candidate in candidates):
        try:
            stored = netrc.netrc(path)
            return any(stored.authenticators(host) for host in _list_hosts(base_url))
        except FileNotFoundError:
            continue
        except (OSError, netrc.NetrcParseError):
            return False  # W&B cannot read it either
    return False


def _list_hosts(base_url: str) -> list[str]:
    """The host names, with port, under which W&B looks for a login. Its service has moved; the old name still works."""
    host = urlsplit(base_url).netloc
    return [host, "api.wandb.ai"] if host.endswith("forge.coreweave.com") else [host]


def _make_settings() -> Any:
    """Quiet inside a sweep: six lines of W&B's for each trial would hide the sweep's progress."""
    import wandb

    if not (trial := current_trial()):
        return wandb.Settings()

    # W&B's default sends Ctrl-C, which would end the agent.
    return wandb.Settings(silent=True, console="off", stop_fn=partial(trial.stop, "W&B stopped the run"))


def finish(exit_code: int | None) -> None:
    """End the W&B run; None: it was preempted, and a later attempt continues it."""
    import wandb

    if wandb.run is None:
        return
    summary: Any = wandb.run.summary
    if current_trial() and current_trial().decision.stop:
        summary["wandbsweep/stopped"] = current_trial().decision.reason
    elif summary.get("wandbsweep/stopped"):
        summary["wandbsweep/stopped"] = ""  # an earlier attempt was frozen
    if exit_code is not None:
        wandb.finish(exit_code=exit_code)
        return
    with suppress(Exception):  # SLURM's TERM may have ended W&B's helper process too
        wandb.run.mark_preempting()
        wandb.finish(exit_code=1)
