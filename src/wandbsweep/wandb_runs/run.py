"""A trial as a run of a W&B sweep: its environment, its parameter file, its beginning and its end.

W&B links a run to its sweep by environment alone, and reads that once per process. So whoever runs several trials in
one process applies ``trial_environment`` around each.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from wandbsweep.current import current_trial
from wandbsweep.environment import set_variables
from wandbsweep.sweep.launch_record import HIDDEN

if TYPE_CHECKING:
    from wandbsweep.sweep.launch_record import LaunchRecord
    from wandbsweep.trial import Trial

SWEEP_ID, RUN_ID, PARAM_PATH = "WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"

STOPPED = "wandbsweep/stopped"
"""In a run's summary: why its sweep ended it early; W&B calls such a run finished."""


STOPPED_BY_WANDB = "W&B stopped the run"


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep that W&B gave out."""

    sweep_id: str
    run_id: str
    entity: str
    project: str
    args: Mapping[str, Any] = field(default_factory=dict)
    """name -> {"value": value}."""
    name: str | None = None
    """How W&B's pages call it."""
    attempt: int = 1
    resumes: bool = False
    """Whether wandb is to go on with what an earlier attempt wrote."""

    def environment(self, param_file: Path) -> dict[str, str]:
        """What a process needs so that its ``wandb.init()`` is this run; ``write_params`` writes the file."""
        found = {
            SWEEP_ID: self.sweep_id,
            RUN_ID: self.run_id,
            "WANDB_ENTITY": self.entity,
            "WANDB_PROJECT": self.project,
            PARAM_PATH: str(param_file),
        }
        if self.name:
            found["WANDB_NAME"] = self.name
        if self.resumes:
            found["WANDB_RESUME"] = "allow"
        return found


def write_params(path: Path, args: Mapping[str, Any]) -> None:
    """The parameter file of a run, as ``wandb agent`` writes it: its keys are locked in the run's config."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = yaml.safe_dump(dict(args), sort_keys=False, allow_unicode=True) if args else ""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_text(f"wandb_version: 1\n\n{values}", encoding="utf-8")
    temporary.replace(path)


def read_params(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The values in a parameter file, by name: as they were meant, null, lists and booleans included."""
    stored = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    return {
        name: given["value"]
        for name, given in stored.items()
        if name not in ("wandb_version", "_wandb") and isinstance(given, dict) and "value" in given
    }


def page_environment(plan: LaunchRecord, directory: Path, trial: Trial) -> dict[str, str] | None:
    """What makes a trial's run one of the W&B sweep that shows an embedded sweep; None: there is none."""
    made = (plan.wandb or {}).get("sweep")
    if not made:
        return None
    name = f"{plan.sweep_id}-{trial.number}"
    args = {key: {"value": value} for key, value in trial.params.items()}
    run = SweepRun(**made, run_id=name, args=args, name=name, attempt=trial.attempt, resumes=trial.attempt > 1)
    path = directory / HIDDEN / "wandb" / f"{trial.number}.yaml"
    write_params(path, args)
    return run.environment(path)


@contextmanager
def trial_environment(environment: Mapping[str, str] | None) -> Iterator[None]:
    """Apply a trial's environment (``HostedController.environment``) to this process for a ``with`` block.

    What wandb keeps for the whole process is dropped before and after, so that each trial is a run of its own. One
    block at a time: an environment is the process's. None: nothing is done.
    """
    if environment is None:
        yield
        return
    forget_wandb()
    with set_variables(environment):
        if wandb := sys.modules.get("wandb"):
            # W&B's client would press Ctrl-C when the run is to be stopped, which would end the agent.
            wandb.setup(wandb.Settings(stop_fn=lambda: current_trial().stop(STOPPED_BY_WANDB)))
        try:
            yield
        finally:
            forget_wandb()


def forget_wandb(exit_code: int | None = None) -> None:
    """End the runs of this process and drop wandb's settings, if wandb was used at all.

    Not before the agent's own ``RunWriter``s are done: under ``isolation=none`` they share the trial's process.
    """
    wandb = sys.modules.get("wandb")
    if wandb is not None and not RunWriter.open:
        wandb.teardown(exit_code)


