"""One run of the launching process: says what it starts, launches agents, watches, and shows what came of it."""

from __future__ import annotations

import logging
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from wandbsweep.bridge.prepare import Prepared
from wandbsweep.controllers.open import open_controller
from wandbsweep.errors import SweepError
from wandbsweep.launch.detach import refuse_undetachable, submit_only
from wandbsweep.launch.devices import slices, visible_devices
from wandbsweep.launch.monitor import watched
from wandbsweep.launchers import Isolation, find_profile
from wandbsweep.results.analysis.advice import Adviser
from wandbsweep.results.sweep_data import SweepData, has_goal
from wandbsweep.results.terminal.tables import format_progress, make_console, print_best, print_leaderboard
from wandbsweep.settings import Settings
from wandbsweep.sweep.directory import reserve_agents
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.sweep.resume import join_command
from wandbsweep.text import pluralize
from wandbsweep.trial import ENDED
from wandbsweep.wandb_runs import page as wandb_page

log = logging.getLogger(__name__)

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[Any]]
"""``launcher.launch``: one list of overrides for each agent, and the number of the first."""

_TOP = 10
_POLL_S = 0.25
# An agent that lives has no trial, and so no lease to be seen, while it asks for the next one.
_BETWEEN_TRIALS_S = 5.0


def refuse_unfit(launcher: str, settings: Settings) -> None:
    """Raise SweepError for what the launcher with the class ``launcher`` cannot do, before anything is made."""
    if settings.detach:
        refuse_undetachable(launcher)
    devices_under(launcher, settings, settings.agents or 1)


def devices_under(launcher: str, settings: Settings, agents: int) -> list[str]:
    """What each agent's CUDA_VISIBLE_DEVICES is, in turn; none: as the launcher leaves it."""
    if settings.gpus_per_agent is None:
        return []
    if find_profile(launcher).assigns_gpus:
        raise SweepError(
            "hydra.sweeper.gpus_per_agent is for the agents of one machine; SLURM gives each job its own GPUs: "
            f"hydra.launcher.gpus_per_node={settings.gpus_per_agent}"
        )
    return slices(visible_devices(), settings.gpus_per_agent, agents)


