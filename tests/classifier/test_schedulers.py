"""Schedules, beside those of torch and within trainings."""

import warnings

import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, OneCycleLR

from classifier.schedulers import OneCycle, compute_factor, count_warmup_steps, warmup
from classifier.training import train


def make_optimizer(kind="SGD", **options):
    """Two groups, whose rates are 1 and 10."""
    parameters = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 10.0}]
    return getattr(torch.optim, kind)(groups, lr=1.0, **options)


def record(optimizer, scheduler, steps):
    """The rates and momenta of each step of a training."""
    seen = []
    for _ in range(steps):
        seen.append([(g["lr"], g.get("momentum"), g.get("betas")) for g in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def rates(seen):
    return [[rate for rate, *_ in step] for step in seen]


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
def test_rises_to_the_rate_then_decays(decay):
    factors = [compute_factor(step, 100, warmup_steps=10, decay=decay) for step in range(101)]
    assert factors[:11] == sorted(factors[:11])
    assert factors[10] == 1
    assert factors[100] == pytest.approx(1 if decay == "constant" else 0)
    assert min(factors[:100]) > 0


@pytest.mark.parametrize(
    ("decay", "torchs"),
    [
        ("constant", lambda optimizer: ConstantLR(optimizer, factor=1.0)),
        ("linear", lambda optimizer: LinearLR(optimizer, 1.0, 0.0, total_iters=50)),
        ("cosine", lambda optimizer: CosineAnnealingLR(optimizer, T_max=50)),
    ],
)
def test_decays_as_torch_s_schedulers_do(decay, torchs):
    ours, theirs = make_optimizer(), make_optimizer()
    seen = rates(record(ours, warmup(ours, 50, warmup_steps=0, decay=decay), 50))
    expected = rates(record(theirs, torchs(theirs), 50))
    torch.testing.assert_close(torch.tensor(seen), torch.tensor(expected))


def test_the_rates_of_the_groups_keep_their_ratio():
    optimizer = make_optimizer()
    for schedule in (
        warmup(optimizer, 20, warmup_steps=0.25, decay="cosine"),
        OneCycle(make_optimizer(), 20, warmup_steps=5),
    ):
        for small, large in rates(record(schedule.optimizer, schedule, 20)):
            assert large == pytest.approx(10 * small)


def test_no_warmup_begins_at_the_rate():
    assert compute_factor(0, 100, warmup_steps=0, decay="cosine") == 1


def test_a_warmup_longer_than_training_is_still_rising_at_the_end():
    assert 0 < compute_factor(99, 100, warmup_steps=500, decay="constant") < 0.21


@pytest.mark.parametrize(("given", "steps"), [(0, 0), (0.0, 0), (1, 1), (1.0, 1), (250.0, 250), (0.25, 20), (0.5, 40)])
def test_a_warmup_counts_steps_or_is_a_fraction(given, steps):
    assert count_warmup_steps(given, 80) == steps


@pytest.mark.parametrize("given", [-1, -0.1, 1.5, float("nan"), float("inf"), True, "half", None])
def test_another_warmup_is_refused_with_the_rule(given):
    with pytest.raises(ValueError, match="must be a whole number of steps >= 0, or a fraction of the training below 1"):
        count_warmup_steps(given, 80)


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: warmup(optimizer, None, warmup_steps=0.1, decay="constant"),
        lambda optimizer: warmup(optimizer, None, warmup_steps=10, decay="cosine"),
        lambda optimizer: OneCycle(optimizer, None, warmup_steps=10),
    ],
)
def test_a_schedule_that_needs_the_training_s_length_says_so(make):
    with pytest.raises(ValueError, match=r"set trainer.max_epochs or trainer.max_steps"):
        make(make_optimizer())


def test_a_constant_rate_needs_no_length():
    optimizer = make_optimizer()
    assert rates(record(optimizer, warmup(optimizer, None, warmup_steps=1, decay="constant"), 3))[1:] == [[1, 10]] * 2


