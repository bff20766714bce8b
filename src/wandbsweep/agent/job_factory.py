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
from wandbsweep.agent.lightning_ranks import name_command, offer_trial
from wandbsweep.agent.main_module import MainModule, pack_with_members
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
        restore_hydra_state(self.hydra_state)  # first: the application's imports may use Hydra's registries
        task_function, callbacks = self.load_application()
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
        script = sys.argv[0] if self.packed is None else read_main(self.packed).script
        if self.rank.size > 1:
            around.append(partial(name_command, script))
            return self._make(task_function, callbacks, rank=self.rank.number, around=around)
        # Pickled here once, and not in each trial's process.
        task = self._pack_rank_task(task_function, callbacks)
        around.append(partial(offer_trial, task, script, separate=self.isolation == "process"))
        return self._make(task_function, callbacks, around=around)

    def make_for_rank(self, rank: int) -> TrialJob:
        """Return the callable that runs trials as ``rank``, in a process that a trial's training has started."""
        restore_hydra_state(self.hydra_state)
        assert self.packed is not None
        return self._make(*unpack_application(self.packed), rank=rank)

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

    def load_application(self) -> tuple[TaskFunction, Any]:
        """Import the application in a process whose main module is another; return its task function and callbacks."""
        assert self.packed is not None
        return unpack_application(self.packed, as_main=True)

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
    """Pickle the application's objects, those of its ``__main__`` by value, with a description of that module."""
    return pickle.dumps((MainModule.of_process(), pack_with_members((task_function, callbacks))))


def read_main(packed: bytes) -> MainModule:
    """Return the description of the application's main module, without importing the application."""
    main: MainModule = pickle.loads(packed)[0]
    return main


def unpack_application(packed: bytes, *, as_main: bool = False) -> tuple[TaskFunction, Any]:
    """Repeat the imports of the application's script, and return its task function and callbacks.

    Args:
        packed: What ``pack_application`` returned.
        as_main: Whether this process's ``__main__`` shall be the application's.
    """
    main, application = pickle.loads(packed)
    main.repeat_imports()
    (task_function, callbacks), members = pickle.loads(application)
    if as_main:
        main.take_place(members)
    return task_function, callbacks


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
