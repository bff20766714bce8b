"""Makes the callable that runs trials, in the agent, in its fork server, or in a further rank."""

from __future__ import annotations

import importlib
import logging
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle

from wandbsweep.agent.in_process import Separator
from wandbsweep.agent.lightning_ranks import offer_trial
from wandbsweep.agent.script_imports import list_script_imports, repeat_imports
from wandbsweep.bridge.trial_job import Around, TrialJob, restore_hydra_state
from wandbsweep.errors import SweepError
from wandbsweep.launchers import Isolation, Rank
from wandbsweep.process_state.random_numbers import RandomNumbers
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.trial import JobResult, RunJob, Trial

TaskFunction = Callable[[Any], Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobFactory:
    """Everything that a process needs to run trials of a sweep. It can be pickled.

    It holds the application's own objects as bytes: unpickling the factory does not import the application.
    """

    record: LaunchRecord
    directory: Path
    master: Any
    """The launching command's configuration (omegaconf.DictConfig)."""
    keep: bool
    """Whether results carry Hydra's JobReturns whole."""
    isolation: Isolation
    hydra_state: Any
    rank: Rank
    random_numbers: RandomNumbers
    output: str = "terminal"
    packed: bytes | None = None
    """``pack_application``'s bytes; None: the application does not leave this process."""
    preload: Sequence[str] = ()
    """Modules to import with the application: ``hydra.sweeper.preload``."""

    def __call__(self) -> SealingJob:
        """Import the application in the fork server, and return the callable that runs a trial in a forked process."""
        task_function, callbacks = self._load_application()
        self._import_preload()
        return SealingJob(self.make(task_function, callbacks))

    def _import_preload(self) -> None:
        for name in self.preload:
            try:
                importlib.import_module(name)
            except Exception as error:  # a trial that needs the module fails by itself
                reason = f"{type(error).__name__}: {error}"
                print(f"hydra.sweeper.preload: {name} cannot be imported: {reason}", file=sys.stderr)

    def make(self, task_function: TaskFunction, callbacks: Any) -> TrialJob:
        """Return the callable that runs trials in this process or its forks.

        Their training may start further ranks, which run the same trial. If the launcher has started the ranks, the
        training starts none.
        """
        around: list[Around] = [Separator().separate] if self.isolation == "none" else []
        if self.rank.size > 1:
            return self._make(task_function, callbacks, rank=self.rank.number, around=around)
        # Pickled here once, and not in each trial's process.
        task = self._pack_rank_task(task_function, callbacks)
        around.append(partial(offer_trial, task, separate=self.isolation == "process"))
        return self._make(task_function, callbacks, around=around)

    def make_for_rank(self, rank: int) -> TrialJob:
        """Return the callable that runs trials as ``rank``, in a process that a trial's training has started."""
        return self._make(*self._load_application(), rank=rank)

    def _make(
        self, task_function: TaskFunction, callbacks: Any, *, rank: int = 0, around: Sequence[Around] = ()
    ) -> TrialJob:
        return TrialJob(
            self.record,
            self.directory,
            task_function=task_function,
            master=self.master,
            callbacks=callbacks,
            keep=self.keep,
            rank=rank,
            logs_output=self.output == "log",
            around=[partial(_restart_random_numbers, self.random_numbers, rank), *around],
        )

    def _load_application(self) -> tuple[TaskFunction, Any]:
        restore_hydra_state(self.hydra_state)  # first: the application's imports may use Hydra's registries
        assert self.packed is not None
        return unpack_application(self.packed)

    def _pack_rank_task(self, task_function: TaskFunction, callbacks: Any) -> bytes:
        try:
            packed = self.packed or pack_application(task_function, callbacks)
            task: bytes = cloudpickle.dumps(replace(self, packed=packed).make_for_rank)
        except Exception as error:  # whatever the application's objects raise; it matters only if a rank 1 is started
            task = pickle.dumps(partial(_refuse_rank, f"{type(error).__name__}: {error}"))
        return task


@contextmanager
def _restart_random_numbers(
    numbers: RandomNumbers, rank: int, trial: Trial, overrides: Sequence[str]
) -> Iterator[None]:
    numbers.restart(f"{trial.number}-{rank}")
    yield


def _refuse_rank(reason: str, rank: int) -> RunJob:
    raise SweepError(f"Rank {rank} cannot run the trial, since its task cannot be pickled: {reason}")


def pack_application(task_function: TaskFunction, callbacks: Any) -> bytes:
    """Pickle the application's objects, those of its ``__main__`` by value, with the names of what that imports."""
    return pickle.dumps((list_script_imports(), cloudpickle.dumps((task_function, callbacks))))


def unpack_application(packed: bytes) -> tuple[TaskFunction, Any]:
    """Repeat the imports of the application's script, and return its task function and callbacks."""
    imports, application = pickle.loads(packed)
    repeat_imports(imports)
    loaded: tuple[TaskFunction, Any] = pickle.loads(application)
    return loaded


@dataclass(frozen=True)
class SealingJob:
    """Pickles a job's payload in the trial's process, so that the agent need not import the payload's modules."""

    run_job: TrialJob

    def rehearse(self, trial: Trial) -> None:
        self.run_job.compose(trial)

    def __call__(self, trial: Trial) -> JobResult:
        result = self.run_job(trial)
        return result if result.payload is None else replace(result, payload=_seal_payload(*result.payload))


def _seal_payload(number: int, job: Any) -> bytes:
    """Pickle a trial's JobReturn as launchers do, classes of the application's ``__main__`` by value."""
    try:
        sealed: bytes = cloudpickle.dumps((number, job))
    except Exception as error:  # values of the configuration are the application's; the result itself is picklable
        log.warning("Trial %d: its configuration cannot be pickled, and is not returned: %s", number, error)
        job.cfg = job.hydra_cfg = None
        sealed = cloudpickle.dumps((number, job))
    return sealed


def unseal_payloads(results: Iterable[JobResult]) -> list[tuple[int, Any]]:
    """Wait for all results; return (number, Hydra's JobReturn) of each that has one."""
    payloads = [result.payload for result in results if result.payload is not None]
    return [pickle.loads(payload) if isinstance(payload, bytes) else payload for payload in payloads]
