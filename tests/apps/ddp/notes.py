"""What the ranks of a trial noted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wandbsweep.trial import TrialRecord


def read_notes(trial: Path, rank: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trial / f"rank{rank}.jsonl").read_text().splitlines()]


def assert_both_trained_the_same(sweep: Path, trials: Sequence[TrialRecord], states: Sequence[str]) -> None:
    """The trials ended in these states at the first attempt, and both ranks did the same in different processes."""
    assert [(trial.state, trial.attempts) for trial in trials] == [(state, 1) for state in states]
    for trial in trials:
        noted = [read_notes(sweep / str(trial.number), rank) for rank in (0, 1)]
        for rank in noted:
            assert [list(note)[-1] for note in rank] == ["began", "ended"]  # once
            assert all(note["params"] == trial.params == {"loss": note["cfg"]["loss"]} for note in rank)
        assert noted[0][0]["cfg"] == noted[1][0]["cfg"]
        assert noted[0][1]["ended"] == noted[1][1]["ended"] == 4 * len(trial.history)
        assert noted[0][0]["pid"] != noted[1][0]["pid"]
