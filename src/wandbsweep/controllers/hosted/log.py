"""The attempts of a hosted sweep, in a log of JSON lines in the sweep's directory, or in memory.

W&B decides which trials there are, and keeps their runs. It has no trial numbers, attempts and reasons. The log keeps
these, so that the directory of a hosted sweep tells as much as that of an embedded one. Each line is a claim, a report
or the end of an attempt. As in an embedded sweep, a ``TrialTable`` is made from the attempts.

Several processes append to one file. If a decision depends on the file (may a run be claimed, is an attempt still
open), the process reads and appends under one lock.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandbsweep.controllers.hosted.processes import identify_process
from wandbsweep.controllers.outcome import StoredOutcome
from wandbsweep.controllers.trial_entry import (
    CLAIM,
    METRICS,
    OUTCOME,
    PARAMS,
    Claim,
    StoredParams,
    TrialEntry,
)
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.append_log import AppendLog, LockedLog, MemoryLog, Tail
from wandbsweep.storage.base import AttemptState, StoredAttempt
from wandbsweep.storage.json_codec import encode_json
from wandbsweep.trial import TrialRecord

HOSTED_LOG = "wandb.jsonl"
"""In the sweep's directory."""

_RUN = "run"
"""The attribute that holds an attempt's ``Run``."""
_OURS = "ours"
_FLAGS = ("lost", "killed", "fatal", "suspect", "worked_s")
"""The fields of an outcome that are stored with the end of an attempt."""


@dataclass
class Run:
    """The W&B run of a trial, shared by all of its attempts."""

    run_id: str
    number: int
    """The trial's."""
    args: Mapping[str, Any]
    """As W&B gave them: name -> {"value": value}."""
    attempts: list[int] = field(default_factory=list)
    """The keys of its attempts."""
    written_by_agent: bool = False
    """Whether our agents write the run's history, because the training does not."""


def read_run(entry: TrialEntry) -> Run:
    """Return the run of a trial."""
    run: Run = entry.newest.attributes[_RUN]
    return run


def is_requeued_by_us(entry: TrialEntry) -> bool:
    """Whether our agents have to take a queued trial, because W&B does not know that it has to run again."""
    return entry.state == "queued" and bool(entry.newest.attributes.get(_OURS))


