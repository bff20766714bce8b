"""What a launcher is given to run: an agent, in the shape of a Hydra task function."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.agent.lightning_ranks import offered
from wandbsweep.agent.ranks import POLL_S, RANKS, Follower, Leader, Rejoining, leading, torch_environment
from wandbsweep.agent.signals import GRACE_S, SignalWatch
from wandbsweep.agent.time_limit import TimeLimit
from wandbsweep.environment import set_variables
from wandbsweep.errors import SweepError
from wandbsweep.launchers import VISIBLE_DEVICES, Isolation, Rank, read_rank
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.wandb_runs import page as wandb_page

if TYPE_CHECKING:
    from wandbsweep.bridge.trial_job import TrialJob
    from wandbsweep.trial import JobResult, RunJob, Trial

_DATABASE_S = 300.0  # as long as an agent at work would wait


@dataclass(frozen=True)
class AgentTask:
    """Joins the sweep in ``directory`` and runs its trials; launchers pickle it to wherever their jobs run."""

    directory: Path
    task_function: Callable[[Any], Any]
    master: Any
    """The launching command's configuration (omegaconf.DictConfig)."""
    callbacks: Any
    """Its Hydra callbacks."""
    count: int | None = None
    keep: bool = False
    """Whether to return Hydra's JobReturns whole."""
    isolation: Isolation = "none"
    """``process``: each trial in a process forked from a warm parent; ``none``: in the agent itself."""
    grace_s: float = GRACE_S
    """How long a trial may take to save and end when the agent is asked to end."""
    devices: Sequence[str] = ()
    """What the agents' CUDA_VISIBLE_DEVICES are, in turn; none: as the launcher leaves it."""
    detached: bool = False
    """Whether nobody waits for the agents: the last one does what is to be done when the sweep is over."""
    packed: bytes | None = None
    """``task_function`` and ``callbacks``, pickled: under ``process`` an agent never loads what they import."""

    def __getstate__(self) -> dict[str, Any]:
        if self.isolation == "none":
            return self.__dict__
        return {**self.__dict__, "task_function": None, "callbacks": None, "packed": self._packed()}

    def __call__(self, config: Any) -> list[tuple[int, Any]]:
        """Run until the sweep is over; returns (number, Hydra's JobReturn) of each trial that ran here."""
        from wandbsweep.agent.loop import run_agent
        from wandbsweep.bridge.trial_job import agent_number
        from wandbsweep.controllers.open import open_controller
        from wandbsweep.sweep.directory import read_spec

        rank = read_rank()
        if rank.number:
            return self._follow(rank)
        limit = TimeLimit.of_job()
        plan = LaunchRecord.load(self.directory)
        spec = read_spec(self.directory)
        watch = SignalWatch()
        with ExitStack() as stack:
            self._show_devices(stack)
            group: dict[str, Any] = {}
            if rank.size > 1:
                lead = stack.enter_context(leading(ranks_directory(self.directory), rank))
                stack.enter_context(set_variables(torch_environment(rank, lead.session)))
                group["look_s"] = POLL_S
            # First: the warm parent's imports take seconds, which the storage's can share.
            run_job = self._runner(plan, watch, stack, rank)
            controller = open_controller(plan, self.directory, spec, wait_s=_DATABASE_S)
            stack.callback(controller.close)
            results = run_agent(
                Leader(controller, lead) if rank.size > 1 else controller,
                run_job,
                name=str(agent_number()),
                sweep_id=plan.sweep_id,
                metric=spec.metric.name if spec.metric else None,
                goal=spec.goal,
                count=self.count,
                watch=watch,
                separate=self.isolation == "process",
                grace_s=self.grace_s,
                worth_starting=limit.worth_starting,
                **group,
            )
            payloads = _payloads(list(results))
            if self.detached and plan.wandb and controller.completion() is not None:
                states = [trial.state for trial in controller.trials()]
                wandb_page.publish_summary_once(self.directory, plan, states)
            return payloads

    def _follow(self, rank: Rank) -> list[tuple[int, Any]]:
        """Run what rank 0 of this agent runs, which alone returns what came of it."""
        from wandbsweep.agent.loop import run_agent
        from wandbsweep.bridge.trial_job import agent_number, log_as_rank
        from wandbsweep.sweep.directory import read_spec

        plan = LaunchRecord.load(self.directory)
        spec = read_spec(self.directory)
        watch = SignalWatch()
        log_as_rank(rank.number)
        with ExitStack() as stack:
            self._show_devices(stack)
            follower = Follower(ranks_directory(self.directory), rank.number)
            stack.callback(follower.close)
            stack.enter_context(follower.leaving_last())
            stack.enter_context(set_variables(torch_environment(rank, follower.session)))
            run_job = self._runner(plan, watch, stack, rank)
            if self.isolation == "none":
                follower.end_with_leader()
            results = run_agent(
                follower,
                run_job,
                name=str(agent_number()),
                sweep_id=plan.sweep_id,
                metric=spec.metric.name if spec.metric else None,
                goal=spec.goal,
                watch=watch,
                separate=self.isolation == "process",
                grace_s=self.grace_s,
                look_s=POLL_S,
            )
            for _ in results:
                pass
        return []

    def _show_devices(self, stack: ExitStack) -> None:
        from wandbsweep.bridge.trial_job import agent_number

        if self.devices:
            stack.enter_context(set_variables({VISIBLE_DEVICES: self.devices[agent_number() % len(self.devices)]}))

    def _runner(self, plan: LaunchRecord, watch: SignalWatch, stack: ExitStack, rank: Rank) -> RunJob:
        from wandbsweep.bridge.trial_job import hydra_state, trial_log

        warmed = _Warmed(self, plan, hydra_state(), rank)
        if self.isolation == "none":
            return Rejoining(warmed.job(self.task_function, self.callbacks))
        import cloudpickle  # type: ignore[import-untyped]  # it has no types

        from wandbsweep.agent.fork_server import WarmParent

        task = cloudpickle.dumps(replace(warmed, agent=replace(self, packed=self._packed())))
        warm = WarmParent(
            task,
            watch=watch,
            grace_s=self.grace_s,
            log_of=lambda trial: trial_log(plan, self.directory, trial, rank.number),
        )
        stack.callback(warm.close)
        return warm

    def _job(self, plan: LaunchRecord, task_function: Callable[[Any], Any], callbacks: Any, **options: Any) -> TrialJob:
        from wandbsweep.bridge.trial_job import TrialJob

        return TrialJob(
            plan,
            self.directory,
            task_function=task_function,
            master=self.master,
            callbacks=callbacks,
            keep=self.keep,
            **options,
        )

    def _packed(self) -> bytes:
        import cloudpickle

        if self.packed is not None:
            return self.packed
        packed: bytes = cloudpickle.dumps((self.task_function, self.callbacks))
        return packed


