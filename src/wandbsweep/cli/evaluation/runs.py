"""Run an evaluation and read what its runs measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from wandbsweep.cli.evaluation.callback import FILE
from wandbsweep.cli.evaluation.plan import CandidateRuns, EvaluationPlan
from wandbsweep.cli.evaluation.report import Candidate, EvaluationReport
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.results.analysis.evaluation import Comparison, compare, summarise
from wandbsweep.results.analysis.trial_matrix import find_goal
from wandbsweep.results.reader import SweepReader


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
        reasons = [reason for candidate in candidates for reason in candidate.failed.values()]
        raise SweepError(
            f"No run gave a value of {plan.metric!r}: {reasons[0] if reasons else 'none was started'}. "
            f"Their logs are in {plan.directory}."
        )
    spec = plan.data.spec
    return EvaluationReport(
        metric=plan.metric,
        goal=find_goal(spec, plan.metric),
        seed_key=plan.seed_key,
        directory=plan.directory,
        sweep_metric=spec.metric.name if spec.metric else None,
        sweep_trials=len(plan.data.trials),
        candidates=candidates,
        comparisons=_compare_with_first(candidates),
        warnings=plan.warnings,
    )


def _compare_with_first(candidates: list[Candidate]) -> dict[int, Comparison]:
    first, *others = candidates
    comparisons = {}
    for other in others:
        common = [seed for seed in first.values if seed in other.values]
        if common:
            pair = [first.values[seed] for seed in common], [other.values[seed] for seed in common]
            comparisons[other.number] = compare(*pair)
    return comparisons


def _read_candidate(plan: EvaluationPlan, runs: CandidateRuns) -> Candidate:
    values, failed = {}, {}
    for seed, run in _read_runs(plan, runs).items():
        measured = _read_measurements(runs.directory / str(run.number) / FILE)
        value = measured.get("reported", {}).get(plan.metric, measured.get("returned"))
        if run.state == "finished" and value is not None:
            values[seed] = float(value)
        else:
            seen = ", ".join(measured.get("reported", {})) or "nothing"
            failed[seed] = run.reason or (
                f"it returned no number and did not report {plan.metric!r} (reported: {seen})"
            )
    summary = summarise(list(values.values())) if values else None
    trial = runs.trial
    return Candidate(trial.number, trial.params, trial.value, values, failed, summary)


class _Run(NamedTuple):
    number: int
    state: str
    reason: str


def _read_runs(plan: EvaluationPlan, runs: CandidateRuns) -> dict[int, _Run]:
    """Return the runs of one configuration by seed."""
    try:
        trials = SweepReader(runs.directory).read().trials
    except SweepDirectoryError:
        return dict.fromkeys(plan.seeds, _Run(0, "failed", "the command did not start its runs; see above"))
    # With one seed there is nothing to sweep over, so the run has no parameter of that name.
    found = {int(t.params.get(plan.seed_key, plan.seeds[0])): _Run(t.number, t.state, t.reason) for t in trials}
    return {seed: found.get(seed, _Run(0, "queued", "it was not run")) for seed in plan.seeds}


def _read_measurements(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
