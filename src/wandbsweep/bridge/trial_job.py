"""One trial as one Hydra job, in its own directory, with its own ``.hydra/`` and log."""

from __future__ import annotations

import dis
import importlib
import logging
import os
import pickle
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from wandbsweep.bridge.snapshot import resolved, snapshot_loader
from wandbsweep.sweep.directory import AGENTS
from wandbsweep.sweep.launch_record import SNAPSHOT, LaunchRecord
from wandbsweep.sweep.override_strings import format_overrides, format_value
from wandbsweep.trial import JobResult, Trial, as_number
from wandbsweep.wandb_runs.environment import apply_environment
from wandbsweep.wandb_runs.page import prepare_environment

TRACEBACK = "traceback.txt"

Around = Callable[[Trial, Sequence[str]], AbstractContextManager[None]]
"""What is done around a trial's task, given its overrides."""


class TrialJob:
    """Composes and runs trials of the sweep in ``directory``; an agent has one for all its trials.

    ``master`` is the launching command's configuration, ``callbacks`` its Hydra callbacks, which see each trial as a
    job of its own. ``keep``: whether results carry Hydra's JobReturn whole, configurations included. ``rank``: which of
    the processes that run each trial this is; those above 0 leave nothing in its directory but a log of their own, and
    where they fail a traceback.
    """

    def __init__(
        self,
        plan: LaunchRecord,
        directory: Path,
        *,
        task_function: TaskFunction,
        master: DictConfig,
        callbacks: Any,
        keep: bool = True,
        rank: int = 0,
        around: Around = lambda trial, overrides: nullcontext(),
    ) -> None:
        self._plan = plan
        self._rank = rank
        self._around = around
        self._directory = directory
        self._task = task_function
        self._loader = snapshot_of(plan, directory)
        self._master = _with_hydra_overrides(master, _led_to_snapshot(_trials_own(plan, master), plan, directory))
        self._context = HydraContext(config_loader=self._loader, callbacks=callbacks)
        self._keep = keep

    def __call__(self, trial: Trial) -> JobResult:
        os.chdir(self._plan.application.cwd)  # the agent's own job may have changed it
        self._traceback(trial).unlink(missing_ok=True)  # an earlier attempt's
        try:
            config = self.compose(trial)
        except Exception as error:  # resolvers and config sources are the application's, and raise what they like
            return self._failed(trial, error)
        around = self._around(trial, list(config.hydra.overrides.task))
        environment = trial.environment or prepare_environment(self._plan, self._directory, trial)
        with _own_logging(), apply_environment(environment), around:
            job = self._run(config)
            output_dir = Path(config.hydra.runtime.output_dir)
            self._link(trial, output_dir)
            if job.status == JobStatus.FAILED:
                return self._failed(trial, job._return_value, job=job)
        return JobResult(returned=as_number(job._return_value), payload=self._payload(trial, job))

    def _run(self, config: DictConfig) -> JobReturn:
        try:
            return run_job(
                task_function=self._task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
                hydra_context=self._context,
            )
        except SystemExit as error:  # which Hydra lets pass
            if not error.code:
                return JobReturn(cfg=config, status=JobStatus.COMPLETED)
            reason = RuntimeError(f"the task exited with status {error.code}")
            reason.__cause__ = error
            return JobReturn(cfg=config, status=JobStatus.FAILED, _return_value=reason)

    def compose(self, trial: Trial) -> DictConfig:
        overrides = format_overrides(self._plan.overrides.slots, trial.params)
        config = self._loader.load_sweep_config(self._master, overrides)
        with read_write(config), open_dict(config):
            for key in self._plan.overrides.stripped_keys:
                config.pop(key, None)
        set_key(config, "hydra.sweep.dir", str(self._directory))
        set_key(config, "hydra.job.num", trial.number)
        set_key(config, "hydra.job.id", f"{self._plan.sweep_id}-{trial.number}")
        set_key(config, "hydra.job.name", name_of_rank(self._plan.application.job_name, self._rank))
        if self._rank:
            set_key(config, "hydra.output_subdir", None)
        return config

    def _traceback(self, trial: Trial) -> Path:
        return self._directory / str(trial.number) / name_of_rank(TRACEBACK, self._rank)

    def _failed(self, trial: Trial, error: BaseException, *, job: JobReturn | None = None) -> JobResult:
        file = self._traceback(trial)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        line = " ".join(traceback.format_exception_only(error)[-1].split())
        if isinstance(error, HydraException) and error.__cause__ is not None:
            line += f" ({' '.join(str(error.__cause__).split())})"  # Hydra says there what was wrong
        logging.getLogger(__name__).error("Trial %d failed: %s", trial.number, line)
        failed = job or JobReturn(status=JobStatus.FAILED, _return_value=error)
        return JobResult(error=line, payload=self._payload(trial, failed))

    def _payload(self, trial: Trial, job: JobReturn) -> tuple[int, JobReturn]:
        if not self._keep:
            job.cfg = job.hydra_cfg = None  # hundreds of kilobytes a trial, for as long as the agent lives
        try:
            pickle.loads(pickle.dumps(job._return_value))
        except Exception:  # anything may go wrong in another's __reduce__, and launchers pickle what they return
            job._return_value = RuntimeError(repr(job._return_value)) if job.status == JobStatus.FAILED else None
        return trial.number, job

    def _link(self, trial: Trial, output_dir: Path) -> None:
        """Make ``<number>/`` lead to the job's directory where the application names those otherwise."""
        numbered = self._directory / str(trial.number)
        if output_dir != numbered and not numbered.exists() and not self._rank:
            numbered.symlink_to(os.path.relpath(output_dir, self._directory), target_is_directory=True)


