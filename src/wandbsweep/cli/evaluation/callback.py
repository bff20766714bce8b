"""The Hydra callback that records what an evaluation run measured, and stops an evaluation that measures nothing."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

from wandbsweep.controllers.outcome import choose_value
from wandbsweep.current import CurrentTrial, running
from wandbsweep.environment import restore_variables
from wandbsweep.files import write_atomically
from wandbsweep.text import describe_error, quote_names
from wandbsweep.trial import CONTINUE, Decision, ValueRule, as_number, is_number, replace_nonfinite
from wandbsweep.trial_link import ADDRESS

FILE = "evaluation.json"
"""In the run's output directory: what ``EvaluationCallback`` recorded, its ``value`` included."""
STOPPED = "stopped.txt"
"""In the evaluation's directory if it was stopped: why."""

_POLL_S = 1.0


class EvaluationCallback:
    """Records the reports of a run that belongs to no sweep, and its value of the metric.

    ``current_trial()`` is false in the run, as in any run outside a sweep, so that the training may use its test split,
    which is forbidden to a search. Launchers pickle callbacks to the machines where jobs run, before any of them
    starts.

    The value is what the run reported of the metric, else what Lightning's ``trainer.callback_metrics`` held of it at
    the end, else the number that the task returned, if that number is of this metric.
    """

    def __init__(
        self, directory: str, metric: str, goal: str, rule: ValueRule | None = None, returned: bool = True
    ) -> None:
        """Prepare to record.

        Args:
            directory: The evaluation's directory.
            metric: The metric to measure.
            goal: Its goal.
            rule: Which of several reported values counts; None: the last.
            returned: Whether the number that the task returns is of this metric.
        """
        self._directory, self._metric, self._goal = Path(directory), metric, goal
        self._rule: ValueRule = rule or "last"
        self._returned = returned
        self._reset()

    def _reset(self) -> None:
        self._reported: dict[str, dict[int, float]] = {}
        self._step: int | None = None
        self._stack: ExitStack | None = None
        self._earlier_trainers: WeakSet[Any] = WeakSet()
        self._next_poll = 0.0
        self._is_stopped = False

    def __getstate__(self) -> dict[str, Any]:
        names = ("_directory", "_metric", "_goal", "_rule", "_returned")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def on_job_start(self, config: Any, **_: Any) -> None:
        if _is_other_rank():
            return
        if self._stack is not None:  # the run before, in this process, called sys.exit
            self._stack.close()
        if reason := self._read_stop():  # Hydra turns other exceptions of a callback into warnings
            raise SystemExit(f"the evaluation was stopped: {reason}")
        self._reset()
        self._earlier_trainers = WeakSet(_find_trainers())
        _write(config, {})
        self._stack = ExitStack()
        self._stack.enter_context(restore_variables([ADDRESS]))
        os.environ.pop(ADDRESS, None)  # so that processes which the task starts find no trial either
        self._stack.enter_context(running(CurrentTrial(send=partial(self._record, config))))

    def on_job_end(self, config: Any, job_return: Any, **_: Any) -> None:
        if self._stack is None:
            return
        self._stack.close()
        self._stack = None
        result = getattr(job_return, "_return_value", None)
        error = result if isinstance(result, BaseException) else None
        found = self._describe(None if error else as_number(result), _read_callback_metrics(self._earlier_trainers))
        if error or self._is_stopped:
            found["value"] = None
        _write(config, {**found, "ended": True})
        if found["value"] is None and not self._is_stopped and not (error and self._others_do_well(config)):
            reason = f"failed: {describe_error(error)}" if error else describe_missing(self._metric, found)
            self._stop(config, reason)

    def _describe(self, returned: float | None, callback_metrics: Mapping[str, float]) -> dict[str, Any]:
        """Return what is known of the run by now."""
        last = {name: values[max(values)] for name, values in self._reported.items()}
        found = {"returned": returned, "reported": last, "callback_metrics": callback_metrics, "step": self._step}
        return {**found, "value": self._choose(found)}

    def _record(self, config: Any, step: int, metrics: Mapping[str, float]) -> Decision:
        for name, value in metrics.items():
            self._reported.setdefault(name, {})[step] = value
        self._step = step
        # The task may end by sys.exit, and then nothing is called any more.
        if self._metric in metrics or time.monotonic() >= self._next_poll:
            _write(config, self._describe(None, {}))
        if time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + _POLL_S
            if reason := self._read_stop():
                self._is_stopped = True
                return Decision(stop=True, reason=reason)
        return CONTINUE

    def _choose(self, found: Mapping[str, Any]) -> float | None:
        if self._metric in self._reported:
            return choose_value(self._reported[self._metric], self._goal, self._rule)
        value = found["callback_metrics"].get(self._metric)
        if value is None and (self._returned or not found["reported"].keys() | found["callback_metrics"].keys()):
            value = found["returned"]
        return value if is_number(value) else None

    def _others_do_well(self, config: Any) -> bool:
        """Return whether another run has a value, or still runs: then one that failed does not stop them."""
        own = Path(config.hydra.runtime.output_dir, FILE).resolve()
        others = [json.loads(path.read_text()) for path in self._directory.glob(f"*/*/{FILE}") if path.resolve() != own]
        return any(other.get("value") is not None or "ended" not in other for other in others)

    def _read_stop(self) -> str:
        """Return why the evaluation was stopped; empty: it was not."""
        try:
            return (self._directory / STOPPED).read_text(encoding="utf-8")
        except OSError:
            return ""

    def _stop(self, config: Any, reason: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        write_atomically(self._directory / STOPPED, f"the run in {config.hydra.runtime.output_dir} {reason}")

    def _ignore(self, **_: Any) -> None:
        """Hydra calls a callback for every event."""

    on_run_start = on_run_end = on_multirun_start = on_multirun_end = on_compose_config = _ignore


def describe_missing(metric: str, found: Mapping[str, Any]) -> str:
    """Return why a run has no value of ``metric``, given what was recorded of it: what was seen in its place."""
    reported, seen, returned = (found.get(key) for key in ("reported", "callback_metrics", "returned"))
    parts = [
        f"reported {quote_names(reported or ())}",
        *([f"left {quote_names(seen)} in trainer.callback_metrics"] if seen else []),
        "returned no number" if returned is None else f"returned {returned:.5g}",
    ]
    return f"gave no finite value of {metric!r}; it {', '.join(parts)}"


def _is_other_rank() -> bool:
    """Return whether another process records this run: the first of those that run it together."""
    return os.environ.get("RANK", "0") != "0"


def _read_callback_metrics(earlier: Collection[Any]) -> dict[str, float]:
    """Return what Lightning's trainers hold, but for those of ``earlier`` runs in this process."""
    metrics: dict[str, float] = {}
    for trainer in _find_trainers():
        if trainer not in earlier:
            metrics |= {name: float(value) for name, value in trainer.callback_metrics.items()}
    return metrics


def _find_trainers() -> Iterator[Any]:
    """Yield Lightning's trainers, if Lightning is loaded. They are in reference cycles, so they outlive the task."""
    modules = [sys.modules.get(name) for name in ("lightning.pytorch", "pytorch_lightning")]
    kinds = tuple(kind for module in modules if (kind := getattr(module, "Trainer", None)) is not None)
    if kinds:
        yield from (found for found in gc.get_objects() if issubclass(type(found), kinds))


def _write(config: Any, found: Mapping[str, Any]) -> None:
    write_atomically(Path(config.hydra.runtime.output_dir, FILE), json.dumps(replace_nonfinite(found)))
