"""Decides who writes the run of a trial: its training, or else the agent, from the trial's reports."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wandbsweep.controllers.hosted.client import SweepClient
from wandbsweep.controllers.hosted.log import HostedLog, read_run
from wandbsweep.controllers.hosted.transport import WandbError
from wandbsweep.controllers.outcome import StoredOutcome
from wandbsweep.controllers.trial_entry import TrialEntry
from wandbsweep.wandb_runs.environment import find_active_run
from wandbsweep.wandb_runs.sweep_run import SweepRun
from wandbsweep.wandb_runs.writer import RunWriter

log = logging.getLogger(__name__)

_UNFINISHED = ("running", "pending", "preempting", None)
"""States of a run that its training has not ended; None: W&B does not know the run yet."""

MakeWriter = Callable[[SweepRun, Path], RunWriter]


@dataclass(eq=False)
class LiveRun:
    """The run of an attempt that is open in this process.

    The first report decides who writes the run: if its training has not called ``wandb.init()`` by then, the agent
    does. The training may run in another process, so W&B is asked whether the run has started.
    """

    run: SweepRun
    client: SweepClient
    log: HostedLog
    """Records that the agent writes the run, for later attempts."""
    entry: TrialEntry
    key: int
    """The attempt's."""
    make_writer: MakeWriter | None
    """Starts a writer; None: the agent never writes runs."""
    directory: Path
    """Where a writer may leave files."""
    _writer: RunWriter | None = None
    _decided: bool = False
    _rows: list[tuple[int, Mapping[str, float]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write ``metrics``, unless the training writes the run. Rows are kept until W&B says who writes it."""
        with self._lock:
            self._rows.append((step, metrics))
            if not self._decided:
                ours = self._is_ours()
                if ours is None:
                    return
                self._decided = True
                if ours:
                    self._start_writer()
            self._write_rows()

    def finish(self, outcome: StoredOutcome) -> None:
        """End the run at W&B if its training has not, so that it does not stay pending or running for ever.

        If the trial is queued, W&B is to give the run out again.
        """
        if self.make_writer is None:
            return
        with self._lock:
            try:
                if self._writer is None:
                    state = self.client.fetch_run_state(self.run.run_id)
                    if state in _UNFINISHED:
                        started = state not in ("pending", None)
                        self._start_writer(resumes=started and self.client.can_resume(self.run.run_id))
            except WandbError as error:
                log.warning("The run %s could not be ended at W&B: %s", self.run.run_id, error)
            self._write_rows()
            if self._writer is not None:
                exit_code = 0 if outcome.state in ("finished", "stopped") else 1
                stopped = outcome.reason if outcome.state == "stopped" else ""
                self._writer.finish(exit_code, stopped=stopped, preempted=outcome.state == "queued")
                self._writer = None

    def _write_rows(self) -> None:
        if self._writer is not None:
            for step, numbers in self._rows:
                self._writer.log(step, numbers)
        self._rows.clear()

    def _is_ours(self) -> bool | None:
        """Return whether the agent writes the run; None: W&B does not answer now."""
        if self.make_writer is None or find_active_run() == self.run.run_id:
            return False
        if read_run(self.entry).written_by_agent:  # an earlier attempt's agent wrote it, so its training does not
            return True
        try:
            return self.client.fetch_run_state(self.run.run_id, retry=False) != "running"
        except WandbError as error:
            log.info("%s", error)
            return None

    def _start_writer(self, *, resumes: bool = False) -> None:
        assert self.make_writer is not None
        try:
            run = replace(self.run, resumes=self.run.resumes or resumes)
            self._writer = self.make_writer(run, self.directory)
        except Exception as error:  # wandb's own exceptions are partly private; the trial must not fail because of them
            reason = " ".join(str(error).split())
            log.warning("The run %s cannot be written: %s: %s", self.run.run_id, type(error).__name__, reason)
            return
        self.log.mark_written_by_agent(self.key)
