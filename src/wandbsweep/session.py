"""One run of the launching process: says what it starts, launches agents, watches, and shows what came of it."""

from __future__ import annotations

import logging
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wandbsweep.errors import SweepError
from wandbsweep.monitor import watched
from wandbsweep.overrides import encode
from wandbsweep.prepare import Prepared
from wandbsweep.results.load import SweepResults, has_goal, run_overrides
from wandbsweep.results.tables import console, counted, print_best, print_leaderboard, state_line
from wandbsweep.settings import Settings
from wandbsweep.sweepdir import OUTPUTS, reserve_agents

log = logging.getLogger(__name__)

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[Any]]
"""``launcher.launch``: one list of overrides for each agent, and the number of the first."""

_TOP = 10


class Session:
    """Runs the agents of a prepared sweep to their end."""

    def __init__(self, prepared: Prepared, settings: Settings) -> None:
        self.prepared = prepared
        self.settings = settings
        self._controller = prepared.plan.open_controller(prepared.directory, prepared.spec)

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
        lost: Exception | None = None
        returned: list[Any] = []
        try:
            if self._controller.ending() is None:
                numbers = reserve_agents(self.prepared.directory, self._agents())
                with watched(self._results, self._controller.cap):
                    returned = list(launch([self.prepared.agent_overrides] * len(numbers), numbers[0]))
        except KeyboardInterrupt:
            self._conclude()
            print(f"Interrupted. Go on with:\n  {self._join_command()}", file=sys.stderr)
            raise SystemExit(130) from None
        except SweepError:
            raise
        except Exception as error:  # whatever a launcher raises when it has lost a job
            lost = error
        trials, agents_lost = self._collect(returned)
        if lost is not None and not self.prepared.plain:
            log.error("The launcher reports: %s", lost)
        self._conclude()
        unfinished = self._tell_what_is_left()
        if self.prepared.plain:
            if lost is not None:
                raise lost
            if agents_lost and unfinished:
                raise SystemExit(1)
            return trials
        self._exit_status()
        if unfinished and (agents_lost or lost is not None):
            raise SystemExit(1)
        return trials

    def _agents(self) -> int:
        if self.settings.agents is not None:
            return self.settings.agents
        cap, count = self._controller.cap, self.settings.count
        if count is None or cap is None:
            return 1
        ended = sum(trial.state not in ("queued", "running") for trial in self._controller.trials())
        return max(1, math.ceil((cap - ended) / count))

    def _results(self) -> SweepResults:
        prepared = self.prepared
        return SweepResults(prepared.directory, prepared.spec, self._controller.trials(), prepared.plan)

    def _collect(self, returned: Sequence[Any]) -> tuple[list[Any], bool]:
        """The trials' JobReturns by number, and whether an agent failed."""
        found: list[tuple[int, Any]] = []
        lost = False
        for agent in returned:
            try:
                found.extend(agent.return_value)
            except Exception as error:  # the agent's own failure, not a trial's; its trials are in the store
                log.error("An agent failed: %s: %s", type(error).__name__, error)
                lost = True
        return [job for _, job in sorted(found, key=lambda numbered: numbered[0])], lost

    # -- what a person sees -----------------------------------------------------------------------------------------

    def _announce(self) -> None:
        prepared = self.prepared
        if prepared.plain:
            print(f"Directory: {prepared.directory}", flush=True)
            return
        print(f"{'Joined' if prepared.joined else 'Created'} sweep {prepared.plan.sweep_id}: {_summary(prepared)}")
        print(f"Directory: {prepared.directory}")
        print(f"Join it from another terminal or machine: {self._join_command()}", flush=True)

    def _join_command(self) -> str:
        plan, directory = self.prepared.plan, self.prepared.directory
        # A script is named relative to where the sweep was started, and its outputs/ are there as well.
        script = any(word.endswith(".py") and not os.path.isabs(word) for word in plan.command)
        usual = script and directory == Path(plan.cwd, OUTPUTS, plan.sweep_id)
        place = [] if usual else [f"hydra.sweep.dir={encode(str(directory))}"]
        joining = ["-m", "hydra/sweeper=wandbsweep", f"hydra.sweeper.sweep_id={plan.sweep_id}"]
        command = shlex.join([*plan.command, *joining, *place, *run_overrides(plan)])
        return command if os.getcwd() == plan.cwd else f"cd {shlex.quote(plan.cwd)} && {command}"

    def _conclude(self) -> None:
        if self.prepared.plain:
            return
        results, out = self._results(), console()
        out.print()
        print_leaderboard(results, out, top=_TOP)
        out.print()
        out.print(state_line(results, self._controller.cap), markup=False)
        if has_goal(results.spec) and any(trial.state in ("finished", "stopped") for trial in results.trials):
            print_best(results, out)

    def _tell_what_is_left(self) -> bool:
        """Say which trials are not done though the agents are; whether there are any."""
        ending = self._controller.ending()
        counts = self._results().counts
        running, queued = counts.get("running", 0), counts.get("queued", 0)
        cap = self._controller.cap
        parts = []
        if running:
            verb = "still shows" if running == 1 else "still show"
            parts.append(f"{counted(running, 'trial')} {verb} as running (another agent's, or lost with it)")
        if ending is None:
            waiting = {"given back": queued, "never started": 0 if cap is None else cap - sum(counts.values())}
            for how, count in waiting.items():
                if count > 0:
                    whom = str(count) if parts else counted(count, "trial")
                    parts.append(f"{whom} {'was' if count == 1 else 'were'} {how}")
            parts = parts or ["The sweep is not over"]
        if parts:
            onwards = f" Go on with:\n  {self._join_command()}" if ending is None else ""
            print(f"{'; '.join(parts)}.{onwards}", file=sys.stderr)
        return bool(parts)

    def _exit_status(self) -> None:
        ending = self._controller.ending()
        results = self._results()
        if ending is not None and ending.given_up:
            print(f"The sweep was given up: {ending.reason}.", file=sys.stderr)
            _print_failure(results)
            raise SystemExit(1)
        if not any(trial.state == "finished" for trial in results.trials):
            print("No trial finished.", file=sys.stderr)
            _print_failure(results)
            raise SystemExit(1)


def _summary(prepared: Prepared) -> str:
    spec = prepared.spec
    metrics = [spec.metric] if spec.metric else spec.metrics
    goal = "".join(f", {metric.goal} {metric.name}" for metric in metrics)
    cap = f", at most {counted(spec.run_cap, 'trial')}" if spec.run_cap else ""
    return f"{spec.method} over {counted(len(spec.parameters), 'parameter')}{goal}{cap}"


def _print_failure(results: SweepResults) -> None:
    """The first trial that failed, if one has: why, and where."""
    failed = next((trial for trial in results.trials if trial.state in ("failed", "crashed")), None)
    if failed is None:
        return
    print(f"Trial {failed.number}: {failed.reason}", file=sys.stderr)
    traceback = results.trial_directory(failed) / "traceback.txt"
    if traceback.exists():
        print(f"\n{traceback.read_text(encoding='utf-8')}\n({traceback})", file=sys.stderr)
