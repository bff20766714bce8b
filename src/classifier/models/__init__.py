"""Networks from images ``(n, channels, height, width)`` to logits ``(n, classes)``."""

from __future__ import annotations

from classifier.models.small import airbench, convnet, mlp

__all__ = ["airbench", "convnet", "mlp"]