def ranks_directory(sweep: Path) -> Path:
    """Where the ranks of the agent that runs in this process find each other."""
    from wandbsweep.bridge.trial_job import agent_number
    from wandbsweep.sweep.directory import AGENTS

    return sweep / AGENTS / str(agent_number()) / RANKS


@dataclass(frozen=True)
class _Warmed:
    """What a warm parent loads: calling it does the task's imports, and gives what runs a trial."""

    agent: AgentTask
    plan: LaunchRecord
    hydra_state: Any
    rank: Rank = field(default_factory=Rank)

    def __call__(self) -> RunJob:
        from wandbsweep.bridge.trial_job import preload

        task_function, callbacks = self._loaded()
        preload(task_function)
        return _Sealing(self.job(task_function, callbacks))

    def job(self, task_function: Callable[[Any], Any], callbacks: Any) -> TrialJob:
        """Runs trials in a process that has loaded the task; their training may start further ones."""
        if self.rank.size > 1:
            return self.agent._job(self.plan, task_function, callbacks, rank=self.rank.number)
        agent = replace(self.agent, task_function=task_function, callbacks=callbacks)
        return self.agent._job(self.plan, task_function, callbacks, around=_Offering(replace(self, agent=agent)))

    def as_rank(self, rank: int) -> TrialJob:
        """Runs trials in a further process, as ``rank``."""
        task_function, callbacks = self._loaded()
        return self.agent._job(self.plan, task_function, callbacks, rank=rank)

    def _loaded(self) -> tuple[Callable[[Any], Any], Any]:
        from wandbsweep.bridge.trial_job import restore_hydra

        restore_hydra(self.hydra_state)
        assert self.agent.packed is not None
        loaded: tuple[Callable[[Any], Any], Any] = pickle.loads(self.agent.packed)
        return loaded


class _Offering:
    """Lets the training of a trial start further processes, which run the same trial."""

    def __init__(self, warmed: _Warmed) -> None:
        self._warmed = warmed
        self._separate = warmed.agent.isolation == "process"
        if self._separate:
            _ = self.task  # once in the warm parent, and not in each trial's process

    def __call__(self, trial: Trial, overrides: Sequence[str]) -> AbstractContextManager[None]:
        return offered(self.task, trial, overrides, separate=self._separate)

    @cached_property
    def task(self) -> bytes:
        try:
            import cloudpickle

            agent = replace(self._warmed.agent, isolation="process", packed=self._warmed.agent._packed())
            task: bytes = cloudpickle.dumps(replace(self._warmed, agent=agent).as_rank)
        except Exception as error:  # whatever the application's objects raise; it matters only where there is a rank 1
            task = pickle.dumps(partial(_unknown, f"{type(error).__name__}: {error}"))
        return task


def _unknown(reason: str, rank: int) -> RunJob:
    raise SweepError(f"Rank {rank} cannot be told what to run, since the task cannot be pickled: {reason}")


@dataclass(frozen=True)
class _Sealing:
    """Pickles what a trial's job returned in the trial's process: the agent need not load what it is made of."""

    run_job: TrialJob

    def rehearse(self, trial: Trial) -> None:
        self.run_job.compose(trial)

    def __call__(self, trial: Trial) -> JobResult:
        result = self.run_job(trial)
        return result if result.payload is None else replace(result, payload=pickle.dumps(result.payload))


def _payloads(results: Sequence[JobResult]) -> list[tuple[int, Any]]:
    payloads = [result.payload for result in results if result.payload is not None]
    return [pickle.loads(payload) if isinstance(payload, bytes) else payload for payload in payloads]