def test_unknown_decay_names_the_choices():
    with pytest.raises(ValueError, match="constant, linear, cosine"):
        warmup(make_optimizer(), 10, warmup_steps=0, decay="exponential")


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("options", [{}, {"cycle_momentum": False}, {"div_factor": 10.0, "anneal_strategy": "linear"}])
@pytest.mark.parametrize("warmup_steps", [0.3, 0.0, 12, 40])
def test_one_cycle_is_torch_s(kind, options, warmup_steps):
    ours, theirs = make_optimizer(kind), make_optimizer(kind)
    share = warmup_steps if warmup_steps < 1 else warmup_steps / 40
    seen = record(ours, OneCycle(ours, 40, warmup_steps=warmup_steps, **options), 39)
    assert seen == record(theirs, OneCycleLR(theirs, [1.0, 10.0], 40, pct_start=share, **options), 39)


@pytest.mark.parametrize("total", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup_steps", [0, 1, 2, 0.3, 0.5, 1000])
def test_one_cycle_of_any_length_and_beyond_it(total, warmup_steps):
    optimizer = make_optimizer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = rates(record(optimizer, OneCycle(optimizer, total, warmup_steps=warmup_steps), total + 3))
    assert all(0 < small <= 1 for small, _ in seen)
    assert seen[total - 1 :] == [seen[total - 1]] * 4


def test_one_cycle_continues_where_it_was_left_and_takes_a_new_length():
    whole, first = make_optimizer(), make_optimizer()
    expected = record(whole, OneCycle(whole, 30, warmup_steps=0.3), 30)
    scheduler = OneCycle(first, 20, warmup_steps=0.3)
    record(first, scheduler, 10)
    second = make_optimizer()
    resumed = OneCycle(second, 30, warmup_steps=0.3)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    record(second, resumed, 1)  # the rate of the step that comes next is the old schedule's
    assert record(second, resumed, 19) == expected[11:]


def test_one_cycle_without_a_momentum_to_cycle_says_so():
    with pytest.raises(ValueError, match="cycle_momentum"):
        OneCycle(make_optimizer("Adagrad"), 10, warmup_steps=0.3)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ([], 20),  # 10 batches an epoch
        (["trainer.accumulate_grad_batches=4"], 6),  # the last step of an epoch has two batches
        (["trainer.limit_train_batches=7", "trainer.accumulate_grad_batches=2"], 8),
        (["trainer.limit_train_batches=0.5"], 10),
        (["trainer.max_steps=13"], 13),
        (["trainer.max_steps=3", "trainer.max_epochs=-1", "trainer.accumulate_grad_batches=5"], 3),
    ],
)
def test_a_training_follows_the_schedule_to_its_end(make_config, tmp_path, options, steps):
    short = ["data.batch_size=128", "trainer.max_epochs=2", "optimizer.lr=1.0", "optimizer.head_lr=0.1"]
    train(make_config(*short, "scheduler=linear", "scheduler.warmup_steps=2", "metric=train/loss", *options))
    saved = torch.load(tmp_path / "out/checkpoints/last.ckpt", weights_only=False)
    assert saved["global_step"] == saved["lr_schedulers"][0]["last_epoch"] == steps
    assert saved["lr_schedulers"][0]["_last_lr"] == [0, 0]
    (optimizer,) = saved["optimizer_states"]
    assert [group["initial_lr"] for group in optimizer["param_groups"]] == [1.0, 0.1]


def test_a_training_of_unknown_length_with_a_decay_is_refused(make_config):
    cfg = make_config("scheduler=cosine", "trainer.max_epochs=-1", "metric=train/loss")
    with pytest.raises(ValueError, match=r"scheduler.decay=cosine needs to know how many steps"):
        train(cfg)


@pytest.mark.slow
def test_two_devices_take_half_the_steps(make_config, tmp_path):
    options = ["trainer.devices=2", "trainer.strategy=ddp_fork", "data.batch_size=64", "scheduler=one_cycle"]
    train(make_config(*options, "trainer.max_epochs=2", "metric=train/loss"))
    saved = torch.load(tmp_path / "out/checkpoints/last.ckpt", weights_only=False)
    assert saved["global_step"] == saved["lr_schedulers"][0]["total_steps"] == 20
