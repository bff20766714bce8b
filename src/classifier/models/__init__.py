"""Networks from images ``(n, channels, height, width)`` to logits ``(n, classes)``."""

from __future__ import annotations

from classifier.models.heads import find_head
from classifier.models.make import make_network
from classifier.models.small import airbench, convnet, mlp
from classifier.models.vision import torchvision_classifier

__all__ = ["airbench", "convnet", "find_head", "make_network", "mlp", "torchvision_classifier"]
