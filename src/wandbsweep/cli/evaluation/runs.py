"""Runs an evaluation, and reads what its runs measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandbsweep.cli.evaluation.callback import FILE
from wandbsweep.cli.evaluation.plan import CandidateRuns, EvaluationPlan
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.results.analysis.evaluation import Comparison, Summary, compare, summarise
from wandbsweep.results.reader import SweepReader
from wandbsweep.trial import TrialRecord


@dataclass(frozen=True)
class Candidate:
    """One configuration, and the results of its runs by seed."""

    trial: TrialRecord
    """The trial of the sweep that had this configuration."""
    values: Mapping[int, float]
    failed: Mapping[int, str]
    """Why a run has no value."""
    summary: Summary | None
    """None: no run has a value."""


@dataclass(frozen=True)
class EvaluationReport:
    """The candidates, the sweep's best first, and how they compare."""

    plan: EvaluationPlan
    candidates: Sequence[Candidate]
    comparisons: Mapping[int, Comparison]
    """The first candidate compared with each other one, by the other's number."""


def run_evaluation(plan: EvaluationPlan) -> EvaluationReport:
    """Run the commands one after another, with their output on standard error.

    Raises:
        SweepError: A command cannot be started, or no run has a value of the metric.
    """
    for runs in plan.candidates:
        print(f"Trial {runs.trial.number}, {len(plan.seeds)} seeds: {runs.command_line}", file=sys.stderr, flush=True)
        try:
            subprocess.run(runs.command, cwd=plan.cwd, stdout=2)  # failures are read from the runs' directories
        except OSError as error:
            raise SweepError(f"Cannot start {runs.command[0]} in {plan.cwd}: {error.strerror}.") from None
    candidates = [_read_candidate(plan, runs) for runs in plan.candidates]
    if not any(candidate.values for candidate in candidates):
        reason = next((reason for candidate in candidates for reason in candidate.failed.values()), "none was started")
        raise SweepError(f"No run gave a value of {plan.metric!r}: {reason}. Their logs are in {plan.directory}.")
    return EvaluationReport(plan, candidates, _compare_with_first(candidates))


def _compare_with_first(candidates: list[Candidate]) -> dict[int, Comparison]:
    first, *others = candidates
    comparisons = {}
    for other in others:
        common = [seed for seed in first.values if seed in other.values]
        if common:
            pair = [first.values[seed] for seed in common], [other.values[seed] for seed in common]
            comparisons[other.trial.number] = compare(*pair)
    return comparisons


def _read_candidate(plan: EvaluationPlan, runs: CandidateRuns) -> Candidate:
    try:
        trials = SweepReader(runs.directory).read().trials
        missing = "it was not run"
    except SweepDirectoryError:
        trials, missing = [], "the command did not start its runs; see above"
    # With one seed there is nothing to sweep over, so the run has no parameter of that name.
    by_seed = {int(trial.params.get(plan.seed_key, plan.seeds[0])): trial for trial in trials}
    values, failed = {}, {}
    for seed in plan.seeds:
        if (trial := by_seed.get(seed)) is None:
            failed[seed] = missing
            continue
        measured = _read_measurements(runs.directory / str(trial.number) / FILE)
        value = measured.get("reported", {}).get(plan.metric, measured.get("returned"))
        if trial.state == "finished" and value is not None:
            values[seed] = float(value)
        else:
            seen = ", ".join(measured.get("reported", {})) or "nothing"
            explanation = f"it returned no number and did not report {plan.metric!r} (reported: {seen})"
            failed[seed] = trial.reason or explanation
    return Candidate(runs.trial, values, failed, summarise(list(values.values())) if values else None)


def _read_measurements(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
