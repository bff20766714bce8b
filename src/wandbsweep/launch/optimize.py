"""``optimize``: a sweep over a Python function, without Hydra."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from wandbsweep.agent.function_agent import (
    STARTER,
    Function,
    FunctionAgent,
    FunctionJob,
    pack_function,
    run_function_trials,
)
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.controllers.base import SweepController
from wandbsweep.controllers.open import open_embedded, open_or_create
from wandbsweep.errors import SweepError
from wandbsweep.launch.agent_processes import run_processes
from wandbsweep.launch.monitor import Monitor
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.results.sweep_results import SweepResults, open_sweep
from wandbsweep.settings import MAX_FAILURES
from wandbsweep.spec.load import change_run_cap, load_sweep, require_end
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.directory import TRACEBACK
from wandbsweep.sweep.index import remember_sweep
from wandbsweep.sweep.launch_record import ControllerOptions
from wandbsweep.trial import ENDED, FAILED, SUCCEEDED

_POLL_S = 0.25


def optimize(
    function: Function,
    sweep: str | os.PathLike[str] | Mapping[str, Any] | SweepSpec,
    path: str | os.PathLike[str] | None = None,
    *,
    agents: int = 1,
    run_cap: int | None = None,
    storage: str | None = None,
    seed: int | None = None,
    max_failures: int = MAX_FAILURES,
    progress: bool = True,
) -> SweepResults:
    """Run a sweep over a Python function, and return its results.

    The function may call ``wandbsweep.current_trial().report(step, {name: value})`` while it trains, and should return
    when the answer says stop. If it reports nothing, the number that it returns is the trial's value. If it raises, the
    trial has failed, and the sweep continues.

    Args:
        function: Called once for each trial with its parameters, a dictionary of dotted names and values.
        sweep: A sweep file, the mapping that one holds, or what ``load_sweep`` returns.
        path: Directory that keeps the sweep. An equal sweep in it is resumed. None: nothing stays on disk.
        agents: How many trials run at once. With one, trials run in this process. With more, each agent is a process,
            and each trial is a process that the agent forks.
        run_cap: The largest number of trials, in place of the sweep's ``run_cap``.
        storage: Optuna storage URL, used instead of a journal in ``path``.
        seed: Seed of the search. None: the stored one, or else a random one.
        max_failures: How many trials in a row may fail, at the start or later, before the call raises SweepError.
        progress: Whether to show the progress on standard error.

    Returns:
        The results, which print as a table.

    Raises:
        SweepConfigError: The sweep breaks its rules, or nothing would end it.
        SweepDirectoryError: ``path`` or ``storage`` holds another sweep, or ``path`` cannot be written.
        SweepError: No trial succeeded, the sweep was aborted, or the agents ended before it was over.
        KeyboardInterrupt: Ctrl-C was pressed. Trials that were running are queued again, to be resumed from ``path``.
    """
    if isinstance(agents, bool) or not isinstance(agents, int) or agents < 1:
        raise SweepError(f"The value of agents is {agents!r}, but must be a whole number of at least 1.")
    spec = _read_spec(sweep, run_cap)
    with _provide_directory(path) as directory:
        open_or_create(directory, spec, ControllerOptions(storage=storage, seed=seed)).close()
        if path is not None:
            remember_sweep(directory.name, directory, os.getcwd())
        options = ControllerOptions(storage=storage, max_failures=max_failures)
        with closing(open_embedded(directory, spec, options, study_name=directory.name)) as controller:
            _resume(controller)
            monitor = Monitor(lambda: SweepData(directory, spec, controller.trials()), controller.cap)
            with monitor.show() if progress else nullcontext():
                if agents == 1:
                    job, watch = FunctionJob(function, directory), SignalWatch()
                    run_function_trials(controller, job, directory, name="0", watch=watch, separate=False)
                else:
                    _run_processes(function, agents, directory, options, controller)
                    controller.close_orphans()
            results = open_sweep(directory)
            _refuse_failure(results, controller)
    return results


def _read_spec(sweep: str | os.PathLike[str] | Mapping[str, Any] | SweepSpec, run_cap: int | None) -> SweepSpec:
    spec = sweep if isinstance(sweep, SweepSpec) else load_sweep(sweep)
    if run_cap is not None:
        spec = change_run_cap(spec, run_cap)
    require_end(spec, "add run_cap to it, or pass run_cap=50")
    return spec


@contextmanager
def _provide_directory(path: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yield the sweep's directory. A temporary one is removed at the end, unless the sweep is interrupted."""
    if path is not None:
        yield Path(path).absolute()
        return
    temporary, is_interrupted = Path(tempfile.mkdtemp(prefix="wandbsweep-")), False
    try:
        yield temporary
    except KeyboardInterrupt:
        is_interrupted = True
        print(f"Interrupted. The trials so far are in {temporary}; path= resumes them.", file=sys.stderr)
        raise
    finally:
        if not is_interrupted:
            shutil.rmtree(temporary)


def _resume(controller: SweepController) -> None:
    """Let a sweep that was stopped, cancelled or aborted continue."""
    if controller.command in ("stopped", "cancelled"):
        controller.command = "running"
    completion = controller.completion()
    if completion is not None and completion.failing:
        controller.forgive_failures()


def _run_processes(
    function: Function, agents: int, directory: Path, options: ControllerOptions, controller: SweepController
) -> None:
    """Run agents until the sweep is over. If they end before that, start new ones, as long as there is progress."""
    job, before, first = pack_function(function, directory), -1, 0
    _await_known_agents(controller)
    while controller.completion() is None and (progress := _measure_progress(controller)) != before:
        before = progress
        names = range(first, first + agents)
        _run_once([FunctionAgent(str(name), directory, options, job, os.getpid(), sys.argv) for name in names])
        first += agents
        _await_known_agents(controller)


def _await_known_agents(controller: SweepController) -> None:
    """Wait until it is known whether the agents of running trials live, because lost trials are still to do."""
    while any(trial.state == "running" for trial in controller.trials()) and controller.has_live_agents() is None:
        time.sleep(_POLL_S)


def _run_once(agents: Sequence[FunctionAgent]) -> None:
    """Start a process for each agent, and wait until all have ended. An interruption, such as Ctrl-C, ends them."""
    command = [sys.executable, "-c", STARTER, json.dumps(sys.path)]
    run_processes([command] * len(agents), inputs=[pickle.dumps(agent) for agent in agents])


def _measure_progress(controller: SweepController) -> int:
    """Return a number that rises with everything that agents do."""
    return sum(trial.starts + (trial.state in ENDED) for trial in controller.trials())


def _refuse_failure(results: SweepResults, controller: SweepController) -> None:
    """Raise SweepError if the sweep has no result, or is not over."""
    completion = controller.completion()
    if completion is not None and completion.failing:
        reason = completion.describe_failing()
    elif completion is None:
        reason = "The agents ended before the sweep was over."
    elif not any(trial.state in SUCCEEDED for trial in results.trials):
        reason = "No trial succeeded."
    else:
        return
    failed = next((trial for trial in results.trials if trial.state in FAILED), None)
    if failed is not None:
        reason += f" Trial {failed.number}: {failed.reason}"
        traceback = results.trial_directory(failed) / TRACEBACK
        if traceback.exists():
            reason += f"\n\n{traceback.read_text(encoding='utf-8')}"
    raise SweepError(reason)
