"""Data modules: images ``(n, channels, height, width)`` and their classes, in batches."""

from classifier.data.augment import Augmentation
from classifier.data.digits import Digits
from classifier.data.folders import FolderImages
from classifier.data.module import ImageData
from classifier.data.torchvision_sets import TorchvisionImages

__all__ = ["Augmentation", "Digits", "FolderImages", "ImageData", "TorchvisionImages"]
