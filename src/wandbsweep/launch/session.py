"""One run of the launching process, which launches agents until the sweep is over, and shows progress and result."""

from __future__ import annotations

import logging
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, cast

from wandbsweep.controllers.completion import Completion
from wandbsweep.controllers.open import open_controller
from wandbsweep.errors import SweepError
from wandbsweep.launch.detach import refuse_undetachable, submit_only
from wandbsweep.launch.devices import assign_devices
from wandbsweep.launch.lost_jobs import await_all_jobs
from wandbsweep.launch.messages import (
    describe_start,
    describe_unfinished,
    print_announcement,
    print_first_failure,
    print_result,
)
from wandbsweep.launch.monitor import Monitor, print_line
from wandbsweep.launchers import Isolation, find_profile
from wandbsweep.results.analysis.advice import collect_new_advice
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.results.terminal.tables import explain_no_best
from wandbsweep.settings import Settings
from wandbsweep.sweep.directory import reserve_agents
from wandbsweep.sweep.index import remember_sweep
from wandbsweep.sweep.prepared import PreparedSweep
from wandbsweep.text import escape_output, pluralize
from wandbsweep.trial import ENDED, FAILED, TrialRecord
from wandbsweep.wandb_runs.page import create_page, publish_summary

log = logging.getLogger(__name__)

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[Any]]
"""``launcher.launch``: takes one list of overrides for each agent, and the number of the first agent."""

_POLL_S = 0.25


_BETWEEN_TRIALS_S = 5.0
"""An agent between two trials owns none, so its lease is not read: it may seem dead for this long."""


def refuse_unsuitable_launcher(launcher: str, settings: Settings) -> None:
    """Raise SweepError if the launcher with the class ``launcher`` cannot do what ``settings`` ask of it."""
    if settings.detach:
        refuse_undetachable(launcher)
    assign_devices(launcher, settings, settings.agents or 1)


def count_agents(settings: Settings, left: int | None, *, again: bool = False) -> int:
    """Return how many agents to launch.

    Args:
        settings: The sweeper's settings.
        left: How many trials are left; None: unlimited.
        again: Whether agents were launched before: then no more are launched than the trials need.
    """
    agents, count = settings.agents, settings.count
    if count is None or left is None or (agents is not None and not again):
        return agents or 1
    needed = max(1, math.ceil(left / count))
    return min(needed, agents or needed)


