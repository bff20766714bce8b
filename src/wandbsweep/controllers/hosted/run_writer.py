"""Who writes the run of a trial: its training, or, where that does not, the agent, from what was reported."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from wandbsweep.controllers.hosted.client import SweepClient
from wandbsweep.controllers.hosted.log import Entry, TrialLog
from wandbsweep.controllers.hosted.transport import WandbError
from wandbsweep.wandb_runs.environment import find_active_run
from wandbsweep.wandb_runs.sweep_run import SweepRun

log = logging.getLogger(__name__)

_LIVE = ("running", "pending", "preempting", None)


class Writer(Protocol):
    """Whatever writes a run's history; ``wandb_runs.writer.RunWriter`` does."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def finish(self, exit_code: int, *, stopped: str = "", preempted: bool = False) -> None: ...


MakeWriter = Callable[[SweepRun, Path], Writer]


class LiveRun:
    """The run of an attempt that is open here. ``place``: where a writer may leave files."""

    def __init__(
        self,
        run: SweepRun,
        client: SweepClient,
        trial_log: TrialLog,
        entry: Entry,
        make_writer: MakeWriter | None,
        place: Path | None,
    ) -> None:
        self.run = run
        self._client = client
        self._log = trial_log
        self._entry = entry
        self._make_writer = make_writer
        self._place = place or Path(tempfile.gettempdir())
        self._key = entry.newest.key
        self._writer: Writer | None = None
        self._asked = False
        self._rows: list[tuple[int, Mapping[str, float]]] = []
        self._lock = threading.Lock()

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write ``metrics``, unless the training does; as long as W&B does not tell, they are kept."""
        with self._lock:
            self._rows.append((step, metrics))
            if not self._asked:
                ours = self._is_ours()
                if ours is None:
                    return
                self._asked = True
                if ours:
                    self._begin()
            self._write_rows()

    def finish(self, exit_code: int, *, stopped: str = "", preempted: bool = False) -> None:
        """End the run at W&B, where its training has not: it would be pending, or running, for ever."""
        if self._make_writer is None:
            return
        with self._lock:
            try:
                if self._writer is None and (state := self._client.run_state(self.run.run_id)) in _LIVE:
                    begun = state not in ("pending", None)
                    self._begin(resumes=begun and self._client.resumes(self.run.run_id))
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
        """Whether nobody else began the run; None: W&B does not say now."""
        if self._make_writer is None or find_active_run() == self.run.run_id:
            return False
        if self._entry.writes:
            return True
        try:
            return self._client.run_state(self.run.run_id, patient=False) != "running"
        except WandbError as error:
            log.info("%s", error)
            return None

    def _begin(self, *, resumes: bool = False) -> None:
        assert self._make_writer is not None
        try:
            run = replace(self.run, resumes=self.run.resumes or resumes)
            self._writer = self._make_writer(run, self._place)
        except Exception as error:  # wandb's own exceptions are partly private; the trial must not fail for them
            reason = " ".join(str(error).split())
            log.warning("The run %s cannot be written: %s: %s", self.run.run_id, type(error).__name__, reason)
            return
        self._log.writes(self._key)
