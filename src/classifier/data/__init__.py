"""Data modules: images ``(n, channels, height, width)`` and their classes, in batches."""

from classifier.data.digits import Digits
from classifier.data.loading import EpochBatches, Position, ResumableLoader

__all__ = ["Digits", "EpochBatches", "Position", "ResumableLoader"]
