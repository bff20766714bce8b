"""The benchmarks of limits and of earlier sweeps, at a small size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.search import constrained, transfer


def test_the_best_feasible_loss_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constrained, "TRIALS", 6)
    monkeypatch.setattr(constrained, "SHOWN", (2, 6))
    (early, late), infeasible = constrained.search("disc", "modelled", 0)
    assert late <= early
    assert 0 <= infeasible < 6


def test_earlier_sweeps_are_of_other_tasks_and_misleading_ones_are_turned_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "EARLIER", 5)
    related, misleading, shuffled = (
        transfer.list_earlier(tmp_path, "own/digits", scenario, 0) for scenario in ("related", "misleading", "shuffled")
    )
    assert list(map(len, related)) == [5, 5, 5]
    for one, other, mixed in zip(related, misleading, shuffled, strict=True):
        assert [t.value for t in other] == [-t.value for t in one if t.value is not None]
        assert sorted(t.value or 0 for t in mixed) == sorted(t.value or 0 for t in one)
        assert [t.params for t in one] == [t.params for t in other] == [t.params for t in mixed]
    made = {path.name.split("-")[0] for path in tmp_path.iterdir()}
    assert len(made) == 3
    assert "own_digits" not in made
