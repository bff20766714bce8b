"""Plain PyTorch loops that train what ``train.py`` trains: the same weights, batches, steps and evaluations.

They are what a practitioner writes without any framework, and the measure of what ours costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, TensorDataset


class Split(NamedTuple):
    """Images ``(n, channels, height, width)`` and their classes ``(n,)``."""

    images: Tensor
    classes: Tensor


class Training(NamedTuple):
    network: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler


def load_digits(*, val_size: int, test_size: int, split_seed: int) -> dict[str, Split]:
    """Load scikit-learn's digits in the splits that ``conf/data/digits.yaml`` makes.

    Args:
        val_size: How many images the validation has.
        test_size: How many images the test has; they are put aside.
        split_seed: Chooses the images.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, classes = load_digits(return_X_y=True)
    rest, _ = train_test_split(range(len(classes)), test_size=test_size, stratify=classes, random_state=split_seed)
    train, val = train_test_split(rest, test_size=val_size, stratify=classes[rest], random_state=split_seed)
    x = torch.as_tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.as_tensor(classes, dtype=torch.long)
    x = (x - x[train].mean()) / x[train].std()
    return {"train": Split(x[train], y[train]), "val": Split(x[val], y[val])}


def fit(
    training: Training,
    train: Split,
    val: Split,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    clip: float | None = None,
    save: Callable[[int, dict[str, float]], None] | None = None,
    loader: bool = True,
) -> dict[str, float]:
    """Train and evaluate for ``epochs``, and return the last epoch's metrics.

    Args:
        training: What is trained, and how.
        train: The training split.
        val: The validation split, evaluated as one batch after every epoch.
        epochs: How many times the training split is passed.
        batch_size: How many images a step takes.
        seed: Decides the order of the images, and what dropout draws.
        clip: The largest norm of the gradients; None: any.
        save: Called after every epoch, with its number and metrics.
        loader: Take the batches from a DataLoader, as PyTorch's tutorials do; False: index the tensors, which is fast.
    """
    network, optimizer, scheduler = training
    metrics: dict[str, float] = {}
    for epoch in range(epochs):
        torch.manual_seed((seed * 1_000_003 + epoch) * 1_000)
        network.train()
        total = torch.zeros(())
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(len(train.classes), generator=generator)
        for images, classes in _load(train, order, batch_size) if loader else _index(train, order, batch_size):
            loss = cross_entropy(network(images), classes)
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            scheduler.step()
            total += loss.detach() * len(classes)
        network.eval()
        with torch.no_grad():
            logits = network(val.images)
            metrics = {
                "train/loss": float(total / len(train.classes)),
                "val/loss": float(cross_entropy(logits, val.classes)),
                "val/accuracy": float((logits.argmax(1) == val.classes).float().mean()),
            }
        if save is not None:
            save(epoch, metrics)
    return metrics


def _load(split: Split, order: Tensor, batch_size: int) -> Iterable[Split]:
    # The samples in our order, and a generator of its own, so that both loops draw the same random numbers.
    options = {"sampler": order.tolist(), "generator": torch.Generator()}
    return DataLoader(TensorDataset(*split), batch_size=batch_size, **options)


def _index(split: Split, order: Tensor, batch_size: int) -> Iterable[Split]:
    return (Split(split.images[batch], split.classes[batch]) for batch in order.split(batch_size))


class Checkpoints:
    """Writes ``last.pt`` after every epoch, and ``best.pt`` after the best so far, as ``torch.save`` does by itself."""

    def __init__(self, directory: Path, training: Training) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._training = directory, training
        self.best = float("inf")
        """The lowest validation loss."""

    def __call__(self, epoch: int, metrics: dict[str, float]) -> None:
        states = {name: part.state_dict() for name, part in self._training._asdict().items()}
        state = {"epoch": epoch, "metrics": metrics, **states}
        torch.save(state, self._directory / "last.pt")
        if metrics["val/loss"] < self.best:
            self.best = metrics["val/loss"]
            torch.save(state, self._directory / "best.pt")
