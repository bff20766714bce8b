"""A Hydra callback that notes down what a run measured, outside of any sweep: what it returned and reported."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

FILE = "evaluation.json"


class Recorder:
    """Makes a run one that no sweep watches, but that is listened to.

    ``current_trial()`` is a null object in it, as in a plain run, so that what is forbidden to a search (a test split)
    is allowed; its reports are kept. A launcher pickles callbacks to wherever its jobs run.
    """

    def __init__(self) -> None:
        self._reported: dict[str, float] = {}
        self._stack: ExitStack | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_reported": {}, "_stack": None}

    def on_job_start(self, config: Any, **_: Any) -> None:
        from wandbsweep.current import CurrentTrial, running

        self._reported = {}
        self._stack = ExitStack()
        self._stack.enter_context(running(CurrentTrial(send=self._note)))

    def on_job_end(self, config: Any, job_return: Any, **_: Any) -> None:
        from wandbsweep.trial import as_number

        if self._stack is not None:
            self._stack.close()
        returned = as_number(getattr(job_return, "_return_value", None))
        found = {"returned": _finite(returned), "reported": {n: _finite(v) for n, v in self._reported.items()}}
        Path(config.hydra.runtime.output_dir, FILE).write_text(json.dumps(found), encoding="utf-8")

    def _note(self, step: int, metrics: Mapping[str, float]) -> Any:
        from wandbsweep.trial import CONTINUE

        self._reported.update(metrics)
        return CONTINUE

    def _nothing(self, **_: Any) -> None:
        """Hydra calls every one of its events."""

    on_run_start = on_run_end = on_multirun_start = on_multirun_end = on_compose_config = _nothing


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
