"""``logger.log_model``: a run's checkpoints as W&B artifacts, online and offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast, get_args

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from omegaconf import DictConfig

from wandbsweep.current import current_trial

Which = Literal["best", "all"]


def read_log_model(cfg: DictConfig) -> Which | None:
    """The value of ``cfg.logger.log_model``; WandbLogger's true and false are ``best`` and null.

    Raises ValueError for anything else.
    """
    given = (cfg.get("logger") or {}).get("log_model")
    if given is None or given is False:
        return None
    which = "best" if given is True else given
    if which not in get_args(Which):
        raise ValueError(f"The value of `logger.log_model` is {given!r}; the choices are null, best and all")
    return cast(Which, which)


# A Checkpoint, since Lightning calls those last, when the files to be logged have been written.
class ModelArtifacts(Checkpoint):
    """Logs versions of the artifact ``model-<run id>``, of type ``model``, as WandbLogger names and aliases them.

    ``best``: one version when the training ends or its sweep stops it, with the aliases ``best`` and ``latest``.
    ``all``: ``last.ckpt`` of every epoch, as ``latest``, and also as ``best`` if it is the best so far. A run that
    failed logs nothing at its end. If a run was preempted, the attempt that ends it logs.
    """

    def __init__(self, which: Which, *, best: ModelCheckpoint, last: ModelCheckpoint) -> None:
        self._which, self._best, self._last = which, best, last
        self._score: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._score = _to_float(self._best.best_model_score)  # of a resumed run, from its checkpoint

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._which == "all" and self._last.best_model_path:
            before, self._score = self._score, _to_float(self._best.best_model_score)
            aliases = ["latest"] if self._score == before else ["latest", "best"]
            score = _to_float(trainer.callback_metrics.get(str(self._best.monitor)))
            self._log(trainer, self._last.best_model_path, score, aliases)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._which == "best" and self._best.best_model_path:
            score = _to_float(self._best.best_model_score)
            self._log(trainer, self._best.best_model_path, score, ["latest", "best"])

    def _log(self, trainer: Trainer, path: str, score: float | None, aliases: list[str]) -> None:
        if not trainer.is_global_zero or trainer.logger is None:
            return
        import wandb

        run: Any = trainer.logger.experiment  # type: ignore[attr-defined]  # WandbLogger's
        trial = current_trial()
        metadata = {
            "score": score,
            "metric": self._best.monitor,
            "mode": self._best.mode,
            "epoch": trainer.current_epoch,
            "original_filename": Path(path).name,
            "sweep": trial.sweep_id,
            "trial": trial.number,
        }
        artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata=metadata)
        artifact.add_file(path, name="model.ckpt")  # copied, since the next epoch overwrites the file
        run.log_artifact(artifact, aliases=aliases)


def _to_float(value: Any) -> float | None:
    return None if value is None else float(value)
