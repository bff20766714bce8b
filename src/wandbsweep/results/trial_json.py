"""One trial as the JSON that ``wandbsweep table`` and ``best`` print."""

from __future__ import annotations

import math
from typing import Any

from wandbsweep.results.sweep_data import SweepData
from wandbsweep.trial import TrialRecord


def format_trial_json(data: SweepData, trial: TrialRecord) -> dict[str, Any]:
    """Return what ``--json`` prints of one trial; NaN and infinities are null."""
    own = data.find_configuration(trial)
    repeated = {"mean": own.mean, "deviation": own.deviation, "runs": [run.number for run in own.runs]} if own else {}
    return {
        "number": trial.number,
        "state": trial.state,
        "metric": trial.value,
        "metric_name": data.spec.metric.name if data.spec.metric else None,
        "params": dict(trial.params),
        "metrics": {name: value if math.isfinite(value) else None for name, value in trial.metrics.items()},
        "overrides": data.overrides(trial),
        "directory": str(data.trial_directory(trial)),
        "steps": len(trial.reports),
        "duration_s": trial.duration_s,
        "attempts": trial.attempts,
        "agent": trial.agent,
        "reason": trial.reason,
        **repeated,
    }
