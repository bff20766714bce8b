"""Augmentation, normalisation and splits."""

import re
from collections import Counter

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import crop, pad

from classifier.checks import RULES
from classifier.data.augment import Augmentation, Augmenter, Normalizer, measure_moments
from classifier.data.batches import split_evaluation
from classifier.data.splits import count_images, draw_stratified

IMAGES = torch.randint(1, 256, (60, 3, 8, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(60) % 10
PLAIN = Normalizer([0.0] * 3, [1 / 255] * 3)


def augment(
    images: Tensor = IMAGES, *, seed: int = 0, epoch: int = 0, batch: int = 0, rank: int = 0, **options: object
) -> tuple[Tensor, Tensor]:
    made = Augmenter(Augmentation(**options), PLAIN, classes=10, size=60, seed=seed, rank=rank)  # type: ignore[arg-type]
    rows = torch.arange(len(images))
    return made(made.make_windows(images), rows, CLASSES[rows], rows, epoch=epoch, batch=batch)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_a_crop_is_a_window_of_the_padded_image(mode: str) -> None:
    cropped, classes = augment(crop_padding=2, padding_mode=mode)
    padded = pad(IMAGES, [2] * 4, padding_mode=mode).float()
    places = []
    for image, whole in zip(cropped, padded, strict=True):
        fits = [(y, x) for y in range(5) for x in range(5) if torch.allclose(crop(whole, y, x, 8, 6), image, atol=0.01)]
        places += fits[:1]
    assert len(places) == 60
    assert len(set(places)) > 15  # of 25
    assert torch.equal(classes, CLASSES)


def test_a_random_flip_mirrors_half_of_the_images() -> None:
    flipped, _ = augment(flip="random")
    mirrored = [
        torch.equal(image, other.float().flip(-1)) for image, other in zip(flipped.round(), IMAGES, strict=True)
    ]
    kept = [torch.equal(image, other.float()) for image, other in zip(flipped.round(), IMAGES, strict=True)]
    assert all(one != other for one, other in zip(mirrored, kept, strict=True))
    assert 15 < sum(mirrored) < 45


def test_an_alternating_flip_shows_each_image_both_ways_in_two_epochs() -> None:
    epochs = [augment(flip="alternating", epoch=epoch, batch=epoch)[0] for epoch in range(3)]
    assert torch.equal(epochs[0].flip(-1), epochs[1])
    assert torch.equal(epochs[0], epochs[2])
    first = (epochs[0].round() == IMAGES.float()).flatten(1).all(1)
    assert 15 < int(first.sum()) < 45


def test_cutout_replaces_a_square_by_the_mean_and_is_cut_off_by_the_edges() -> None:
    images, _ = augment(cutout=4)
    sizes = Counter()
    for image in images:
        rows, columns = ((image == 0).all(0).any(dim).nonzero().flatten() for dim in (1, 0))
        hole = image[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (hole == 0).all()
        assert int((image == 0).sum()) == hole.numel()
        sizes[tuple(hole.shape[1:])] += 1
    assert max(sizes) == (4, 4)
    assert len(sizes) > 3  # the centre may be any pixel


def test_mixup_mixes_images_and_classes_alike() -> None:
    images, targets = augment(mixup=1.0)
    assert targets.dtype == torch.float32
    assert torch.allclose(targets.sum(1), torch.ones(60))
    for image, target, own, own_class in zip(images, targets, IMAGES.float(), CLASSES, strict=True):
        weight = target[own_class]
        if weight < 1:
            partner = (image - weight * own) / (1 - weight)
            distance = (IMAGES.float() - partner).abs().flatten(1).amax(1)
            assert distance.min() < 1
            assert target[CLASSES[distance.argmin()]] > 0


def test_the_random_numbers_depend_on_seed_epoch_batch_and_rank_alone() -> None:
    options = {"crop_padding": 2, "flip": "random", "cutout": 3, "mixup": 0.5}
    before = torch.get_rng_state()
    images, targets = augment(**options)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again = augment(**options)
    assert torch.equal(again[0], images)
    assert torch.equal(again[1], targets)
    for other in ("seed", "epoch", "batch", "rank"):
        assert not torch.equal(augment(**options, **{other: 1})[0], images), other


def test_without_options_images_are_only_normalised() -> None:
    images, classes = augment()
    assert torch.equal(images.round(), IMAGES.float())
    assert torch.equal(classes, CLASSES)


def test_normalised_images_have_mean_0_and_variance_1_in_the_trainings_precision() -> None:
    mean, std = measure_moments(IMAGES)
    images = Normalizer(mean, std)(IMAGES)
    assert images.mean((0, 2, 3)).abs().max() < 1e-5
    assert (images.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    rounded = Normalizer(mean, std, dtype=torch.bfloat16)(IMAGES)
    assert torch.equal(rounded, images.bfloat16())


def test_images_of_one_colour_have_no_moments() -> None:
    with pytest.raises(ValueError, match=r"one colour: set `data\.mean`"):
        measure_moments(torch.zeros(3, 1, 2, 2, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": "sometimes"}, "Unknown `data.augment.flip` 'sometimes'. Valid choices are none, random, alternating"),
        (
            {"padding_mode": "zeros"},
            "Unknown `data.augment.padding_mode` 'zeros'. Valid choices are constant, reflect",
        ),
    ],
)
def test_bad_options_are_named_with_the_choices(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Augmentation(**options)  # type: ignore[arg-type]


def test_a_split_has_each_classs_share_and_follows_the_seed() -> None:
    classes = torch.tensor([0] * 50 + [1] * 30 + [2] * 19 + [3])
    drawn, left = draw_stratified(classes, 20, seed=1)
    assert sorted([*drawn.tolist(), *left.tolist()]) == list(range(100))
    assert torch.bincount(classes[drawn]).tolist() == [10, 6, 4]
    assert torch.equal(draw_stratified(classes, 20, seed=1)[0], drawn)
    assert not torch.equal(draw_stratified(classes, 20, seed=2)[0], drawn)
    assert [len(part) for part in draw_stratified(classes, 0, seed=1)] == [0, 100]


@pytest.mark.parametrize(("size", "count"), [(0, 0), (0.1, 20), (1, 1), (199, 199), (20.0, 20)])
def test_a_size_is_a_number_or_a_fraction(size: float, count: int) -> None:
    assert count_images(size, 200, "data.val_size") == count


@pytest.mark.parametrize("size", [-1, 1.5, "10", True, float("nan")])
def test_a_bad_size_is_refused(size: float) -> None:
    assert not RULES["data.val_size"].accepts(size)


@pytest.mark.parametrize("size", [200, 0.999])
def test_a_size_that_takes_all_images_is_refused(size: float) -> None:
    with pytest.raises(ValueError, match=r"The value of `data\.val_size` is "):
        count_images(size, 200, "data.val_size")


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("size", "batch_size"), [(10, 4), (9, 3), (3, 1), (7, 100)])
def test_ranks_evaluate_each_image_once_in_as_many_batches(size: int, batch_size: int, world_size: int) -> None:
    ranks = [split_evaluation(size, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    assert all(len(batch) for batches in ranks for batch in batches)
    assert sorted(int(i) for batches in ranks for batch in batches for i in batch) == list(range(size))


def test_more_ranks_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="2 images cannot be evaluated by 3 devices"):
        split_evaluation(2, 1, rank=0, world_size=3)