class Session:
    """Runs the agents of a prepared sweep to their end."""

    def __init__(self, prepared: Prepared, settings: Settings, *, launcher: str) -> None:
        """``launcher``: the class of Hydra's launcher, by its full name."""
        self.prepared = prepared
        self.settings = settings
        self._adviser = Adviser()
        self._controller = open_controller(prepared.plan, prepared.directory, prepared.spec)
        if prepared.joined and self._controller.command in ("stopped", "cancelled"):
            log.warning("The sweep was %s; it goes on now.", self._controller.command)
            self._controller.command = "running"
        profile = find_profile(launcher)
        self.isolation = cast(Isolation | None, settings.isolation) or profile.isolation
        self.devices = devices_under(launcher, settings, self._agents())
        self._alone = not profile.shares_terminal

    def run(self, launch: Launch) -> list[Any]:
        """Returns Hydra's JobReturn of each trial that these agents ran, by number.

        Ends the process with status 1 if the sweep has no finished trial then, was given up, or lost an agent before
        it was over, and with 130 on Ctrl-C. What a launcher returns or raises counts little else: jobs get killed, and
        the store knows what they did.
        """
        try:
            return self._run(launch)
        except SweepError as error:  # the directory was spoilt meanwhile
            print(error, file=sys.stderr)
            raise SystemExit(2) from None

    def _run(self, launch: Launch) -> list[Any]:
        self._announce()
        if not self.prepared.joined:
            wandb_page.create_page(self.prepared.directory, self.prepared.plan)
        if self.settings.detach:
            return self._detach(launch)
        trials: list[Any] = []
        failure: Exception | None = None
        try:
            with watched(
                self._results, self._controller.cap, notes=self._notes, standing=self._standing, alone=self._alone
            ):
                trials, failure = self._work(launch)
        except KeyboardInterrupt:
            self._conclude()
            print(f"Interrupted. Resume with:\n  {self._join_command()}", file=sys.stderr)
            raise SystemExit(130) from None
        self._conclude()
        if failure is None and self._came_too_late():
            print("No trial was left for this machine: W&B has given all of them to others.", file=sys.stderr)
            return []
        unfinished = self._tell_what_is_left()
        if self._controller.completion() is not None and self.prepared.plan.wandb:
            wandb_page.publish_summary(self.prepared.directory, LaunchRecord.load(self.prepared.directory))
        if self.prepared.plain:
            if isinstance(failure, Exception) and unfinished:
                raise failure
            self._refuse_crashed()
            return trials
        self._exit_status()
        if unfinished and failure is not None:
            raise SystemExit(1)
        return trials

    def _notes(self, results: SweepData) -> list[str]:
        """Advice that was not given yet; a plain grid is the user's own affair."""
        return [] if self.prepared.plain else self._adviser.list_new(results.spec, results.trials)

    def _standing(self, results: SweepData) -> list[str]:
        """What the picture says besides."""
        if self.prepared.plan.hosted is None and self._controller.command == "paused":
            return [f"Paused; go on with: wandbsweep resume {results.sweep_id}"]
        return []

    def _work(self, launch: Launch) -> tuple[list[Any], Exception | None]:
        """Launch agents, and others in the place of those that were lost, until nothing is left to do here.

        Returns the trials' JobReturns by number, and the last failure of a launcher or an agent.
        """
        found: list[tuple[int, Any]] = []
        failure: Exception | None = None
        before = -1
        while self._controller.completion() is None and (progress := self._progress()) != before:
            before = progress
            numbers = reserve_agents(self.prepared.directory, self._agents())
            try:
                trials, failure = _collected(launch([self.prepared.agent_overrides] * len(numbers), numbers[0]))
                found += trials
            except SweepError:
                raise
            except Exception as error:  # whatever a launcher raises when it has lost a job
                log.error("The launcher reports: %s", error)
                failure = error
            self._await_the_others(lost=failure is not None)
            if self.settings.count is not None and failure is None and not self._stranded():
                break
            if self._controller.has_live_agents():
                break
        if self._controller.completion() is not None:
            self._controller.close_orphans()
        return [job for _, job in sorted(found, key=lambda numbered: numbered[0])], failure

    def _progress(self) -> int:
        """Rises with whatever agents do: while it does not, launching more of them is of no use."""
        return sum(trial.attempts + (trial.state in ENDED) for trial in self._controller.trials())

    def _stranded(self) -> bool:
        """Whether trials were begun that nobody runs."""
        return any(trial.state in ("queued", "running") for trial in self._controller.trials())

    def _await_the_others(self, *, lost: bool) -> None:
        """Wait until it is known whether other agents live, and where a launcher gave up on some, until none does.

        It raises as soon as one of its jobs fails, while the others go on.
        """
        seen = time.monotonic()
        while True:
            attended = self._controller.has_live_agents()
            if attended is False and (not lost or time.monotonic() - seen > _BETWEEN_TRIALS_S):
                return
            if attended and not lost:
                return
            if attended is not False:
                seen = time.monotonic()
            time.sleep(_POLL_S)

    def _detach(self, launch: Launch) -> list[Any]:
        if (ending := self._controller.completion()) is not None:
            print(f"Nothing to submit: {ending.reason}.")
            return []
        numbers = reserve_agents(self.prepared.directory, self._agents())
        submit_only(lambda: launch([self.prepared.agent_overrides] * len(numbers), numbers[0]))
        sweep = shlex.quote(str(self.prepared.directory))
        print(f"Submitted {pluralize(len(numbers), 'agent')}; they go on without this process. How far they are:")
        print(f"  wandbsweep status {sweep} --watch", flush=True)
        return []

    def _agents(self) -> int:
        if self.settings.agents is not None:
            return self.settings.agents
        cap, count = self._controller.cap, self.settings.count
        if count is None or cap is None:
            return 1
        ended = sum(trial.state not in ("queued", "running") for trial in self._controller.trials())
        return max(1, math.ceil((cap - ended) / count))

    def _results(self) -> SweepData:
        prepared = self.prepared
        return SweepData(prepared.directory, prepared.spec, self._controller.trials(), prepared.plan)

    # -- what a person sees -----------------------------------------------------------------------------------------

    def _announce(self) -> None:
        prepared = self.prepared
        if prepared.plain:
            print(f"Directory: {prepared.directory}", flush=True)
            return
        print(f"{'Joined' if prepared.joined else 'Created'} sweep {prepared.plan.sweep_id}: {_summary(prepared)}")
        print(f"Directory: {prepared.directory}")
        print(f"Join it from another terminal or machine: {self._join_command()}", flush=True)
        for note in self._adviser.list_new(prepared.spec, []):
            print(f"Note: {note}", file=sys.stderr, flush=True)

    def _join_command(self) -> str:
        return join_command(self.prepared.plan, self.prepared.directory)

    def _conclude(self) -> None:
        if self.prepared.plain:
            return
        results, out = self._results(), make_console()
        out.print()
        print_leaderboard(results, out, top=_TOP)
        out.print()
        out.print(format_progress(results, self._controller.cap), markup=False)
        if has_goal(results.spec) and any(trial.state in ("finished", "stopped") for trial in results.trials):
            print_best(results, out)

    def _tell_what_is_left(self) -> bool:
        """Say which trials are not done though the agents are; whether there are any."""
        ending = self._controller.completion()
        counts = self._results().counts
        running, queued = counts.get("running", 0), counts.get("queued", 0)
        cap = self._controller.cap
        parts = []
        if running:
            verb = "still shows" if running == 1 else "still show"
            parts.append(f"{pluralize(running, 'trial')} {verb} as running (another agent's, or lost with it)")
        if ending is None:
            waiting = {"given back": queued, "never started": 0 if cap is None else cap - sum(counts.values())}
            for how, count in waiting.items():
                if count > 0:
                    whom = str(count) if parts else pluralize(count, "trial")
                    parts.append(f"{whom} {'was' if count == 1 else 'were'} {how}")
            parts = parts or ["The sweep is not over"]
        if parts:
            onwards = f" Resume with:\n  {self._join_command()}" if ending is None else ""
            print(f"{'; '.join(parts)}.{onwards}", file=sys.stderr)
        return bool(parts)

    def _came_too_late(self) -> bool:
        """Whether this machine joined a sweep at W&B, of which it knows its own trials alone, and was given none."""
        return self.prepared.joined and self.prepared.plan.hosted is not None and not self._controller.trials()

    def _refuse_crashed(self) -> None:
        """Of a plain grid every trial counts; one that failed tells so by its JobReturn, but a crashed one has none."""
        crashed = [trial for trial in self._controller.trials() if trial.state == "crashed"]
        failed = any(trial.state == "failed" for trial in self._controller.trials())
        for trial in crashed:
            print(f"Trial {trial.number} crashed: {trial.reason}", file=sys.stderr)
        if crashed and not failed:
            raise SystemExit(1)

    def _exit_status(self) -> None:
        ending = self._controller.completion()
        results = self._results()
        if ending is not None and ending.aborted:
            print(f"The sweep was given up: {ending.reason}.", file=sys.stderr)
            _print_failure(results)
            raise SystemExit(1)
        if not any(trial.state == "finished" for trial in results.trials):
            print("No trial finished.", file=sys.stderr)
            _print_failure(results)
            raise SystemExit(1)