class Session:
    """Runs the agents of a prepared sweep to their end."""

    def __init__(self, prepared: PreparedSweep, settings: Settings, *, launcher: str) -> None:
        """Open the sweep's controller.

        Args:
            prepared: The sweep.
            settings: The sweeper's settings.
            launcher: The class of Hydra's launcher, by its full name.

        Raises:
            SweepError: The controller cannot be opened, or there are not enough devices for the agents.
        """
        record = prepared.record
        remember_sweep(record.sweep_id, prepared.directory, record.application.cwd)
        self.prepared = prepared
        self.settings = settings
        self._given_advice: set[str] = set()
        self._controller = open_controller(record, prepared.directory, prepared.spec)
        if prepared.joined and self._controller.command in ("stopped", "cancelled"):
            log.warning("The sweep was %s; it is resumed now.", self._controller.command)
            self._controller.command = "running"
        self._known_failures = {_identify(trial) for trial in self._controller.trials() if trial.state in FAILED}
        if prepared.joined and self._known_failures:
            self._resume_failing()
        profile = find_profile(launcher)
        self.isolation = cast(Isolation | None, settings.isolation) or profile.isolation
        self._has_launched = False
        self.devices = assign_devices(launcher, settings, self._count_agents())
        self._lease_s = record.controller.lease_s
        self._has_terminal = not profile.shares_terminal or settings.output == "log"
        self._is_queued = profile.assigns_gpus
        self._is_submitit = profile.detachable
        self._shares_process = profile.name == "basic" and self.isolation == "none"
        self._monitor: Monitor | None = None

    def run(self, launch: Launch) -> list[Any]:
        """Launch agents until the sweep is over, and show the result.

        What a launcher returns or raises hardly matters, because jobs get killed. The storage has the trials' outcomes.

        Args:
            launch: Launches agents and waits for them.

        Returns:
            Hydra's JobReturn of each trial that these agents ran, by number.

        Raises:
            SystemExit: With status 1 if the sweep has no finished trial, was aborted, or lost an agent before it was
                over; with 2 if the sweep's directory was damaged in the meantime; with 130 on Ctrl-C.
        """
        escape_output()
        try:
            return self._run(launch)
        except SweepError as error:
            print(error, file=sys.stderr)
            raise SystemExit(2) from None

    def _run(self, launch: Launch) -> list[Any]:
        prepared = self.prepared
        print_announcement(prepared)
        if not prepared.is_plain:
            for note in collect_new_advice(prepared.spec, [], self._given_advice):
                print_line(f"Note: {note}", sys.stderr)
        record = prepared.record if prepared.joined else create_page(prepared.directory, prepared.record)
        if self.settings.detach:
            return self._detach(launch)
        self._monitor = monitor = Monitor(
            self._read_data, self._controller.cap, self._find_notes, self._find_status, self._has_terminal
        )
        try:
            with self._own_stream(monitor), monitor.show():
                trials, failure = self._launch_until_over(launch)
        except KeyboardInterrupt:
            self._print_result()
            print(f"Interrupted. {self._resume_hint()}", file=sys.stderr)
            raise SystemExit(130) from None
        self._print_result()
        if failure is None and self._was_given_no_trial():
            print("No trial was left for this machine: W&B has given all of them to others.", file=sys.stderr)
            return []
        has_unfinished = self._print_unfinished()
        if self._controller.completion() is not None and record.wandb:
            publish_summary(prepared.directory, record)
        if prepared.is_plain:
            if failure is not None and has_unfinished:
                raise failure
            self._say_if_failing()
            self._exit_if_failed(trials)
            return trials
        self._exit_if_unsuccessful()
        if has_unfinished and failure is not None:
            raise SystemExit(1)
        return trials

    def _resume_failing(self) -> None:
        """Keep earlier failures from ending the sweep again. ``max_failures`` may have another value now."""
        completion = self._controller.completion()
        is_failing = completion is not None and completion.failing
        if completion is not None and is_failing:
            log.warning("%s It is resumed now.", completion.describe_failing())
        if is_failing or self._controller.has_live_agents() is False:
            self._controller.forgive_failures()

    # -- Agents -------------------------------------------------------------------------------------------------------

    def _launch_until_over(self, launch: Launch) -> tuple[list[Any], Exception | None]:
        """Launch agents, and others in place of those that were lost, until nothing is left to do here.

        Returns the trials' JobReturns by number, and the last failure of a launcher or an agent.
        """
        found: list[tuple[int, Any]] = []
        failure: Exception | None = None
        before = -1
        self._find_lost_trials()
        # If a round of agents makes no progress, another one will not either.
        while self._controller.completion() is None and (progress := self._measure_progress()) != before:
            before = progress
            try:
                trials, failure = _collect_trials(self._launch_agents(launch))
                found += trials
            except SweepError:
                raise
            except Exception as error:  # a launcher that has lost a job may raise anything
                log.error("The launcher reports: %s", error)
                failure = error
            self._await_other_agents(has_lost_jobs=failure is not None)
            if self.settings.count is not None and failure is None and not self._has_open_trials():
                break
            if self._controller.has_live_agents():
                break  # they finish the sweep
        if self._controller.completion() is not None:
            self._controller.close_orphans()
        return [job for _, job in sorted(found, key=lambda numbered: numbered[0])], failure

    def _find_lost_trials(self) -> None:
        """If only trials that an earlier launch left running may be left to do, find out whether they are lost."""
        if self._controller.completion() is not None and self._has_open_trials():
            log.info("Checking for up to %g s whether the agents of running trials live.", self._lease_s)
            self._await_other_agents(has_lost_jobs=False)

    def _launch_agents(self, launch: Launch) -> Sequence[Any]:
        numbers = reserve_agents(self.prepared.directory, self._count_agents())
        self._has_launched = True
        if self._monitor is not None:
            self._monitor.say(
                describe_start(numbers, self.prepared.record.application, self.isolation, queued=self._is_queued)
            )
        with await_all_jobs() if self._is_submitit and not self.settings.detach else nullcontext():
            return launch([self.prepared.agent_overrides] * len(numbers), numbers[0])

    def _detach(self, launch: Launch) -> list[Any]:
        self._find_lost_trials()
        if (completion := self._controller.completion()) is not None:
            print(f"Nothing to submit: {completion.reason}.")
            return []
        agents = self._count_agents()
        submit_only(lambda: self._launch_agents(launch))
        print(f"Submitted {pluralize(agents, 'agent')}, which continue without this process. To see their progress:")
        print(f"  wandbsweep status {shlex.quote(str(self.prepared.directory))} --watch", flush=True)
        return []

    def _count_agents(self) -> int:
        """Return how many agents to launch: as many as asked for, or as the remaining trials need.

        If agents were lost, no more are launched again than the remaining trials need.
        """
        cap = self._controller.cap
        if cap is None:
            return self.settings.agents or 1
        ended = sum(trial.state not in ("queued", "running") for trial in self._controller.trials())
        return count_agents(self.settings, cap - ended, again=self._has_launched)

    def _measure_progress(self) -> int:
        """Return a number that rises with everything that agents do."""
        return sum(trial.starts + (trial.state in ENDED) for trial in self._controller.trials())

    def _has_open_trials(self) -> bool:
        return any(trial.state in ("queued", "running") for trial in self._controller.trials())

    def _await_other_agents(self, *, has_lost_jobs: bool) -> None:
        """Wait until it is known whether other agents live; if a launcher has lost jobs, until none does.

        A launcher may raise as soon as one of its jobs fails, while the others are still at work.
        """
        last_seen = time.monotonic()
        while True:
            live = self._controller.has_live_agents()  # None: not known yet
            if live is False and (not has_lost_jobs or time.monotonic() - last_seen > _BETWEEN_TRIALS_S):
                return
            if live and not has_lost_jobs:
                return
            if live is not False:
                last_seen = time.monotonic()
            time.sleep(_POLL_S)

    # -- What the user sees -------------------------------------------------------------------------------------------

    def _read_data(self) -> SweepData:
        prepared = self.prepared
        return SweepData(prepared.directory, prepared.spec, self._controller.trials(), prepared.record)

    def _find_notes(self, data: SweepData) -> list[str]:
        bad = [text for text in self._controller.describe_bad_nodes() if text not in self._given_advice]
        self._given_advice.update(bad)
        if self.prepared.is_plain:
            return bad
        return bad + collect_new_advice(data.spec, data.trials, self._given_advice)

    def _find_status(self, data: SweepData) -> list[str]:
        if self.prepared.record.hosted is None and self._controller.command == "paused":
            return [f"Paused; resume with: wandbsweep resume {data.sweep_id}"]
        return []

    @contextmanager
    def _own_stream(self, monitor: Monitor) -> Iterator[None]:
        """Have ``monitor`` write to the terminal while trials in this process write to their logs."""
        if not (self._shares_process and self.settings.output == "log"):
            yield
            return
        with open(os.dup(2), "w", buffering=1, errors="backslashreplace") as monitor.stream:
            yield

    def _print_result(self) -> None:
        print_result(self._read_data(), self._controller.cap)

    def _print_unfinished(self) -> bool:
        """Print which trials are not done although the agents have ended, and return whether there are any."""
        is_over = self._controller.completion() is not None
        text = describe_unfinished(self._read_data(), self._controller.cap, is_over=is_over)
        if text:
            print(text if is_over else f"{text} {self._resume_hint()}", file=sys.stderr)
        return bool(text)

    def _resume_hint(self) -> str:
        return f"Resume with:\n  {self.prepared.record.join_command(self.prepared.directory)}"

    # -- Exit status --------------------------------------------------------------------------------------------------

    def _was_given_no_trial(self) -> bool:
        """Return whether this machine joined a sweep at W&B, where it sees its own trials alone, and has none."""
        return self.prepared.joined and self.prepared.record.hosted is not None and not self._controller.trials()

    def _exit_if_failed(self, jobs: Sequence[Any]) -> None:
        """Exit if a trial of a plain grid crashed or failed, unless one of its JobReturns raises the failure."""
        from wandbsweep.bridge.hydra_private import has_failed  # only Hydra's own jobs need Hydra

        raises = any(has_failed(job) for job in jobs)
        unraised = ("crashed",) if raises else ("crashed", "failed")
        trials = [trial for trial in self._controller.trials() if trial.state in unraised]
        for trial in trials:
            print(f"Trial {trial.number} {trial.state}: {trial.reason}", file=sys.stderr)
        if trials and not raises:
            raise SystemExit(1)

    def _exit_if_unsuccessful(self) -> None:
        data = self._read_data()
        failed = [trial for trial in data.trials if _identify(trial) not in self._known_failures]
        if completion := self._say_if_failing():
            # The newest failure shows why it is paused: there may have been others, of other causes, in between.
            failed.sort(key=lambda trial: trial.ended or 0.0, reverse=completion.paused)
        elif not any(trial.state == "finished" for trial in data.trials):
            print("No trial finished.", file=sys.stderr)
        elif data.spec.objectives and data.best is None:
            print(explain_no_best(data, "No trial has a finite value of the metric."), file=sys.stderr)
        else:
            return
        print_first_failure(data, failed)
        raise SystemExit(1)

    def _say_if_failing(self) -> Completion | None:
        """Print and return why the sweep was aborted or is paused, if its trials failed; None: they did not."""
        completion = self._controller.completion()
        if completion is None or not completion.failing:
            return None
        print(f"{completion.describe_failing()} {self._resume_hint()}", file=sys.stderr)
        return completion


def _identify(trial: TrialRecord) -> tuple[int, int]:
    """Return what tells a trial's newest attempt from all others."""
    return trial.number, trial.starts


def _collect_trials(returned: Sequence[Any]) -> tuple[list[tuple[int, Any]], Exception | None]:
    """Return number and JobReturn of each trial in what the agents' jobs returned, and the last agent's failure."""
    found: list[tuple[int, Any]] = []
    failure: Exception | None = None
    for agent in returned:
        try:
            found.extend(agent.return_value)
        except Exception as error:  # the agent's own failure; its trials are in the storage
            log.error("An agent failed: %s: %s", type(error).__name__, error)
            failure = error
    return found, failure
