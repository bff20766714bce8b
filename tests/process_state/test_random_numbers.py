"""The random numbers with which trials start."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from wandbsweep.process_state.random_numbers import RandomNumbers


@pytest.fixture(autouse=True)
def states() -> Iterator[None]:
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])


def draw(numbers: RandomNumbers, stream: str) -> list[float]:
    """Draw what another process would in which somebody has seeded everything before."""
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    pickle.loads(pickle.dumps(numbers)).restart(stream)
    return [random.random(), np.random.rand(), torch.rand(1).item()]


def test_what_was_seeded_starts_each_trial_alike() -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    numbers = RandomNumbers()
    expected = [random.random(), np.random.rand(), torch.rand(1).item()]
    assert draw(numbers, "0") == draw(numbers, "1") == expected
    assert torch.initial_seed() == 1


def test_what_nobody_has_seeded_differs_between_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    random.seed(1)
    torch.seed()
    bit_generator = type("Unseeded", (), {"_seed_seq": object()})
    with monkeypatch.context() as patch:
        patch.setattr(np.random.mtrand, "_rand", type("Rand", (), {"_bit_generator": bit_generator}))
        numbers = RandomNumbers()
    first, again, other = draw(numbers, "0"), draw(numbers, "0"), draw(numbers, "1")
    assert first == again
    assert len({*first, *other}) == 6
