"""Images in class folders: ``root/{train,val,test}/CLASS/*``, or ``root/CLASS/*``."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy
import torch
from filelock import FileLock
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset
from torchvision.transforms import v2

from classifier.data.batches import Transform
from classifier.data.module import ImageData, ImageSets
from classifier.data.samples import FileSamples, TensorSamples, decode_all, read_image

log = logging.getLogger(__name__)

InMemory = bool | Literal["auto"]


class FolderImages(ImageData):
    """Images in folders, one for each class. Files that are no images, and hidden folders, are passed over.

    Small images lie in memory and are augmented on the device. Others are decoded by workers: a training image is
    cropped at random and resized to ``image_size``, and goes through ``train_transform``; an image of validation or
    test is resized, and cropped at its centre.

    Args:
        root: The folder: ``root/{train,val,test}/CLASS/*`` (without ``val`` or ``test``, these are taken from
            ``train``), or ``root/CLASS/*``.
        channels: 3: colour; 1: grey. Images that differ are converted.
        image_size: Height and width of the images in pixels; None: they are of one size, and stay so.
        resize: The shorter side of an image before its centre is cropped; None: ``image_size``.
        min_scale: The smallest share of its area to which a training image is cropped at random.
        in_memory: Hold all images in memory, resized and cropped as for validation; ``auto``: if ``image_size`` is
            None, and they take at most ``memory_limit_mib``.
        memory_limit_mib: For ``auto``.
        cache: A directory that keeps the images that are held in memory, decoded, for other processes; None: none.
        train_transform: That of ``ImageData``.
        options: Those of ``ImageData``.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        *,
        root: str,
        channels: int = 3,
        image_size: int | None = None,
        resize: int | None = None,
        min_scale: float = 0.35,
        in_memory: InMemory = "auto",
        memory_limit_mib: int = 4096,
        cache: str | None = None,
        train_transform: Transform | None = None,
        **options: Any,
    ) -> None:
        super().__init__(train_transform=train_transform, **options)
        if in_memory not in (True, False, "auto"):
            raise ValueError(f"The value of `data.in_memory` is {in_memory!r}. Valid choices are true, false, auto")
        if resize is not None and (image_size is None or resize < image_size):
            raise ValueError(
                f"The value of `data.resize` is {resize}, but must be at least that of `data.image_size`, {image_size}"
            )
        self.root, self.channels = Path(root).expanduser().absolute(), channels
        self.image_size, self.resize, self.min_scale = image_size, resize or image_size, min_scale
        self.in_memory, self.memory_limit_mib, self.cache = in_memory, memory_limit_mib, cache
        if image_size is not None:
            self.eval_transform = v2.Compose([v2.Resize(self.resize), v2.CenterCrop(image_size)])

    def load(self) -> ImageSets:
        train = self._find_train_folder()
        names = sorted(entry.name for entry in train.iterdir() if _is_class(entry))
        if len(names) < 2:
            raise ValueError(f"{train} has {len(names)} class folders, but needs at least 2: {train}/CLASS/*.jpg")
        files: dict[str, FileSamples] = {"train": self._find_images(train, names)}
        for part in ("val", "test"):
            if train != self.root and (self.root / part).is_dir():
                files[part] = self._find_images(self.root / part, names)
        if self._fit_in_memory(files.values()):
            loaded = {part: self._load(samples) for part, samples in files.items()}
            return ImageSets(names, loaded["train"], loaded.get("val"), loaded.get("test"))
        if self.image_size is not None:
            crop = v2.RandomResizedCrop(self.image_size, (self.min_scale, 1.0))
            self.train_transform = v2.Compose([crop, self.train_transform]) if self.train_transform else crop
        return ImageSets(names, files["train"], files.get("val"), files.get("test"))

    def _find_train_folder(self) -> Path:
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"The value of `data.root` is {str(self.root)!r}, but must be a folder that has root/train/CLASS/*.jpg "
                "or root/CLASS/*.jpg"
            )
        train = self.root / "train"
        # A class may be called "train": that folder has images, but no folders.
        return train if train.is_dir() and any(map(_is_class, train.iterdir())) else self.root

    def _find_images(self, folder: Path, names: Sequence[str]) -> FileSamples:
        """Find the images of each class; folders other than ``train`` may lack classes.

        Raises:
            ValueError: A class has no images, or a folder is none of ``names``.
        """
        found = {entry.name for entry in folder.iterdir() if _is_class(entry)}
        if unknown := sorted(found - set(names)):
            raise ValueError(f"{folder} has classes that the training has not: {', '.join(unknown)}")
        try:
            indices = {name: index for index, name in enumerate(names) if name in found}
            paths, classes = zip(*make_dataset(folder, indices, IMG_EXTENSIONS), strict=True)
        except FileNotFoundError as error:
            raise ValueError(f"In {folder}: {error}") from error
        return FileSamples(numpy.array(paths), torch.tensor(classes), self.channels)

    def _fit_in_memory(self, parts: Collection[FileSamples]) -> bool:
        if self.in_memory != "auto":
            return self.in_memory
        first = next(iter(parts)).paths[0]
        size = sum(len(part.paths) for part in parts) * read_image(first, self.channels).numel()
        return self.image_size is None and size <= self.memory_limit_mib * 2**20

    def _load(self, files: FileSamples) -> TensorSamples:
        hashed = hashlib.sha256(f"{self.channels} {self.image_size} {self.resize}".encode())
        for path in files.paths:  # as text, which is ten times as fast as Path
            status = os.stat(path)
            hashed.update(f"{path[len(str(self.root)) :]}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        images = _load_images(_Images(hashed.hexdigest(), self.cache, files, self.eval_transform))
        return TensorSamples(images, files.classes)


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))


@dataclass(frozen=True)
class _Images:
    """Images to load. ``key``: what they are."""

    key: str
    cache: str | None
    files: FileSamples = field(compare=False)
    transform: Transform | None = field(compare=False)


@lru_cache(maxsize=3)  # training, validation and test, for the trials of one process
def _load_images(wanted: _Images) -> Tensor:
    if wanted.cache is None:
        return torch.from_numpy(decode_all(wanted.files, wanted.transform))
    path = Path(wanted.cache).expanduser() / f"{wanted.key[:32]}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # one process decodes, the others wait
        if not path.exists():
            log.info("Decoding %d images into %s", len(wanted.files.paths), path)
            temporary = path.with_suffix(".tmp")  # may be there, of a process that was killed
            with temporary.open("wb") as file:
                numpy.save(file, decode_all(wanted.files, wanted.transform))
            temporary.replace(path)
    return torch.from_numpy(numpy.load(path, mmap_mode="c"))  # the processes share what they do not write