def in_sweep() -> bool:
    """Whether a W&B agent, ours or W&B's own, runs this process: its run is then not ours to name."""
    return bool(os.environ.get(SWEEP_ID) and os.environ.get(RUN_ID))


def stock_overrides(arguments: list[str], format_value: Callable[[Any], str]) -> list[str]:
    """The command line that ``wandb agent`` gave a Hydra application, with the values that were meant.

    W&B's agent writes values with Python's ``str``: null becomes the text None, and text stays unquoted. The parameter
    file keeps them as they are, so each ``name=…`` of a parameter (also after ``++`` or ``--``) is written again with
    ``format_value`` (``sweep.override_strings.format_value``), and the parameters that the command left out are added.
    """
    path = os.environ.get(PARAM_PATH)
    if not path or not in_sweep() or not os.path.exists(path):
        return arguments
    left = read_params(path)
    found = []
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        name = key.lstrip("+-")
        if equals and name in left:
            prefix = "" if key.startswith("--") else key[: len(key) - len(name)]
            argument = f"{prefix}{name}={format_value(left.pop(name))}"
        found.append(argument)
    return found + [f"{name}={format_value(value)}" for name, value in left.items()]


def active_run() -> str | None:
    """The id of the run that this process has open."""
    run = getattr(sys.modules.get("wandb"), "run", None)
    return None if run is None else str(run.id)


# -- ending ---------------------------------------------------------------------------------------------------------


def mark_preempting() -> None:
    """Tell W&B to queue this process's run again; it must end with a status other than 0 then."""
    run = getattr(sys.modules.get("wandb"), "run", None)
    if run is not None:
        run.mark_preempting()


def finish(exit_code: int = 0, *, stopped: str = "", preempted: bool = False) -> None:
    """End this process's run, its history sent. ``stopped``: why the sweep ended it; ``preempted``: see above."""
    wandb = sys.modules.get("wandb")
    run = getattr(wandb, "run", None)
    if run is None:
        return
    if stopped:
        run.summary[STOPPED] = stopped
    if preempted:
        run.mark_preempting()
        exit_code = exit_code or 1
    run.finish(exit_code=exit_code)


@contextmanager
def exits_through_python(*, preempting: tuple[signal.Signals, ...] = (signal.SIGUSR2,)) -> Iterator[None]:
    """SIGTERM and SIGUSR2 end the process through Python for a ``with`` block: else all unsent history is lost.

    Those of ``preempting`` mark the run, so that W&B queues it again. Signals that somebody handles are left to them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_IGN)  # a second one must not interrupt the ending
        if signum in preempting:
            mark_preempting()
        raise SystemExit(128 + signum)

    ours = [s for s in (signal.SIGTERM, signal.SIGUSR2) if signal.getsignal(s) is signal.SIG_DFL]
    for signum in ours:
        signal.signal(signum, leave)
    try:
        yield
    finally:
        for signum in ours:
            with suppress(ValueError):
                signal.signal(signum, signal.SIG_DFL)


# -- runs that the agent writes -------------------------------------------------------------------------------------


class RunWriter:
    """Writes the run of a trial whose training does not: what it reports becomes the run's history."""

    open: ClassVar[set[RunWriter]] = set()
    """Those of this process that are not finished."""

    def __init__(self, run: SweepRun, directory: Path) -> None:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            sweep_id=run.sweep_id,
            x_disable_stats=True,
            x_disable_meta=True,
            stop_fn=lambda: None,  # not Ctrl-C: the agent hears of it with a heartbeat
        )
        directory.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            entity=run.entity,
            project=run.project,
            id=run.run_id,
            name=run.name,
            dir=str(directory),
            config={name: given["value"] for name, given in run.args.items()},
            resume="allow" if run.resumes else None,
            reinit="create_new",
            settings=settings,
        )
        self.open.add(self)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Negative steps and steps that went before are kept under the name ``step`` alone: W&B's own only rises."""
        self._run.log({**metrics, "step": step})

    def finish(self, exit_code: int, *, stopped: str = "", preempted: bool = False) -> None:
        if stopped:
            self._run.summary[STOPPED] = stopped
        if preempted:
            self._run.mark_preempting()
        try:
            self._run.finish(exit_code=exit_code)
        finally:
            self.open.discard(self)
