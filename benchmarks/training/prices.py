"""Measure, side by side, what augmentation, averaged weights and the metrics of an evaluation cost.

Each row is a pair that does the same work in two ways, in turns, in one process with one thread: training batches that
are augmented as a whole, or image by image by torchvision's transforms (with and without worker processes); training
steps with an average of the weights and without; evaluations with all metrics, and with the loss and accuracy alone.
Images are random: nothing here depends on what they show. Prints a Markdown table of medians of processor time,
that of worker processes included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

from classifier.averaging import copy_network, update_average
from classifier.data.augment import Augmentation
from classifier.data.module import ImageData, ImageSets
from classifier.data.samples import TensorSamples
from classifier.metrics import EvaluationMetrics
from classifier.models import airbench

IMAGES, BATCH = 2048, 128
Work = Callable[[], Any]


class RandomImages(ImageData):
    """As many images of CIFAR's size as ``IMAGES``, and ``val_size`` of them for the validation."""

    def load(self) -> ImageSets:
        random = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=random)
        return ImageSets("0123456789", TensorSamples(images, torch.arange(IMAGES) % 10), None, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="measurements of each (default: 7)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| what | with | beside | CPU time | CPU time | ratio |\n|---|---|---|---|---|---|")
    for what, first, second, works in list_pairs():
        a, b = measure(works, options.repeats)
        print(f"| {what} | {first} | {second} | {a:.3f} s | {b:.3f} s | {a / b:.2f} |", flush=True)


def list_pairs() -> Iterable[tuple[str, str, str, tuple[Work, Work]]]:
    """Yield what is measured, the names of its two ways, and what does the work in each."""
    whole = make_epoch(augment=Augmentation(crop_padding=4, flip="random"))
    for workers in (0, 2):
        each = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
        names = "a batch at a time", f"image by image, {workers} workers"
        yield f"crop and flip {IMAGES} images", *names, (whole, make_epoch(train_transform=each, num_workers=workers))
    for width in (0.25, 0.5):
        step, averaged = make_step(width, ema=False), make_step(width, ema=True)
        yield f"a step of airbench, width {width}", "averaged weights", "none", (averaged, step)
    for images in (300, 10_000):
        logits, classes = torch.randn(images, 10), torch.arange(images) % 10
        works = make_evaluation(logits, classes), lambda x=logits, y=classes: evaluate_plainly(x, y)
        yield f"metrics of {images} images", "loss, accuracy, F1, calibration", "loss, accuracy", works


def measure(works: tuple[Work, Work], repeats: int) -> list[float]:
    """Return the median seconds of processor time of each work, which take turns; the first turn warms up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for spent, work in list(zip(seconds, works, strict=True))[:: 1 if turn % 2 else -1]:
            before = read_clock()
            work()
            if turn:
                spent.append(read_clock() - before)
    return [statistics.median(spent) for spent in seconds]


def read_clock() -> float:
    """The processor time of this process and of its workers that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def make_epoch(**options: Any) -> Work:
    """Return what makes all training batches of an epoch, with new workers if there are any."""

    def make() -> None:
        data = RandomImages(batch_size=BATCH, val_size=0, mean=[0.5] * 3, std=[0.25] * 3, **options)
        data.setup()
        loader = data.train_dataloader()
        for batch in loader:
            data.on_after_batch_transfer(batch, 0)
        if (iterator := getattr(loader, "_iterator", None)) is not None:
            iterator._shutdown_workers()  # their time counts when they have ended

    return make


def make_step(width: float, *, ema: bool) -> Work:
    network = airbench(input_shape=(3, 32, 32), classes=10, width=width, dropout=0.0)
    images, classes = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    average: nn.Module | None = copy_network(network) if ema else None

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(network(images), classes).backward()
        optimizer.step()
        if average is not None:
            update_average(average, network, decay=0.999, step=10)

    return step


def make_evaluation(logits: torch.Tensor, classes: torch.Tensor) -> Work:
    metrics = EvaluationMetrics()

    def evaluate() -> None:
        for part, true in zip(logits.split(1000), classes.split(1000), strict=True):
            cross_entropy(part, true)
            metrics.update(part, true)
        metrics.compute()

    return evaluate


def evaluate_plainly(logits: torch.Tensor, classes: torch.Tensor) -> float:
    """Sum up the loss and the right predictions of batches, as a plain loop does."""
    loss, right = torch.zeros(()), torch.zeros((), dtype=torch.long)
    for part, true in zip(logits.split(1000), classes.split(1000), strict=True):
        loss += cross_entropy(part, true) * len(true)
        right += (part.argmax(1) == true).sum()
    return float(loss) + float(right)


if __name__ == "__main__":
    main()
