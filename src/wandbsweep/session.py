"""One run of the launching process: says what it starts, launches agents, watches, and shows what came of it."""

from __future__ import annotations

import logging
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wandbsweep.controllers.ending import Ending
from wandbsweep.monitor import watched
from wandbsweep.overrides import encode
from wandbsweep.prepare import Prepared
from wandbsweep.results.load import SweepResults
from wandbsweep.results.tables import console, print_best, print_leaderboard, state_line
from wandbsweep.settings import Settings
from wandbsweep.sweepdir import OUTPUTS, reserve_agents
from wandbsweep.trial import TrialRecord

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

        Ends the process with status 1 if the sweep has no finished trial then, or was given up, and with 130 on
        Ctrl-C. What a launcher returns or raises counts little: jobs get killed, and the store knows what they did.
        """
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
        except Exception as error:  # whatever a launcher raises when it has lost a job
            lost = error
        trials = self._collect(returned)
        if self.prepared.plain:
            if lost is not None and not trials:
                raise lost
            return trials
        if lost is not None:
            log.error("The launcher reports: %s", lost)
        self._conclude()
        self._exit_status()
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

    def _collect(self, returned: Sequence[Any]) -> list[Any]:
        found: list[tuple[int, Any]] = []
        for agent in returned:
            try:
                found.extend(agent.return_value)
            except Exception as error:  # the agent's own failure, not a trial's; its trials are in the store
                log.error("An agent failed: %s: %s", type(error).__name__, error)
        return [job for _, job in sorted(found, key=lambda numbered: numbered[0])]

    # -- what a person sees -----------------------------------------------------------------------------------------

    def _announce(self) -> None:
        prepared = self.prepared
        if prepared.plain:
            return
        print(f"{'Joined' if prepared.joined else 'Created'} sweep {prepared.plan.sweep_id}: {_summary(prepared)}")
        print(f"Directory: {prepared.directory}")
        print(f"Join it from another terminal or machine: {self._join_command()}", flush=True)

    def _join_command(self) -> str:
        plan, directory = self.prepared.plan, self.prepared.directory
        usual = directory == Path(plan.cwd, OUTPUTS, plan.sweep_id)
        place = [] if usual else [f"hydra.sweep.dir={encode(str(directory))}"]
        return shlex.join(
            [*plan.command, "-m", "hydra/sweeper=wandbsweep", f"hydra.sweeper.sweep_id={plan.sweep_id}", *place]
        )

    def _conclude(self) -> None:
        if self.prepared.plain:
            return
        results, out = self._results(), console()
        out.print()
        print_leaderboard(results, out, top=_TOP)
        out.print()
        out.print(state_line(results, self._controller.cap), markup=False)
        if results.best is not None:
            print_best(results, out)

    def _exit_status(self) -> None:
        ending = self._controller.ending()
        results = self._results()
        if ending is not None and ending.given_up:
            _print_failure(ending, results)
            raise SystemExit(1)
        if not any(trial.state == "finished" for trial in results.trials):
            print("No trial finished.", file=sys.stderr)
            raise SystemExit(1)


def _summary(prepared: Prepared) -> str:
    spec = prepared.spec
    metrics = [spec.metric] if spec.metric else spec.metrics
    goal = "".join(f", {metric.goal} {metric.name}" for metric in metrics)
    cap = f", at most {spec.run_cap} trials" if spec.run_cap else ""
    return f"{spec.method} over {len(spec.parameters)} parameters{goal}{cap}"


def _print_failure(ending: Ending, results: SweepResults) -> None:
    failed: TrialRecord = next(trial for trial in results.trials if trial.state in ("failed", "crashed"))
    directory = results.trial_directory(failed)
    print(f"The sweep was given up: {ending.reason}.", file=sys.stderr)
    print(f"Trial {failed.number}: {failed.reason}", file=sys.stderr)
    traceback = directory / "traceback.txt"
    if traceback.exists():
        print(f"\n{traceback.read_text(encoding='utf-8')}\n({traceback})", file=sys.stderr)
