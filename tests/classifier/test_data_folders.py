"""Images in class folders, in memory and through workers."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from classifier.data import Augmentation, FolderImages, folders
from classifier.data.samples import FileSamples, TensorSamples, read_image
from tests.classifier.small_images import make_folder


def load(root: Path, **options: Any) -> FolderImages:
    data = FolderImages(root=str(root), **{"batch_size": 4, "val_size": 4, "test_size": 4, **options})
    data.setup()
    return data


def count_images(data: FolderImages) -> dict[str, int]:
    return {name: len(samples.classes) for name, samples in data.splits.items()}


@pytest.fixture(autouse=True)
def forget() -> None:
    folders._load_images.cache_clear()


def test_class_folders_are_split_by_class(tmp_path: Path) -> None:
    data = load(make_folder(tmp_path / "with spaces", 10))
    assert data.class_names == ["a cat", "dog"]
    assert (data.input_shape, data.classes) == ((3, 16, 16), 2)
    assert count_images(data) == {"train": 12, "val": 4, "test": 4}
    assert data.splits["val"].classes.bincount().tolist() == [2, 2]
    images = torch.cat([samples.images.flatten(1) for samples in data.splits.values()])
    assert len(images.unique(dim=0)) == 20


def test_folders_of_train_val_and_test_are_these_splits(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("val", 3), ("test", 2)):
        make_folder(tmp_path / part, count)
    assert count_images(load(tmp_path)) == {"train": 10, "val": 6, "test": 4}
    make_folder(tmp_path / "val", 1, classes=["a bird"])
    with pytest.raises(ValueError, match=r"val has classes that the training has not: a bird"):
        load(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert load(make_folder(tmp_path, 6, classes=["bus", "train"])).class_names == ["bus", "train"]


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    make_folder(tmp_path, 6)
    (tmp_path / "README.txt").write_text("read me")
    (tmp_path / "dog/notes.txt").write_text("note")
    (tmp_path / "dog/.DS_Store").write_bytes(b"x")
    make_folder(tmp_path / ".cache", 1, classes=["x"])
    data = load(tmp_path)
    assert data.class_names == ["a cat", "dog"]
    assert sum(count_images(data).values()) == 12


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path, 6)
    (tmp_path / "empty one").mkdir()
    with pytest.raises(ValueError, match=r"no valid file for the classes empty one.*Supported extensions are: \.jpg"):
        load(tmp_path)


def test_folders_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`data\.root` is '.*/absent', but must be a folder that has"):
        load(tmp_path / "absent")
    with pytest.raises(ValueError, match="has 0 class folders, but needs at least 2"):
        load(tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_all_modes_become_grey_or_coloured(tmp_path: Path, channels: int) -> None:
    pixels = numpy.full((5, 4), 200, numpy.uint8)
    for mode in ("L", "RGB", "RGBA", "P", "1", "CMYK", "LA"):
        image = Image.fromarray(pixels).convert(mode)
        image.save(tmp_path / f"{mode}.{'tiff' if mode == 'CMYK' else 'png'}")
    Image.fromarray(pixels.astype(numpy.uint16) * 257).save(tmp_path / "16 bits.png")
    for path in tmp_path.iterdir():
        image = read_image(path, channels)
        assert (image.shape, image.dtype) == ((channels, 5, 4), torch.uint8), path
        assert path.stem == "1" or (image.float() - 200).abs().max() < 2, path


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"text"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, suffix: str, spoil: Any) -> None:
    make_folder(tmp_path, 6, suffix=suffix, size=(64, 64))
    bad = tmp_path / f"dog/image 005.{suffix}"
    bad.write_bytes(spoil(bad.read_bytes()))
    with pytest.raises(ValueError, match=rf"Cannot read the image {bad}: "):
        load(tmp_path)


def test_sizes_that_differ_are_named_and_can_be_made_equal(tmp_path: Path) -> None:
    make_folder(tmp_path, 6)
    make_folder(tmp_path, 6, classes=["wide"], size=(10, 30))
    with pytest.raises(ValueError, match=r"differ in size: 16x16 and 10x30 pixels. Set `data.image_size`"):
        load(tmp_path)
    for in_memory, kind in ((True, TensorSamples), (False, FileSamples)):
        data = load(tmp_path, image_size=12, resize=14, in_memory=in_memory)
        assert isinstance(data.splits["train"], kind)
        assert data.input_shape == (3, 12, 12)
        assert {tuple(images.shape[1:]) for images, _ in iterate(data)} == {(3, 12, 12)}
    data = load(tmp_path, in_memory=False, mean=[0.5] * 3, std=[0.5] * 3)
    with pytest.raises(ValueError, match="differ in size"):
        list(data.train_dataloader())


def iterate(data: FolderImages, loader: Any = None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return batches as a training gets them."""
    data.mean, data.std = data.mean or [0.5] * 3, data.std or [0.5] * 3
    return [data.on_after_batch_transfer(batch, 0) for batch in (data.train_dataloader() if loader is None else loader)]


