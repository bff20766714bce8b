"""Checkpoints that are written atomically, keep the best epoch, and are read only if they are intact."""

from __future__ import annotations

import copy
import logging
import os
import pkgutil
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wandbsweep.lightning.package import LightningModule, ModelCheckpoint, TorchCheckpointIO, Trainer

log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a temporary file in the same directory, then renames it: a kill or a full disk keeps the old checkpoint.

    Lightning's own class writes to the machine's temporary directory and moves the file. If that is another disk, the
    move is a copy into the old checkpoint.

    With ``every_s``, a file is written at most once in so many seconds: a training whose epochs take milliseconds would
    otherwise spend its time on the disk. A checkpoint that comes too early is kept in memory, on the CPU. It is written
    before any later one, when the training ends or raises, or is dropped for a newer one of the same name. So a process
    that is killed loses the work of ``every_s`` and an epoch. Every file is written with ``fsync``.
    """

    def __init__(self, every_s: float = 0.0) -> None:
        super().__init__()
        if not isinstance(every_s, int | float) or not every_s >= 0:
            raise ValueError(
                f"The value of `every_s` is {every_s!r}, but must be >= 0; 0 writes every checkpoint at once"
            )
        self.every_s = every_s
        self._began = time.monotonic()
        self._written: dict[Path, float] = {}
        self._pending: dict[Path, dict[str, Any]] = {}
        """Checkpoints that are not written yet, the oldest first."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        self._pending.pop(target, None)
        if time.monotonic() < self._written.get(target, self._began) + self.every_s:
            self._pending[target] = _copy_to_cpu(checkpoint)
            return
        self.flush()  # last.ckpt names best.ckpt, so that must not be older
        self._write(checkpoint, target)

    def flush(self) -> None:
        """Write what is kept in memory."""
        while self._pending:
            target = next(iter(self._pending))
            self._write(self._pending.pop(target), target)

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        self.flush()
        return super().load_checkpoint(path, *args, **options)

    def remove_checkpoint(self, path: Any) -> None:
        if self._pending.pop(Path(path), None) is None or Path(path).exists():
            super().remove_checkpoint(path)

    def teardown(self) -> None:
        """Lightning calls this when a training has ended, and when it has raised."""
        self.flush()

    def _write(self, checkpoint: dict[str, Any], target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        self._written[target] = time.monotonic()


def _copy_to_cpu(value: Any) -> Any:
    """Copy what a training goes on to change; tensors to the CPU, since a second copy may not fit on a GPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        copied = copy.copy(value)  # with its attributes: a state_dict has its layers' versions there
        copied.update({name: _copy_to_cpu(part) for name, part in value.items()})
        return copied
    if isinstance(value, list):
        return [_copy_to_cpu(part) for part in value]
    return copy.deepcopy(value)


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best epoch in ``best.ckpt``, and what was logged in it."""

    def __init__(self, directory: Path, metric: str, goal: str) -> None:
        mode = {"minimize": "min", "maximize": "max"}[goal]
        super().__init__(
            directory,
            filename="best",
            monitor=metric,
            mode=mode,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self.epoch = -1
        """The best epoch; -1: none yet."""
        self.metrics: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor not in trainer.callback_metrics:  # Lightning would raise; the training says it in its own words
            return
        before = self.best_model_score
        super().on_train_epoch_end(trainer, pl_module)
        if self.best_model_score is not before:
            self.epoch = trainer.current_epoch
            self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if isinstance(writer := trainer.strategy.checkpoint_io, AtomicCheckpointIO):
            writer.flush()  # for what follows the training and reads the files, such as loggers

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "epoch": self.epoch, "metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.epoch, self.metrics = state_dict["epoch"], state_dict["metrics"]


def is_intact(path: Path) -> bool:
    """Whether ``path`` is a checkpoint that can be read; logs a warning if the file exists and cannot."""
    if not path.exists():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        damaged = str(error)
    if damaged is not None:
        log.warning("%s is damaged (%s): the training starts from the beginning.", path, damaged)
    return damaged is None


def trust_checkpoint(path: Path) -> None:
    """Let torch load the hyperparameters in a checkpoint that an earlier attempt of this trial has saved.

    Since torch 2.6 ``torch.load`` loads only objects on its list, but Lightning saves an application's own, too: an
    optimizer as a ``functools.partial``, a network, a configuration.
    """
    with suppress(Exception):  # not in a format that can be examined; the training's own loading says what is wrong
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        torch.serialization.add_safe_globals([(pkgutil.resolve_name(name), name) for name in names])
