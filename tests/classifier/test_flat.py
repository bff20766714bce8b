"""An agent stays as it was, however many trials it runs; ``benchmarks/training/flat.py`` measures 200."""

import pytest

from benchmarks.training.flat import run_sweep


@pytest.mark.parametrize("isolation", ["none", pytest.param("process", marks=pytest.mark.slow)])
def test_an_agent_does_not_grow(tmp_path, isolation):
    """Every fourth trial runs out of memory."""
    samples = run_sweep(tmp_path, isolation, 15)
    assert len(samples) == 15
    for process, before in samples[6].items():
        after = samples[14][process]
        # A model with its optimizer, and what an epoch allocates, is some MiB a trial.
        assert after["memory"] - before["memory"] < 8, process
        assert {**after, "memory": 0} == {**before, "memory": 0}, process
