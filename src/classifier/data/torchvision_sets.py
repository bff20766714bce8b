"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 in torchvision's formats and layout."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST, VisionDataset
from torchvision.datasets.utils import check_integrity

from classifier.data.downloads import Archive, fetch_archives
from classifier.data.module import ImageData, ImageSets
from classifier.data.samples import TensorSamples

DATASETS: dict[str, type[VisionDataset]] = {
    "mnist": MNIST,
    "fashion_mnist": FashionMNIST,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
}


class TorchvisionImages(ImageData):
    """A data set that torchvision knows, held in memory. Its test part is the test split.

    Args:
        dataset: One of ``DATASETS``.
        root: The directory of torchvision's data sets, which several may share.
        download: Download what is not there.
        options: Those of ``ImageData``.

    Raises:
        ValueError: There is no such data set.
    """

    def __init__(self, *, dataset: str, root: str, download: bool = True, **options: Any) -> None:
        if dataset not in DATASETS:
            raise ValueError(f"Unknown `data.dataset` {dataset!r}. Valid choices are {', '.join(DATASETS)}")
        super().__init__(**options)
        self.dataset, self.root, self.download = dataset, root, download

    def load(self) -> ImageSets:
        return load_dataset(self.dataset, str(Path(self.root).expanduser().absolute()), download=self.download)


@lru_cache(maxsize=1)  # for the trials of one process
def load_dataset(name: str, root: str, *, download: bool) -> ImageSets:
    """Load a data set from ``root``, and download it first if it is not there.

    Raises:
        FileNotFoundError: It is not there and cannot be downloaded.
        ValueError: The files are damaged.
    """
    kind = DATASETS[name]
    is_mnist = issubclass(kind, MNIST)
    directory = Path(root, kind.__name__, "raw") if is_mnist else Path(root)
    if is_mnist:
        archives = [
            Archive(directory / file, md5, [mirror + file for mirror in kind.mirrors]) for file, md5 in kind.resources
        ]
        files = [archive.path.with_suffix("") for archive in archives]
        fetch_archives(name, archives, lambda: all(map(is_whole_idx, files)), download=download)
    else:
        archive = Archive(directory / kind.filename, kind.tgz_md5, [kind.url])
        parts = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
        paths = [(directory / kind.base_folder / file, md5) for file, md5 in parts]
        fetch_archives(
            name, [archive], lambda: all(check_integrity(path, md5) for path, md5 in paths), download=download
        )
    train, test = (kind(root, train=train) for train in (True, False))
    return ImageSets(train.classes, _to_samples(train), None, _to_samples(test))


def _to_samples(dataset: Any) -> TensorSamples:
    images = torch.as_tensor(dataset.data)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return TensorSamples(images, torch.as_tensor(dataset.targets))


def is_whole_idx(path: Path) -> bool:
    """Whether a file in MNIST's format has all the bytes that its header announces."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            shape = [int.from_bytes(file.read(4)) for _ in range(magic[3])]
        return path.stat().st_size == 4 + 4 * len(shape) + math.prod(shape)
    except (FileNotFoundError, IndexError):
        return False