class HostedLog:
    """The trials of one sweep. Safe to use from several threads.

    Args:
        path: The file. None keeps the trials in memory.
        spec: The sweep configuration.
    """

    def __init__(self, path: Path | None, spec: SweepSpec) -> None:
        self._file = AppendLog(path) if path else MemoryLog()
        self._tail = Tail(self._file)
        self._metric = spec.metric.name if spec.metric else None
        self._table = TrialTable(spec.goal, spec.value_rule)
        self._attempts: list[StoredAttempt] = []
        """By key. Only this log holds these; the table gets copies."""
        self._runs: dict[str, Run] = {}
        """By id, in the order of their trials' numbers."""
        self._changed: set[int] = set()
        """The keys of the attempts that changed since the table was last updated."""
        self.forgiven = -1
        """The key of the newest attempt when the sweep was last resumed after it was aborted."""
        self._lock = threading.RLock()

    # -- reading ------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[TrialTable]:
        """Yield the trials as they are now. Other threads wait during the ``with`` block."""
        with self._lock:
            self._apply_all(self._tail.read_new())
            yield self._table

    def entries(self) -> list[TrialEntry]:
        with self.reading() as table:
            return list(table.entries)

    def records(self) -> list[TrialRecord]:
        with self.reading() as table:
            return table.records()

    def find(self, run_id: str) -> TrialEntry | None:
        """Return the trial whose run is ``run_id``."""
        with self.reading() as table:
            return table.entries[self._runs[run_id].number] if run_id in self._runs else None

    def find_open(self, key: int) -> TrialEntry | None:
        """Return the trial whose newest attempt is ``key``, if that attempt is open."""
        with self.reading():
            return self._find_open(key)

    def _find_open(self, key: int) -> TrialEntry | None:
        if not self._table.is_decided(key) or (number := self._table.find_number(key)) is None:
            return None
        entry = self._table.entries[number]
        return entry if entry.newest.key == key and not entry.newest.closed else None

    # -- writing ------------------------------------------------------------------------------------------------

    def claim(
        self, run_id: str, args: Mapping[str, Any], params: Mapping[str, Any], agent: str, *, resumed: bool = False
    ) -> TrialEntry | None:
        """Open an attempt at a run that W&B gave out.

        Args:
            run_id: W&B's id of the run.
            args: Its parameters as W&B gave them.
            params: The same as the trial's parameters.
            agent: The agent's name.
            resumed: Whether W&B resumes the run, which may have ended.

        Returns:
            The trial; None: another attempt is open, or the trial has ended and is not resumed.
        """

        def is_free() -> bool:
            known = self._runs.get(run_id)
            state = self._table.entries[known.number].state if known else "queued"
            return state == "queued" or (resumed and state != "running")

        return self._claim(is_free, run_id, args, encode_json(params), agent)

    def take_over(self, attempt: StoredAttempt, agent: str) -> TrialEntry | None:
        """Open an attempt in place of ``attempt``, open or not; None: it is no longer its trial's newest."""
        run: Run = attempt.attributes[_RUN]

        params = attempt.attributes[PARAMS]["values"]
        return self._claim(lambda: run.attempts[-1] == attempt.key, run.run_id, run.args, params, agent)

    def _claim(
        self, is_free: Callable[[], bool], run_id: str, args: Mapping[str, Any], params: Any, agent: str
    ) -> TrialEntry | None:
        line = {"run": run_id, "args": args, "params": params}
        with self._lock:
            if not self._write_if(is_free, {**line, "agent": agent, "process": identify_process(), "at": time.time()}):
                return None
            return self._table.entries[self._runs[run_id].number]

    def report(self, key: int, step: int, metrics: Mapping[str, float]) -> bool:
        """Store a report; return whether it counts: only if the attempt is open."""
        return self._write_if_open(key, {"key": key, "step": step, "metrics": dict(metrics)})

    def mark_written_by_agent(self, key: int) -> None:
        """Note that our agents write the history of the attempt's run, in later attempts as well."""
        self._write_if(lambda: True, {"key": key, "writes": True})

    def forgive_failures(self) -> None:
        """Note that the sweep is resumed, whatever its attempts so far came to."""
        self._write_if(lambda: True, {"forgiven": len(self._attempts) - 1})

    def close(self, key: int, outcome: StoredOutcome, *, ours: bool = False) -> bool:
        """Close an attempt; return False if it was closed already.

        Args:
            key: The attempt's.
            outcome: Its outcome, whose metrics are those reported.
            ours: Whether a queued trial is to be given out by us, because W&B does not know that it has to run again.
        """
        end = {"key": key, "state": outcome.state, "reason": outcome.reason, "value": outcome.value, "ours": ours}
        cause = {"cause": outcome.cause} if outcome.cause else {}
        flags = {flag: getattr(outcome, flag) for flag in _FLAGS}
        return self._write_if_open(key, {**end, **flags, **cause, "at": time.time()})

    def _write_if_open(self, key: int, line: Mapping[str, Any]) -> bool:
        return self._write_if(lambda: self._find_open(key) is not None, line)

    def _write_if(self, condition: Callable[[], bool], line: Mapping[str, Any]) -> bool:
        """Append a line if ``condition`` holds while no other process or thread writes; return whether it did."""

        def write(file: LockedLog) -> bool:
            self._apply_all(self._tail.read_new())
            if not condition():
                return False
            file.append(json.dumps(line).encode() + b"\n")
            self._apply_all(self._tail.read_new())
            return True

        with self._lock:
            return self._file.update(write)

    # -- lines --------------------------------------------------------------------------------------------------

    def _apply_all(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if "run" in line:
                self._apply_claim(line)
            elif "step" in line:
                self._apply_report(line)
            elif "forgiven" in line:
                self.forgiven = line["forgiven"]
            elif "writes" in line:
                self._attempts[line["key"]].attributes[_RUN].written_by_agent = True
            else:
                self._apply_end(line)
        self._table.update(self._attempts[key].copy() for key in sorted(self._changed))
        self._changed.clear()

    def _apply_claim(self, line: Mapping[str, Any]) -> None:
        run = self._runs.get(line["run"])
        if run is None:
            run = self._runs[line["run"]] = Run(line["run"], len(self._runs), line["args"])
        before = self._attempts[run.attempts[-1]] if run.attempts else None
        if before is not None:
            self._release(before)
        claim = Claim(
            agent=line["agent"],
            number=run.number if before else None,
            attempt=len(run.attempts) + 1,
            cap=None,
            owner=line["process"],
        )
        attributes = {
            _RUN: run,
            CLAIM: claim,
            PARAMS: StoredParams(number=run.number, values=line["params"]),
            METRICS: dict(before.attributes[METRICS]) if before else {},
        }
        key = len(self._attempts)
        reports = dict(before.reports) if before else {}
        self._attempts.append(StoredAttempt(key, AttemptState.RUNNING, line["at"], None, attributes, reports))
        run.attempts.append(key)
        self._changed.add(key)

    def _release(self, attempt: StoredAttempt) -> None:
        """Close the previous attempt for a new claim, which always counts.

        If the previous attempt was open, it was lost. If it had ended, W&B resumes it.
        """
        if not attempt.closed:
            self._close(attempt, StoredOutcome("queued", lost=True))
        elif attempt.attributes[OUTCOME]["state"] != "queued":
            worked_s = StoredOutcome.decode(attempt.attributes[OUTCOME]).worked_s
            self._close(attempt, StoredOutcome("queued", worked_s=worked_s))

    def _apply_report(self, line: Mapping[str, Any]) -> None:
        attempt = self._attempts[line["key"]]
        attempt.attributes[METRICS] = {**attempt.attributes[METRICS], **line["metrics"]}
        if self._metric in line["metrics"]:
            attempt.reports[line["step"]] = line["metrics"][self._metric]
        self._changed.add(attempt.key)

    def _apply_end(self, line: Mapping[str, Any]) -> None:
        attempt = self._attempts[line["key"]]
        outcome = StoredOutcome(
            line["state"],
            line["reason"],
            line["value"],
            attempt.attributes[METRICS],
            fatal=line.get("fatal", False),
            # Earlier versions did not write it. They queued a trial without W&B's knowledge only if its process died.
            lost=line.get("lost", line["ours"]),
            killed=line.get("killed", False),
            cause=line.get("cause", ""),
            suspect=line.get("suspect", False),
            worked_s=line.get("worked_s"),
        )
        attempt.attributes[_OURS] = line["ours"]
        attempt.ended = line["at"]
        self._close(attempt, outcome)

    def _close(self, attempt: StoredAttempt, outcome: StoredOutcome) -> None:
        attempt.state = AttemptState.COMPLETE
        attempt.attributes[OUTCOME] = outcome.encode()
        self._changed.add(attempt.key)
