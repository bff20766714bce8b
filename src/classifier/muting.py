"""``mute_lightning``: silences what Lightning would say in every run, whatever its options."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_MUTED_MESSAGES = (
    "GPU available:",
    "TPU available:",
    "HPU available:",
    "💡 Tip:",
    "`Trainer.fit` stopped:",
    "LOCAL_RANK:",
    "Loading `train_dataloader`",
    "Using 16bit Automatic Mixed",
    "Using bfloat16 Automatic Mixed",
    "Loaded model weights from the checkpoint",
    "Restor",  # "Restoring states from the checkpoint path", "Restored all states …"
)
_MUTED_WARNINGS = (
    # The data fits in memory, and a batch is one indexing operation: workers made it five times slower.
    r".*does not have many workers.*",
    # A frozen backbone and averaged weights are evaluated only.
    r"Found \d+ module\(s\) in eval mode",
    # Fewer batches than trainer.log_every_n_steps; all our metrics are logged per epoch.
    r".*is smaller than the logging interval.*",
    # Lightning 2.6 on torch 2.14 causes it.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # A resumed trial finds its checkpoint there.
    r"Checkpoint directory .* exists and is not empty",
    # If SLURM is installed: the launcher starts the agents, and each trains alone.
    r"The `srun` command is available on your system but is not used",
    # A trial's directory exists before its logger.
    r"Experiment logs directory .* exists and is not empty",
    # ckpt_path names a checkpoint of another run: its best epoch is not this run's.
    r"The dirpath has changed from",
)


@contextmanager
def mute_lightning() -> Iterator[None]:
    """Silence these messages and warnings within the block."""

    def keep(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not record.getMessage().startswith(_MUTED_MESSAGES)

    rank_zero_log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    rank_zero_log.addFilter(keep)
    try:
        with warnings.catch_warnings():
            for message in _MUTED_WARNINGS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        rank_zero_log.removeFilter(keep)
