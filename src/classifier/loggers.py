"""Where a run's metrics go. What is opened here is closed here: many trials share a process."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from wandbsweep.current import CurrentTrial, Preempted, current_trial

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger, WandbLogger


@contextmanager
def opened(cfg: DictConfig) -> Iterator[Logger | bool]:
    """The logger that ``cfg.logger`` describes, or False; a W&B run ends with the block."""
    if not cfg.get("logger"):
        yield False
        return
    make = instantiate(cfg.logger, _partial_=True)
    ours = is_wandb(cfg)
    logger: Logger = make(cfg=cfg) if ours else make()
    exit_code: int | None = 1
    try:
        yield logger
        exit_code = 0
    except Preempted:
        exit_code = None
        raise
    finally:
        if ours:
            _finish(exit_code)


def is_wandb(cfg: DictConfig) -> bool:
    """Whether ``cfg.logger`` is ``wandb_logger``, below."""
    return bool(cfg.get("logger")) and cfg.logger.get("_target_") == f"{__name__}.wandb_logger"


_FOR_OTHERS = ("log_model", "summary", "wandb_sweep")
"""Keys of ``logger`` that are no options of ``wandb.init``: the training's and the sweep's."""


def wandb_logger(*, cfg: DictConfig, save_dir: str, project: str, **init: Any) -> WandbLogger:
    """One W&B run: a trial's, grouped by its sweep, or a plain one. ``init``: for ``wandb.init``."""
    from lightning.pytorch.loggers import WandbLogger
    from lightning.pytorch.utilities import rank_zero_only

    init = {name: _plain(value) for name, value in init.items() if name not in _FOR_OTHERS and value is not None}

    class GlobalStepLogger(WandbLogger):
        """W&B's own step is the training's: what a resumed trial trains again replaces nothing and adds nothing."""

        @rank_zero_only
        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            # W&B drops what is logged for an earlier step than its last one.
            at = None if step is None else max(step, self.experiment.step)
            self.experiment.log({**metrics, "trainer/global_step": step}, step=at)

    # Begun here, not by WandbLogger: it passes on an option that W&B warns of, and its offline=True sets
    # WANDB_MODE for everything that follows in this process.
    run = None if getattr(rank_zero_only, "rank", 0) else _begin(cfg, dir=save_dir, project=project, **init)
    return GlobalStepLogger(save_dir=save_dir, project=project, experiment=run)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value  # tags, settings


def _begin(cfg: DictConfig, **init: Any) -> Any:
    import wandb

    run_config = {
        **current_trial().params,
        # Below a key of its own: a parameter that chooses a config group (`model`) is named like that group.
        "config": OmegaConf.to_container(cfg, resolve=True),
    }
    resume = "allow" if current_trial().resumed else None
    ours = {"mode": wandb_mode(), "settings": _settings(), "resume": resume, **_identity(current_trial())}
    options = {**ours, **init}
    if os.environ.get("WANDB_SWEEP_ID"):  # a run that W&B gave out has its place and its id, and is begun once
        options = {name: value for name, value in options.items() if name not in ("project", "entity", "id", "resume")}
    run = wandb.init(config=run_config, **options)
    run.define_metric("trainer/global_step")  # the x-axis, as WandbLogger would have it
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return run


def _identity(trial: CurrentTrial) -> dict[str, Any]:
    if not trial:
        return {}
    name = f"{trial.sweep_id}-{trial.number}" if trial.sweep_id else f"trial-{trial.number}"
    # With the trial's own id a later attempt continues the W&B run. WANDB_RUN_ID is set by W&B's own agents.
    own_id = name if trial.sweep_id else None
    return {"group": trial.sweep_id, "name": name, "id": os.environ.get("WANDB_RUN_ID", own_id)}


def wandb_mode() -> str | None:
    """``WANDB_MODE`` where it is set; else offline unless W&B is set up: nobody is asked to log in."""
    import wandb

    if mode := os.environ.get("WANDB_MODE"):
        return mode
    settings = wandb.setup().settings
    if settings.mode != "online":  # `wandb offline` and `wandb disabled` were run here
        return str(settings.mode)
    base_url = os.environ.get("WANDB_BASE_URL", settings.base_url)
    known = os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    return "online" if known or _stored_login(base_url) else "offline"


def _stored_login(base_url: str) -> bool:
    """Whether ``wandb login`` was run for this server: it stores the key in the netrc file."""
    candidates = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in (Path(candidate).expanduser() for candidate in candidates):
        try:
            stored = netrc.netrc(path)
            return any(stored.authenticators(host) for host in _hosts(base_url))
        except FileNotFoundError:
            continue
        except (OSError, netrc.NetrcParseError):
            return False  # unreadable for W&B, too
    return False


def _hosts(base_url: str) -> list[str]:
    """The names, with port, under which W&B looks for a login; its service has moved, the old name counts."""
    host = urlsplit(base_url).netloc
    return [host, "api.wandb.ai"] if host.endswith("forge.coreweave.com") else [host]


def _settings() -> Any:
    """Quiet inside a sweep, whose own progress would drown in six lines of W&B's a trial."""
    import wandb

    if not (trial := current_trial()):
        return wandb.Settings()

    # W&B's default is Ctrl-C, which would end the agent.
    return wandb.Settings(silent=True, console="off", stop_fn=partial(trial.stop, "W&B stopped the run"))


def _finish(exit_code: int | None) -> None:
    """End the W&B run; None: it was preempted, and a later attempt goes on with it."""
    import wandb

    if wandb.run is None:
        return
    if current_trial() and current_trial().decision.stop:
        wandb.run.summary["wandbsweep/stopped"] = current_trial().decision.reason
    if exit_code is not None:
        wandb.finish(exit_code=exit_code)
        return
    with suppress(Exception):  # SLURM's TERM has ended W&B's own helper process as well
        wandb.run.mark_preempting()
        wandb.finish(exit_code=1)
