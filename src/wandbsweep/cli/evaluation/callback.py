"""The Hydra callback that records what an evaluation run returned and reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from wandbsweep.current import CurrentTrial, running
from wandbsweep.trial import CONTINUE, as_number, replace_nonfinite

FILE = "evaluation.json"
"""In the run's output directory: ``{"returned": number, "reported": {name: last value}}``."""


class EvaluationCallback:
    """Records the reports of a run that belongs to no sweep.

    ``current_trial()`` is false in the run, as in any run outside a sweep, so that the training may use its test split,
    which is forbidden to a search. Launchers pickle callbacks to the machines where jobs run, before any of them
    starts.
    """

    def __init__(self) -> None:
        self._reported: dict[str, float] = {}
        self._stack: ExitStack | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_reported": {}, "_stack": None}

    def on_job_start(self, config: Any, **_: Any) -> None:
        self._reported = {}
        self._stack = ExitStack()
        self._stack.enter_context(running(CurrentTrial(send=self._record)))

    def on_job_end(self, config: Any, job_return: Any, **_: Any) -> None:
        if self._stack is not None:
            self._stack.close()
        returned = as_number(getattr(job_return, "_return_value", None))
        found = replace_nonfinite({"returned": returned, "reported": self._reported})
        Path(config.hydra.runtime.output_dir, FILE).write_text(json.dumps(found), encoding="utf-8")

    def _record(self, step: int, metrics: Mapping[str, float]) -> Any:
        self._reported.update(metrics)
        return CONTINUE

    def _ignore(self, **_: Any) -> None:
        """Hydra calls a callback for every event."""

    on_run_start = on_run_end = on_multirun_start = on_multirun_end = on_compose_config = _ignore