def test_workers_make_the_same_batches_whatever_their_number(tmp_path: Path) -> None:
    make_folder(tmp_path, 8, size=(20, 30))
    options: dict[str, Any] = {
        "image_size": 12,
        "train_transform": v2.RandomVerticalFlip(),
        "augment": Augmentation(crop_padding=1, flip="alternating", cutout=2, mixup=0.3),
    }
    before = torch.get_rng_state()
    alone, shared = (iterate(load(tmp_path, num_workers=workers, **options)) for workers in (0, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(alone) == len(shared) == 2
    for (images, targets), (others, other_targets) in zip(alone, shared, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(targets, other_targets)


def test_workers_continue_in_mid_epoch(tmp_path: Path) -> None:
    make_folder(tmp_path, 12, size=(20, 30))
    data = load(tmp_path, image_size=12, augment=Augmentation(flip="random"))
    whole = iterate(data)
    loader = data.train_dataloader()
    next(iter(loader))
    assert loader.state_dict() == {"epoch": 0, "batches": 1}
    resumed = load(tmp_path, image_size=12, augment=Augmentation(flip="random"))
    resumed.load_state_dict(data.state_dict())
    rest = iterate(resumed)
    assert len(rest) == len(whole) - 1
    assert all(torch.equal(one[0], other[0]) for one, other in zip(rest, whole[1:], strict=True))


def test_an_evaluation_sees_the_centre_of_each_image_once(tmp_path: Path) -> None:
    make_folder(tmp_path, 8, size=(20, 30))
    data = load(tmp_path, image_size=12, eval_batch_size=3, augment=Augmentation(flip="random", mixup=1.0))
    first, again = (iterate(data, data.val_dataloader()) for _ in range(2))
    assert [len(classes) for _, classes in first] == [3, 1]
    assert all(torch.equal(one[0], other[0]) for one, other in zip(first, again, strict=True))


def test_a_transform_of_images_in_memory_is_done_by_workers(tmp_path: Path) -> None:
    data = load(make_folder(tmp_path, 8), train_transform=v2.RandomSolarize(0, p=1.0))
    plain = load(tmp_path)
    for (images, _), (others, _) in zip(iterate(data), iterate(plain), strict=True):
        assert torch.allclose(images, -others, atol=0.02)  # inverted


def test_decoded_images_are_kept_for_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = make_folder(tmp_path / "images", 8), tmp_path / "new/cache"
    decoded = []
    decode = folders.decode_all
    monkeypatch.setattr(folders, "decode_all", lambda *args: decoded.append(1) or decode(*args))

    plain = load(root).splits["train"].images
    decoded.clear()
    folders._load_images.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        for data in pool.map(lambda _: load(root, cache=str(cache)), range(4)):
            assert torch.equal(data.splits["train"].images, plain)
    assert len(decoded) == 1
    assert [path.suffix for path in cache.iterdir() if path.suffix != ".lock"] == [".npy"]
    folders._load_images.cache_clear()
    (root / "dog/image 001.png").unlink()
    assert sum(count_images(load(root, cache=str(cache))).values()) == 15
    assert len(decoded) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_memory": "maybe"}, "`data.in_memory` is 'maybe'. Valid choices are true, false, auto"),
        ({"image_size": 16, "resize": 8}, "`data.resize` is 8, but must be at least that of `data.image_size`, 16"),
        ({"resize": 8}, "`data.resize` is 8, but must be at least that of `data.image_size`, None"),
    ],
)
def test_bad_options_are_named_with_the_choices(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        FolderImages(root=str(tmp_path), batch_size=4, val_size=4, **options)


def test_reflection_needs_less_padding_than_the_image_has(tmp_path: Path) -> None:
    augmentation = Augmentation(crop_padding=16, padding_mode="reflect")
    with pytest.raises(
        ValueError, match=r"`data.augment.crop_padding` is 16, but .* less than the images' 16x16 pixels"
    ):
        load(make_folder(tmp_path, 6), augment=augmentation)
