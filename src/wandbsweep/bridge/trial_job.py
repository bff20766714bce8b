"""One trial as one Hydra job, in its own directory, with its own ``.hydra/`` and log."""

from __future__ import annotations

import logging
import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from wandbsweep.bridge.hydra_private import (
    get_returned,
    get_whole_config,
    make_failed_job,
    make_finished_job,
    set_returned,
)
from wandbsweep.bridge.resuming import set_checkpoint
from wandbsweep.bridge.snapshot import PLAIN_RECURSIVE, make_trial_master, open_snapshot, set_key
from wandbsweep.bridge.task_output import send_output_to_log
from wandbsweep.current import DIRECTORY, current_trial
from wandbsweep.environment import set_variables
from wandbsweep.faults import TaskWatch, drop_tracebacks, release_task
from wandbsweep.sweep.directory import TRACEBACK
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.sweep.override_strings import format_overrides
from wandbsweep.sweep.report_log import save_run_url
from wandbsweep.text import describe_error, escape_surrogates
from wandbsweep.trial import Decision, JobResult, Trial, as_number
from wandbsweep.wandb_runs.environment import TrialRuns, apply_environment
from wandbsweep.wandb_runs.page import prepare_environment

log = logging.getLogger(__name__)

Around = Callable[[Trial, Sequence[str]], AbstractContextManager[None]]
"""Returns the context in which a trial's task runs, given the trial and its overrides."""


