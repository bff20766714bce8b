"""Data modules: images ``(n, channels, height, width)`` and their classes, in batches."""

from classifier.data.digits import Digits

__all__ = ["Digits"]
