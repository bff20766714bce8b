"""scikit-learn's digits: 1,797 real 8x8 images that are part of the package, so nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from classifier.data.module import ImageData, ImageSets
from classifier.data.samples import TensorSamples
from classifier.data.splits import count_images


class Digits(ImageData):
    """Images ``(n, 1, 8, 8)``, of zero mean and unit variance over the training split; classes ``(n,)``.

    Args:
        val_size: Images of the validation split.
        test_size: Images of the test split.
        options: Those of ``ImageData``, but for ``mean`` and ``std``. Validation and test are one batch each.
    """

    drops_single = False  # so were the numbers in docs/ measured

    def __init__(self, *, val_size: float = 300, test_size: float = 300, **options: Any) -> None:
        super().__init__(**{"eval_batch_size": None, **options}, val_size=val_size, test_size=test_size)

    def load(self) -> ImageSets:
        return _load_digits(self.val_size, self.test_size, self.split_seed)

    def _find_moments(self) -> tuple[Sequence[float], Sequence[float]]:
        return [0.0], [1.0]  # the images are normalised already


@lru_cache(maxsize=1)  # for the trials of one process
def _load_digits(val_size: float, test_size: float, seed: int) -> ImageSets:
    """Load the three splits: stratified by class, disjoint, and the same for the same seed."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, classes = load_digits(return_X_y=True)
    left = len(classes)
    for name, size in (("test_size", test_size), ("val_size", val_size)):
        count = count_images(size, left, f"data.{name}")
        if count < 10:
            raise ValueError(
                f"The value of `data.{name}` is {size!r}, but must be 10 images or more, one of each class"
            )
        left -= count
    rest, test = train_test_split(range(len(classes)), test_size=test_size, stratify=classes, random_state=seed)
    train, val = train_test_split(rest, test_size=val_size, stratify=classes[rest], random_state=seed)
    x = torch.as_tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.as_tensor(classes, dtype=torch.long)
    x = (x - x[train].mean()) / x[train].std()
    return ImageSets("0123456789", *(TensorSamples(x[part], y[part]) for part in (train, val, test)))