class TrialJob:
    """Composes and runs trials of one sweep. An agent has one for all its trials."""

    def __init__(
        self,
        record: LaunchRecord,
        directory: Path,
        *,
        task_function: TaskFunction,
        master: DictConfig,
        callbacks: Any,
        keep: bool = True,
        rank: int = 0,
        logs_output: bool = False,
        around: Sequence[Around] = (),
    ) -> None:
        """Prepare to run trials.

        Args:
            record: What the sweep was started with.
            directory: The sweep's directory.
            task_function: The application.
            master: The configuration of the command that launched this agent.
            callbacks: Its Hydra callbacks, which see each trial as a job.
            keep: Whether results carry Hydra's JobReturn with its configurations.
            rank: Which of the processes that run each trial this is. Those above 0 leave nothing in the trial's
                directory but a log of their own, and a traceback if they fail.
            logs_output: Whether what a task prints goes to the trial's log.
            around: The contexts in which each trial's task runs.
        """
        self._record = record
        self._rank = rank
        self._output: Callable[[], AbstractContextManager[None]] = send_output_to_log if logs_output else nullcontext
        self._around = around
        self._directory = directory
        self._task = task_function
        self._loader = open_snapshot(record, directory)
        self._master = make_trial_master(master, record, directory)
        self._context = HydraContext(config_loader=self._loader, callbacks=cast(Any, _TrialCallbacks(callbacks)))
        self._keep = keep

    def __call__(self, trial: Trial) -> JobResult:
        """Run ``trial`` and return its result. If its task raises, the trial has failed."""
        watch = TaskWatch()
        os.chdir(self._record.application.cwd)  # the agent's own job may have changed it
        self._traceback_file(trial).unlink(missing_ok=True)  # an earlier attempt's
        try:
            config = self.compose(trial)
        except Exception as error:  # resolvers and config sources are the application's, and may raise anything
            return self._fail(trial, error, make_failed_job(error), watch)
        overrides = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # they may be relative
        assert isinstance(overrides, list)
        environment = trial.environment or prepare_environment(self._record, self._directory, trial)
        result: JobResult | None = None
        try:
            with _restore_logging(), apply_environment(environment), ExitStack() as stack:
                for around in self._around:
                    stack.enter_context(around(trial, overrides))
                runs = TrialRuns()
                _look_at_reports(runs)
                try:
                    result = self._conclude(trial, config, self._run(trial, config), watch)
                finally:
                    save_run_url(self._directory, trial.number, runs.note_url())
                    _finish_runs(runs, result)
        except Exception as error:  # of Hydra's logging, or of what wraps the task
            if result is None:
                return self._fail(trial, error, make_failed_job(error, config), watch)
            _log_late_error(trial, error)
        return result

    def compose(self, trial: Trial) -> DictConfig:
        """Return the configuration of ``trial``'s job."""
        overrides = format_overrides(self._record.overrides.slots, trial.params)
        config = self._loader.load_sweep_config(self._master, overrides)
        with read_write(config), open_dict(config):
            for key in self._record.overrides.stripped_keys:
                config.pop(key, None)
        set_key(config, *PLAIN_RECURSIVE)
        set_key(config, "hydra.sweep.dir", str(self._directory))
        set_key(config, "hydra.job.num", trial.number)
        set_key(config, "hydra.job.id", f"{self._record.sweep_id}-{trial.number}")
        set_key(config, "hydra.job.name", add_rank(self._record.application.job_name, self._rank))
        if self._rank:
            set_key(config, "hydra.output_subdir", None)
        if trial.attempt > 1 and self._record.overrides.resume_key is not None:
            set_checkpoint(config, self._record.overrides.resume_key)
        return config

    def _run(self, trial: Trial, config: DictConfig) -> JobReturn:
        task, own = _RecordedTask(self._task, self._output), HydraConfig.instance().cfg
        pid = os.getpid()
        try:
            return run_job(
                task_function=task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
                hydra_context=self._context,
            )
        except SystemExit as error:  # the only exception of a task that Hydra does not catch
            if os.getpid() != pid:  # a process that the task has forked ends, and not the trial
                raise
            if not error.code:
                return JobReturn(cfg=config, status=JobStatus.COMPLETED)
            how = f": {error.code}" if isinstance(error.code, str) else f" with status {error.code}"
            reason = RuntimeError(escape_surrogates(f"the task exited{how}"))
            reason.__cause__ = error
            return make_failed_job(reason, config)
        except Exception as error:  # of what Hydra does before the task and after it
            if task.ended is None:
                return make_failed_job(error, config)
            _log_late_error(trial, error)
            return task.ended
        finally:
            HydraConfig.instance().cfg = own  # Hydra leaves the trial's if it cannot resolve the job's directory

    def _conclude(self, trial: Trial, config: DictConfig, job: JobReturn, watch: TaskWatch) -> JobResult:
        """Return the result of the ``trial`` whose job has ended."""
        try:
            self._link(trial, OmegaConf.select(config, "hydra.runtime.output_dir"))
        except OSError as error:
            _log_late_error(trial, error)
        if job.status == JobStatus.FAILED:
            return self._fail(trial, get_returned(job), job, watch)
        return JobResult(returned=as_number(get_returned(job)), payload=self._make_payload(trial, job))

    def _traceback_file(self, trial: Trial) -> Path:
        return self._directory / str(trial.number) / add_rank(TRACEBACK, self._rank)

    def _fail(self, trial: Trial, error: BaseException, job: JobReturn, watch: TaskWatch) -> JobResult:
        """Write and log why ``trial`` failed, and return its result."""
        file, fault = self._traceback_file(trial), watch.explain(error)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            text = "".join(traceback.format_exception(error))
            file.write_text(text, encoding="utf-8", errors="backslashreplace")  # it may quote names that are not UTF-8
        except OSError as unwritten:  # a full disk must not hide why the trial failed
            log.warning("Cannot write %s: %s", file, unwritten)
        release_task(error)  # before the next trial needs the memory
        line = fault.reason
        if isinstance(error, HydraException) and error.__cause__ is not None:
            line += f" ({escape_surrogates(' '.join(str(error.__cause__).split()))})"  # Hydra puts the reason there
        log.error("Trial %d failed: %s", trial.number, line)
        payload = self._make_payload(trial, job)
        return JobResult(error=line, cause=fault.cause, metrics=fault.metrics, payload=payload)

    def _make_payload(self, trial: Trial, job: JobReturn) -> tuple[int, JobReturn]:
        """Return the part of the agent's result that ``trial`` gives. Launchers pickle it."""
        if not self._keep:
            job.cfg = job.hydra_cfg = None  # hundreds of kilobytes a trial, for as long as the agent lives
        returned = get_returned(job)
        if not self._keep and isinstance(returned, BaseException):
            drop_tracebacks(returned)  # as much again; it is in the trial's directory
        try:
            pickle.loads(cloudpickle.dumps(returned))  # as joblib and submitit do; it takes a script's own classes
        except Exception:  # the returned object's own __reduce__ may raise anything
            set_returned(job, RuntimeError(describe_error(returned)) if job.status == JobStatus.FAILED else None)
        return trial.number, job

    def _link(self, trial: Trial, output_dir: str | None) -> None:
        """Make ``<number>/`` a link to the job's directory if the application names that otherwise."""
        numbered = self._directory / str(trial.number)
        if output_dir is None or not os.path.isdir(output_dir) or numbered.exists() or self._rank:
            return
        numbered.symlink_to(os.path.relpath(output_dir, self._directory), target_is_directory=True)


