"""An agent stays as it was, however many trials it runs; ``benchmarks/training/flat.py`` measures 200."""

import pytest

from benchmarks.training.flat import run_sweep


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["none", "process"])
def test_an_agent_does_not_grow(tmp_path, isolation):
    """Every fourth trial runs out of memory."""
    samples = run_sweep(tmp_path, isolation, 15)
    assert len(samples) == 15
    for process, before in samples[6].items():
        after = samples[14][process]
        # A failed trial holds 64 MiB, and two fail in between. The allocator may grow once by some MiB.
        assert after["memory"] - before["memory"] < 24, process
        assert {**after, "memory": 0} == {**before, "memory": 0}, process
