"""Lightning's classes, from the package that trains.

Lightning is published as two packages with classes of their own, ``lightning`` and ``pytorch_lightning``: a callback
must be of the one whose Trainer calls it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

_is_standalone = "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules
if TYPE_CHECKING or not (_is_standalone or find_spec("lightning") is None):
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
    from lightning.pytorch.plugins.io import TorchCheckpointIO
    from lightning.pytorch.trainer.states import TrainerFn
else:
    from pytorch_lightning import Callback, LightningModule, Trainer
    from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
    from pytorch_lightning.plugins.io import TorchCheckpointIO
    from pytorch_lightning.trainer.states import TrainerFn

__all__ = [
    "Callback",
    "EarlyStopping",
    "LightningModule",
    "ModelCheckpoint",
    "TorchCheckpointIO",
    "Trainer",
    "TrainerFn",
]