class _RecordedTask:
    """A task function that keeps its result, which counts whatever Hydra raises afterwards."""

    def __init__(self, task_function: TaskFunction, output: Callable[[], AbstractContextManager[None]]) -> None:
        self.task_function = task_function
        self._output = output
        self.ended: JobReturn | None = None

    def __call__(self, config: Any) -> Any:
        try:
            # Not the agent's to tell: only the job's own process knows where Hydra has put it.
            with set_variables({DIRECTORY: HydraConfig.get().runtime.output_dir}), self._output():
                returned = self.task_function(config)
        except Exception as error:  # the task's, whatever it is
            self.ended = make_failed_job(error, config)
            raise
        self.ended = make_finished_job(returned, config)
        return returned


def _look_at_reports(runs: TrialRuns) -> None:
    """Let ``runs`` note the run's page whenever the trial reports: at the trial's end its run may be finished."""
    current = current_trial()
    send = current.send

    def note_and_send(step: int, metrics: Mapping[str, float]) -> Decision:
        runs.note_url()
        return send(step, metrics)

    current.send = note_and_send


def _finish_runs(runs: TrialRuns, result: JobResult | None) -> None:
    """Finish the W&B runs that the current trial has left open; without a result it was interrupted."""
    current = current_trial()
    # A frozen trial may never continue, so its run is finished; if it does, the run is resumed all the same.
    preempted = (result is None or current.interrupt_requested) and not current.decision.freezes
    failed = preempted or (result is not None and bool(result.error))
    stopped = current.decision.reason if current.decision.stop and not failed else ""
    runs.finish(int(failed), stopped=stopped, preempted=preempted)


class _TrialCallbacks:
    """The application's callbacks, which are given its own task function."""

    def __init__(self, callbacks: Any) -> None:
        self._callbacks = callbacks

    def on_job_start(self, config: DictConfig, *, task_function: _RecordedTask, **more: Any) -> None:
        self._callbacks.on_job_start(config=config, task_function=task_function.task_function, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._callbacks, name)


def _log_late_error(trial: Trial, error: Exception) -> None:
    log.warning("Trial %d is done, and its result counts, but then: %s", trial.number, describe_error(error))


def get_hydra_state() -> Any:
    """Return this process's state of Hydra: its singletons, registered configurations and resolvers."""
    return Singleton.get_state(), get_whole_config()


def restore_hydra_state(state: Any) -> None:
    """Give this process the state of Hydra that another one had."""
    singletons, config = state
    setup_globals()
    Singleton.set_state(singletons)
    if config is not None:  # Hydra's state lacks the application's part, which its own part may refer to
        HydraConfig.instance().set_config(config)


def find_trial_log(record: LaunchRecord, directory: Path, trial: Trial, rank: int = 0) -> Path:
    """Return the file to which Hydra's default logging writes a trial's log.

    Args:
        record: What the sweep was started with.
        directory: The sweep's directory.
        trial: The trial.
        rank: Which of the processes that run the trial.

    Returns:
        The file's path.
    """
    return directory / str(trial.number) / f"{add_rank(record.application.job_name, rank)}.log"


def add_rank(name: str, rank: int) -> str:
    """Return the name of a rank's own file: ``train.rank1``, ``traceback.rank1.txt``. Rank 0 has ``name`` itself."""
    path = Path(name)
    return f"{path.stem}.rank{rank}{path.suffix}" if rank else name


def log_as_rank(rank: int) -> None:
    """Log to a file of this rank's own, next to the log of rank 0."""
    own: Any = HydraConfig.instance().cfg
    set_key(own, "hydra.job.name", add_rank(own.hydra.job.name, rank))
    configure_log(own.hydra.job_logging, own.hydra.verbose)


def read_agent_number() -> int:
    """Return the number of the agent in this process: that of its launcher's job."""
    return int(HydraConfig.get().job.num)


@contextmanager
def _restore_logging() -> Iterator[None]:
    """Restore the logging of the agent's own job after a trial."""
    own: Any = HydraConfig.instance().cfg  # the whole configuration, whatever its type says
    try:
        yield
    finally:
        try:
            if own is not None:
                configure_log(own.hydra.job_logging, own.hydra.verbose)
        except Exception as error:  # handlers are the application's own, and the trial's result counts
            log.warning("The agent's own logging cannot be configured: %s", describe_error(error))