def _collected(returned: Sequence[Any]) -> tuple[list[tuple[int, Any]], Exception | None]:
    """What the agents returned: (number, JobReturn) of each trial, and the last agent's failure."""
    found: list[tuple[int, Any]] = []
    failure: Exception | None = None
    for agent in returned:
        try:
            found.extend(agent.return_value)
        except Exception as error:  # the agent's own failure, not a trial's; its trials are in the store
            log.error("An agent failed: %s: %s", type(error).__name__, error)
            failure = error
    return found, failure


def _summary(prepared: Prepared) -> str:
    spec = prepared.spec
    metrics = [spec.metric] if spec.metric else spec.metrics
    goal = "".join(f", {metric.goal} {metric.name}" for metric in metrics)
    cap = f", at most {pluralize(spec.run_cap, 'trial')}" if spec.run_cap else ""
    return f"{spec.method} over {pluralize(len(spec.parameters), 'parameter')}{goal}{cap}"


def _print_failure(results: SweepData) -> None:
    """The first trial that failed, if one has: why, and where."""
    failed = next((trial for trial in results.trials if trial.state in ("failed", "crashed")), None)
    if failed is None:
        return
    print(f"Trial {failed.number}: {failed.reason}", file=sys.stderr)
    traceback = results.trial_directory(failed) / "traceback.txt"
    if traceback.exists():
        print(f"\n{traceback.read_text(encoding='utf-8')}\n({traceback})", file=sys.stderr)
