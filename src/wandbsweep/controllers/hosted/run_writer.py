"""Decides who writes the run of a trial: its training, or else the agent, from the trial's reports."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from wandbsweep.controllers.hosted.client import SweepClient
from wandbsweep.controllers.hosted.log import HostedLog, read_run
from wandbsweep.controllers.hosted.transport import WandbError
from wandbsweep.controllers.trial_table import TrialEntry
from wandbsweep.wandb_runs.environment import find_active_run
from wandbsweep.wandb_runs.sweep_run import SweepRun
from wandbsweep.wandb_runs.writer import RunWriter

log = logging.getLogger(__name__)

_UNFINISHED = ("running", "pending", "preempting", None)
"""States of a run that its training has not ended; None: W&B does not know the run yet."""


MakeWriter = Callable[[SweepRun, Path], RunWriter]


class LiveRun:
    """The run of an attempt that is open in this process.

    The first report decides who writes the run: if its training has not called ``wandb.init()`` by then, the agent
    does. The training may run in another process, so W&B is asked whether the run has started.

    Args:
        run: The run at W&B.
        client: The sweep's client.
        hosted_log: Records that the agent writes the run, for later attempts.
        entry: The trial.
        make_writer: Starts a writer; None: the agent never writes runs.
        directory: Where a writer may leave files; None: the system's temporary directory.
    """

    def __init__(
        self,
        run: SweepRun,
        client: SweepClient,
        hosted_log: HostedLog,
        entry: TrialEntry,
        make_writer: MakeWriter | None,
        directory: Path | None,
    ) -> None:
        self.run = run
        self._client = client
        self._log = hosted_log
        self._entry = entry
        self._make_writer = make_writer
        self._directory = directory or Path(tempfile.gettempdir())
        self._key = entry.newest.key
        self._writer: RunWriter | None = None
        self._decided = False
        self._rows: list[tuple[int, Mapping[str, float]]] = []
        self._lock = threading.Lock()

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

    def finish(self, exit_code: int, *, stopped: str = "", preempted: bool = False) -> None:
        """End the run at W&B if its training has not, so that it does not stay pending or running for ever.

        Args:
            exit_code: The status that W&B shows.
            stopped: Why the sweep stopped the trial early; empty: it did not.
            preempted: Whether W&B is to give the run out again.
        """
        if self._make_writer is None:
            return
        with self._lock:
            try:
                if self._writer is None:
                    state = self._client.fetch_run_state(self.run.run_id)
                    if state in _UNFINISHED:
                        started = state not in ("pending", None)
                        self._start_writer(resumes=started and self._client.can_resume(self.run.run_id))
            except WandbError as error:
                log.warning("The run %s could not be ended at W&B: %s", self.run.run_id, error)
            self._write_rows()
            if self._writer is not None:
                self._writer.finish(exit_code, stopped=stopped, preempted=preempted)
                self._writer = None

    def _write_rows(self) -> None:
        if self._writer is not None:
            for step, numbers in self._rows:
                self._writer.log(step, numbers)
        self._rows.clear()

    def _is_ours(self) -> bool | None:
        """Return whether the agent writes the run; None: W&B does not answer now."""
        if self._make_writer is None or find_active_run() == self.run.run_id:
            return False
        if read_run(self._entry).written_by_agent:  # an earlier attempt's agent wrote it, so its training does not
            return True
        try:
            return self._client.fetch_run_state(self.run.run_id, retry=False) != "running"
        except WandbError as error:
            log.info("%s", error)
            return None

    def _start_writer(self, *, resumes: bool = False) -> None:
        assert self._make_writer is not None
        try:
            run = replace(self.run, resumes=self.run.resumes or resumes)
            self._writer = self._make_writer(run, self._directory)
        except Exception as error:  # wandb's own exceptions are partly private; the trial must not fail because of them
            reason = " ".join(str(error).split())
            log.warning("The run %s cannot be written: %s: %s", self.run.run_id, type(error).__name__, reason)
            return
        self._log.mark_written_by_agent(self._key)