def hydra_state() -> Any:
    """What this process knows of Hydra: its singletons, the configurations and resolvers that were registered."""
    return Singleton.get_state()


def restore_hydra(state: Any) -> None:
    """Know in this process what another one did."""
    setup_globals()
    Singleton.set_state(state)


def preload(task_function: Callable[..., Any]) -> None:
    """Import what ``task_function`` would import when it is called."""
    code = getattr(task_function, "__code__", None)
    instructions = dis.get_instructions(code) if code else ()
    for name in (instruction.argval for instruction in instructions if instruction.opname == "IMPORT_NAME"):
        with suppress(Exception):  # it will fail again where it can be told
            importlib.import_module(name)


def trial_log(plan: LaunchRecord, directory: Path, trial: Trial, rank: int = 0) -> Path:
    """Where Hydra's usual logging writes what a trial says."""
    return directory / str(trial.number) / f"{name_of_rank(plan.application.job_name, rank)}.log"


def name_of_rank(name: str, rank: int) -> str:
    """What is called ``name`` for rank 0: ``train.rank1``, ``traceback.rank1.txt``."""
    path = Path(name)
    return f"{path.stem}.rank{rank}{path.suffix}" if rank else name


def log_as_rank(rank: int) -> None:
    """Have what this process says, which is not rank 0 of its agent, in a log of its own beside the agent's."""
    own: Any = HydraConfig.instance().cfg
    set_key(own, "hydra.job.name", name_of_rank(own.hydra.job.name, rank))
    configure_log(own.hydra.job_logging, own.hydra.verbose)


def agent_number() -> int:
    """The number of the launcher's job that runs in this process: the agent's."""
    return int(HydraConfig.get().job.num)


def hydra_overrides(master: DictConfig) -> list[str]:
    """The command line's overrides of ``hydra.*``; unresolved, since some hold interpolations for later."""
    lines = OmegaConf.to_container(master.hydra.overrides.hydra, resolve=False)
    assert isinstance(lines, list)
    return lines


def snapshot_of(plan: LaunchRecord, directory: Path) -> ConfigLoader:
    """A loader of the configuration that the sweep was started with."""
    return snapshot_loader(plan.snapshot.search_path, directory / SNAPSHOT)


def agents_master(master: DictConfig, plan: LaunchRecord, directory: Path) -> DictConfig:
    """The configuration from which launchers compose the agents' own jobs: each in ``agents/<k>/`` of the sweep."""
    place = [f"hydra.sweep.dir={format_value(str(directory))}", f"hydra.sweep.subdir={AGENTS}/${{hydra.job.num}}"]
    own = _with_hydra_overrides(master, [*_led_to_snapshot(hydra_overrides(master), plan, directory), *place])
    set_key(own, "hydra.sweep.dir", str(directory))  # launchers read it here as well
    set_key(own, "hydra.job.config_name", plan.application.config_name)
    return own


def _with_hydra_overrides(master: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A copy of ``master`` from which jobs are composed with ``overrides`` of ``hydra.*``, and no others."""
    copy = master.copy()
    OmegaConf.copy_cache(from_config=master, to_config=copy)
    set_key(copy, "hydra.overrides.hydra", list(overrides))
    return copy


def set_key(config: DictConfig, key: str, value: Any) -> None:
    """Set a dotted key whatever flags its node has: Hydra 1.4 makes its own read-only."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    with read_write(node), open_dict(node):
        node[leaf] = value


def _trials_own(plan: LaunchRecord, master: DictConfig) -> list[str]:
    """The sweep's overrides of ``hydra.*`` for its trials; those of plugins from who launches this agent.

    A trial has no use for them, but Hydra 1.4 insists that a job's sweeper and launcher are its master's.
    """
    kept = [line for line in plan.overrides.hydra if not _is_about_plugins(line)]
    return kept + [line for line in hydra_overrides(master) if _is_about_plugins(line)]


def _is_about_plugins(line: str) -> bool:
    return re.match(r"[+~]*hydra[./](sweeper|launcher)\b", line) is not None


def _led_to_snapshot(overrides: Sequence[str], plan: LaunchRecord, directory: Path) -> list[str]:
    """``overrides`` with ``hydra.searchpath`` led to the snapshot."""
    kept = [line for line in overrides if not line.lstrip("+").startswith("hydra.searchpath")]
    if not plan.snapshot.searchpath:
        return kept
    paths = [resolved(path, directory / SNAPSHOT) for path in plan.snapshot.searchpath]
    return [*kept, f"hydra.searchpath={format_value(paths)}"]


@contextmanager
def _own_logging() -> Iterator[None]:
    """Give the agent's own job its logging back after a trial's."""
    own: Any = HydraConfig.instance().cfg  # the whole configuration, whatever its type says
    try:
        yield
    finally:
        if own is not None:
            configure_log(own.hydra.job_logging, own.hydra.verbose)
