"""``ImageData``: a data module that splits images and makes the batches of a training from them."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from classifier.compute import find_image_dtype
from classifier.data.augment import Augmentation, Augmenter, Normalizer, measure_moments
from classifier.data.batches import (
    Batch,
    EvaluationBatches,
    Numbered,
    NumberedBatches,
    RawBatch,
    TrainBatches,
    Transform,
    WorkerBatches,
    split_evaluation,
)
from classifier.data.samples import Samples, TensorSamples
from classifier.data.splits import count_images, draw_stratified
from wandbsweep.lightning import EpochBatches, ResumableLoader


class ImageSets(NamedTuple):
    """What a data set consists of. ``val`` and ``test``: None if it has no such part, so it is taken from ``train``."""

    class_names: Sequence[str]
    train: Samples
    val: Samples | None
    test: Samples | None


class ImageData(LightningDataModule):
    """Images of several classes: split once, held on the device if they fit, and augmented there batch by batch.

    Batches are ``(images, classes)``: normalised ``(n, channels, height, width)``, in the training's precision, and
    ``(n,)``; with mixup the training's classes are probabilities, ``(n, classes)``.

    Args:
        batch_size: Images in a training batch, on each device.
        eval_batch_size: Images in a batch of validation and test, on each device; None: all in one.
        val_size: Images, or the fraction of them, that are taken from the training images for validation, if the data
            set has no validation part of its own. 0: none; then there are no ``val/`` metrics.
        test_size: The same for the test.
        limit_train: Train on so many images, drawn by ``split_seed`` with each class's share; None: on all.
        drop_last: Leave out an epoch's last batch if it is smaller. One of a single image is always left out: batch
            normalisation has no variance of it.
        seed: Of the order of the training images and of the augmentation.
        split_seed: Of the splits. It differs from ``seed``, since runs with several seeds must share a test split.
        mean: Of each channel, of pixels between 0 and 1; None: as the training split has it, if it is held in memory.
        std: The same of the standard deviation.
        augment: What is done to a training batch.
        train_transform: A transform (of ``torchvision.transforms.v2``) of each training image, done by the workers.
        num_workers: Processes that decode and transform images that are not held in memory; at most one for each CPU.
    """

    eval_transform: Transform | None = None
    drops_single = True

    def __init__(
        self,
        *,
        batch_size: int,
        eval_batch_size: int | None = 1000,
        val_size: float,
        test_size: float = 0,
        limit_train: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
        split_seed: int = 0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        augment: Augmentation | None = None,
        train_transform: Transform | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.val_size, self.test_size, self.limit_train = val_size, test_size, limit_train
        self.drop_last = drop_last
        self.seed, self.split_seed = seed, split_seed
        self.mean, self.std = mean, std
        self.augment = augment or Augmentation()
        self.train_transform = train_transform
        self.num_workers = num_workers
        self.splits: dict[str, Samples] = {}
        self._sets: ImageSets | None = None
        self._train: TrainBatches | ResumableLoader | None = None
        self._start: dict[str, int] = {}
        self._augmenter: Augmenter | None = None
        self._moments: tuple[Sequence[float], Sequence[float]] | None = None
        self._normalizer: Normalizer | None = None

    @abstractmethod
    def load(self) -> ImageSets:
        """Return the data set; called once."""

    @property
    def sets(self) -> ImageSets:
        if self._sets is None:
            self._sets = self.load()
        return self._sets

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        first = self.sets.train.read(torch.tensor([0]))[0]
        return tuple((self.eval_transform(first) if self.eval_transform else first).shape)

    @property
    def class_names(self) -> Sequence[str]:
        return self.sets.class_names

    @property
    def classes(self) -> int:
        return len(self.class_names)

    def setup(self, stage: str | None = None) -> None:
        if not self.splits:
            self.splits = self._split()
            self.augment.check_size(*self.input_shape[-2:])

    def check(self) -> None:
        """Set the splits up, and raise a ValueError for what the loaders would refuse."""
        self.setup()
        self._moments = self._find_moments()  # the normalizer needs the trainer's precision too
        self._check_batch_size()

    def _split(self) -> dict[str, Samples]:
        sets = self.sets
        train, left = sets.train, torch.arange(len(sets.train.classes))
        splits = {"val": sets.val, "test": sets.test}
        for name in ("test", "val"):  # whatever the size of the validation split, the test split is the same
            if splits[name] is None:
                count = count_images(getattr(self, f"{name}_size"), len(left), f"data.{name}_size")
                drawn, rest = draw_stratified(train.classes[left], count, self.split_seed)
                splits[name], left = train.select(left[drawn]) if count else None, left[rest]
        if self.limit_train is not None:
            if self.limit_train > len(left):
                raise ValueError(
                    f"The value of `data.limit_train` is {self.limit_train}, but must be at most {len(left)}, the "
                    "number of training images, or null"
                )
            left = left[draw_stratified(train.classes[left], self.limit_train, self.split_seed)[0]]
        if len(left) < len(train.classes):
            train = train.select(left)
        return {"train": train, **{name: split for name, split in splits.items() if split}}

    def _drops_last(self, images: int) -> bool:
        return self.drop_last or (self.drops_single and images % self.batch_size == 1)

    def _check_batch_size(self) -> None:
        most = len(self.splits["train"].classes) // self._find_rank()[1]
        if self.batch_size > most and self._drops_last(most):
            raise ValueError(
                f"The value of `data.batch_size` is {self.batch_size}, but with `data.drop_last` must be at most "
                f"{most}, the training images of each device"
            )

    def train_dataloader(self) -> TrainBatches | ResumableLoader:
        self._check_batch_size()
        samples, (rank, world_size) = self.splits["train"], self._find_rank()
        size = len(samples.classes)
        order: dict[str, Any] = {"seed": self.seed, "rank": rank, "world_size": world_size}
        order["drop_last"] = self._drops_last(size // world_size)
        augmenter = Augmenter(
            self.augment, self._make_normalizer(), classes=self.classes, size=size, seed=self.seed, rank=rank
        )
        if isinstance(samples, TensorSamples) and self.train_transform is None:
            batches = EpochBatches(size, self.batch_size, **order)
            self._train = TrainBatches(batches, _make_on_device(samples.to(self._find_device()), augmenter))
        else:
            batches = NumberedBatches(size, self.batch_size, **order)
            data = WorkerBatches(samples, self.train_transform, seed=self.seed, rank=rank)
            self._train = ResumableLoader(data, sampler=batches, **self._worker_options())
            self._augmenter = augmenter  # for on_after_batch_transfer
        self.load_state_dict(self._start)
        return self._train

    def val_dataloader(self) -> Any:
        return self._evaluate("val")

    def test_dataloader(self) -> Any:
        return self._evaluate("test")

    def _evaluate(self, split: str) -> Any:
        if (samples := self.splits.get(split)) is None:
            return []
        size, (rank, world_size) = len(samples.classes), self._find_rank()
        batches = split_evaluation(size, self.eval_batch_size or size, rank=rank, world_size=world_size)
        if isinstance(samples, TensorSamples):
            (images, classes), normalizer = samples.to(self._find_device()), self._make_normalizer()
            return EvaluationBatches(batches, lambda rows: (normalizer(images[rows]), classes[rows]))
        sampler = [Numbered(indices, -1, number) for number, indices in enumerate(batches)]
        return DataLoader(WorkerBatches(samples, self.eval_transform), sampler=sampler, **self._worker_options())

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Finish, on the device, what a worker made."""
        if not isinstance(batch, RawBatch):
            return batch
        images, classes, (indices, epoch, number) = batch
        if epoch < 0:
            return self._make_normalizer()(images), classes
        assert self._augmenter
        windows = self._augmenter.make_windows(images)
        rows = torch.arange(len(images), device=images.device)
        return self._augmenter(windows, rows, classes, indices, epoch=epoch, batch=number)

    # The loader's state is part of ours: Lightning restores loaders only if the number of steps was not asked for
    # before, and schedules ask for it.

    def state_dict(self) -> dict[str, int]:
        return self._train.state_dict() if self._train else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._start = state_dict
        if self._train and state_dict:
            self._train.load_state_dict(state_dict)

    def _find_rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _find_device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _worker_options(self) -> dict[str, Any]:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        workers = min(self.num_workers, cpus or 1)  # torch warns of more
        return {
            "batch_size": None,  # a "sample" is a batch
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": self._find_device().type == "cuda",
            # Separate: a loader draws a seed in every iter(), by default from the stream that dropout uses too, and a
            # resuming Lightning calls iter() at another moment.
            "generator": torch.Generator(),
        }

    def _make_normalizer(self) -> Normalizer:
        if self._normalizer is None:
            mean, std = self._moments = self._moments or self._find_moments()
            dtype = find_image_dtype(self.trainer.precision) if self.trainer else torch.float32
            self._normalizer = Normalizer(mean, std, dtype=dtype)
        return self._normalizer

    def _find_moments(self) -> tuple[Sequence[float], Sequence[float]]:
        samples = self.splits["train"]
        if self.mean is None or self.std is None:
            if not isinstance(samples, TensorSamples):
                raise ValueError("`data.mean` and `data.std` must be given for images that are not held in memory")
            return measure_moments(samples.images)
        channels = self.input_shape[0]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels:
                raise ValueError(f"`data.{name}` has {len(values)} values, but the images have {channels} channels")
        return list(self.mean), list(self.std)


def _make_on_device(samples: TensorSamples, augmenter: Augmenter) -> Callable[[Tensor, int, int], Batch]:
    """Return the function that makes a training batch of images on the device from their indices."""
    images, classes = samples
    device = images.device
    if augmenter.options == Augmentation():

        def make(indices: Tensor, epoch: int, number: int) -> Batch:
            rows = indices.to(device)
            return augmenter.normalizer(images[rows]), classes[rows]

        return make
    windows = augmenter.make_windows(images)

    def make_augmented(indices: Tensor, epoch: int, number: int) -> Batch:
        rows = indices.to(device)
        return augmenter(windows, rows, classes[rows], rows, epoch=epoch, batch=number)

    return make_augmented
