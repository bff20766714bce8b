"""What an evaluation measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandbsweep.results.analysis.evaluation import Comparison, Summary


@dataclass(frozen=True)
class Candidate:
    """One configuration, and the results of its runs by seed."""

    number: int
    """The trial that it comes from."""
    params: Mapping[str, Any]
    sweep_value: float | None
    """The trial's value in the sweep."""
    values: Mapping[int, float]
    failed: Mapping[int, str]
    """Why a run has no value."""
    summary: Summary | None
    """None: no run has a value."""


@dataclass(frozen=True)
class EvaluationReport:
    """The candidates, the sweep's best first, and how they compare."""

    metric: str
    goal: str
    seed_key: str
    directory: Path
    """Where the runs are."""
    sweep_metric: str | None
    sweep_trials: int
    """How many trials the sweep chose from."""
    candidates: Sequence[Candidate]
    comparisons: Mapping[int, Comparison]
    """Of the first candidate with each other one, by the number of the other."""
    warnings: Sequence[str] = ()
