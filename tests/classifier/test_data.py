import pytest
import torch

from classifier.data import Digits
from wandbsweep.lightning import EpochBatches


def splits(**options: int) -> dict[str, torch.Tensor]:
    data = Digits(batch_size=64, **options)
    data.setup()
    return {name: (split.images, split.classes) for name, split in data.splits.items()}


def test_splits_share_no_image():
    images = [split[0].flatten(1) for split in splits().values()]
    whole = torch.cat(images)
    assert len(whole) == len(torch.unique(whole, dim=0)) == 1797


def test_splits_are_stratified():
    for _, classes in splits().values():
        assert torch.bincount(classes).div(len(classes)).sub(0.1).abs().max() < 0.01


def test_splits_follow_the_split_seed_alone():
    first, same, other = splits(seed=0), splits(seed=7), splits(split_seed=5)
    assert all(torch.equal(first[name][0], same[name][0]) for name in first)
    assert not torch.equal(first["test"][0], other["test"][0])


def test_normalised_over_the_training_split():
    images, _ = splits()["train"]
    assert images.mean() == pytest.approx(0, abs=1e-5)
    assert images.std() == pytest.approx(1, abs=1e-5)


def test_an_epoch_sees_every_sample_once_in_whole_batches():
    batches = list(EpochBatches(1197, 64, seed=0))
    assert [len(b) for b in batches] == [64] * 18 + [45]
    assert sorted(torch.cat(batches).tolist()) == list(range(1197))


def test_a_smaller_last_batch_can_be_left_out():
    batches = EpochBatches(1197, 64, seed=0, drop_last=True)
    assert [len(b) for b in batches] == [64] * 18
    assert len(batches) == 18


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[int]:
        batches = EpochBatches(100, 10, seed=seed)
        batches.set_epoch(epoch)
        return torch.cat(list(batches)).tolist()

    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(*key)) for key in [(0, 0), (0, 1), (1, 0)]}) == 3


def test_ranks_share_an_epoch_evenly():
    ranks = [list(EpochBatches(101, 10, seed=0, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [len(batches) for batches in ranks] == [5, 5]
    assert len({int(i) for batches in ranks for batch in batches for i in batch}) == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_size": 0}, "`data.val_size` is 0, but must be 10 images or more"),
        ({"test_size": 5000}, "`data.test_size` is 5000, but there are only 1797 images"),
    ],
)
def test_refuses_splits_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Digits(batch_size=64, **options).setup()
