"""Makes small data sets in the formats that ``classifier.data`` reads; classes differ in brightness."""

from __future__ import annotations

import gzip
import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, MNIST

TRAIN, TEST = 40, 20


def draw_images(count: int, shape: Sequence[int], classes: int = 10) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return uint8 images ``(count, *shape)`` and their classes, which take turns."""
    labels = numpy.arange(count) % classes
    noise = numpy.random.default_rng(0).integers(0, 20, (count, *shape))
    return (noise + (labels * (230 // classes)).reshape(-1, *[1] * len(shape))).astype(numpy.uint8), labels


def to_idx(values: numpy.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return header + values.astype(numpy.uint8).tobytes()


def compute_md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def make_mnist_files() -> dict[str, bytes]:
    """Return MNIST's four files, extracted."""
    files = {}
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        images, labels = draw_images(count, (28, 28))
        files |= {f"{part}-images-idx3-ubyte": to_idx(images), f"{part}-labels-idx1-ubyte": to_idx(labels)}
    return files


def make_mnist_archives(
    patch: pytest.MonkeyPatch, mirrors: Sequence[str], kind: type[MNIST] = MNIST
) -> dict[str, bytes]:
    """Return MNIST's four archives, and let torchvision know their checksums and where they are."""
    archives = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in make_mnist_files().items()}
    patch.setattr(MNIST, "resources", [(name, compute_md5(content)) for name, content in archives.items()])
    patch.setattr(MNIST, "mirrors", list(mirrors))
    return archives


def make_cifar_files(patch: pytest.MonkeyPatch, kind: type[CIFAR10] = CIFAR10) -> dict[str, bytes]:
    """Return the files of CIFAR-10 or CIFAR-100, extracted, and let torchvision know their checksums."""
    classes, key = (100, "fine_labels") if issubclass(kind, CIFAR100) else (10, "labels")
    files = {}
    for name, count in (("train_list", TRAIN), ("test_list", TEST)):
        entries = []
        for file, _ in getattr(kind, name):
            images, labels = draw_images(count, (3, 32, 32), classes)
            files[file] = pickle.dumps({"data": images.reshape(count, -1), key: labels.tolist()})
            entries.append([file, compute_md5(files[file])])
        patch.setattr(kind, name, entries)
    meta = kind.meta["filename"]
    files[meta] = pickle.dumps({kind.meta["key"]: [f"class {i}" for i in range(classes)]})
    patch.setattr(kind, "meta", {**kind.meta, "md5": compute_md5(files[meta])})
    return {f"{kind.base_folder}/{name}": content for name, content in files.items()}


def write_files(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def make_folder(
    root: Path,
    count: int,
    *,
    classes: Sequence[str] = ("a cat", "dog"),
    size: Sequence[int] = (16, 16),
    suffix: str = "png",
) -> Path:
    """Write ``count`` colour images of each class to ``root/CLASS``."""
    images, labels = draw_images(count * len(classes), (*size, 3), len(classes))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = root / classes[label] / f"image {number:03}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root
