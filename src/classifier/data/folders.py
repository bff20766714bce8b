"""Images in class folders: ``root/{train,val,test}/CLASS/*``, or ``root/CLASS/*``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import torch
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from classifier.data.module import ImageData, ImageSets
from classifier.data.samples import FileSamples, Samples, load_into_memory

PARTS = ("train", "val", "test")


class FolderImages(ImageData):
    """Images in folders, one for each class, held in memory.

    Args:
        root: The folder: ``root/{train,val,test}/CLASS/*`` (without ``val`` or ``test``, these are taken from
            ``train``), or ``root/CLASS/*``.
        channels: 3: colour; 1: grey.
        options: Those of ``ImageData``.
    """

    def __init__(self, *, root: str, channels: int = 3, **options: Any) -> None:
        super().__init__(**options)
        self.root, self.channels = Path(root).expanduser(), channels

    def load(self) -> ImageSets:
        train = self.root / "train" if (self.root / "train").is_dir() else self.root
        names = sorted(entry.name for entry in train.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        parts = {part: self._read(self.root / part, names) for part in PARTS[1:] if (self.root / part).is_dir()}
        return ImageSets(self._read(train, names), parts.get("val"), parts.get("test"), names)

    def _read(self, folder: Path, names: list[str]) -> Samples:
        found = make_dataset(folder, {name: i for i, name in enumerate(names)}, IMG_EXTENSIONS)
        paths, classes = zip(*found, strict=True)
        return load_into_memory(FileSamples(numpy.array(paths), torch.tensor(classes), self.channels))
