import pytest
import torch

from classifier.schedulers import compute_factor, warmup


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
def test_rises_to_the_rate_then_decays(decay):
    factors = [compute_factor(step, 100, warmup_steps=10, decay=decay) for step in range(101)]
    assert factors[:11] == sorted(factors[:11])
    assert factors[10] == 1
    assert factors[100] == pytest.approx(1 if decay == "constant" else 0)
    assert min(factors[:100]) > 0


def test_no_warmup_begins_at_the_rate():
    assert compute_factor(0, 100, warmup_steps=0, decay="cosine") == 1


def test_a_warmup_longer_than_training_is_still_rising_at_the_end():
    assert 0 < compute_factor(99, 100, warmup_steps=500, decay="constant") < 0.21


def test_unknown_decay_names_the_choices():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)
    with pytest.raises(ValueError, match="constant, linear, cosine"):
        warmup(optimizer, 10, warmup_steps=0, decay="exponential")
