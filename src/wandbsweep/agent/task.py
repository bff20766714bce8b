"""What launchers run: an agent, in the shape of a Hydra task function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.agent.job_factory import JobFactory, pack_application, unseal_payloads
from wandbsweep.agent.ranks.channel import POLL_S as RANK_POLL_S
from wandbsweep.agent.ranks.channel import RANKS
from wandbsweep.agent.ranks.follower import Follower
from wandbsweep.agent.ranks.leader import Leader, open_channel
from wandbsweep.agent.ranks.rank import ResettingJob, torch_environment
from wandbsweep.agent.signals import GRACE_S, SignalWatch
from wandbsweep.agent.time_limit import TimeLimit
from wandbsweep.environment import set_variables
from wandbsweep.launchers import VISIBLE_DEVICES, Isolation, Rank, read_rank
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.wandb_runs import page as wandb_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wandbsweep.controllers.base import Controller
    from wandbsweep.trial import JobResult, RunJob

_DATABASE_S = 300.0  # as long as an agent that has trials waits for a database that is away


@dataclass(frozen=True)
class AgentTask:
    """Joins the sweep in ``directory`` and runs its trials; launchers pickle it to where their jobs run."""

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
    """``process``: each trial in a process forked from a fork server; ``none``: in the agent itself."""
    grace_s: float = GRACE_S
    """How long a trial may take to save and end when the agent is asked to end."""
    devices: Sequence[str] = ()
    """What the agents' CUDA_VISIBLE_DEVICES are, in turn; none: as the launcher leaves it."""
    detached: bool = False
    """Whether no process waits for the agents: then the last one does what follows the end of the sweep."""
    packed: bytes | None = None
    """``task_function`` and ``callbacks``, pickled: under ``process`` an agent never loads what they import."""

    def __getstate__(self) -> dict[str, Any]:
        if self.isolation == "none":
            return self.__dict__
        return {**self.__dict__, "task_function": None, "callbacks": None, "packed": self._pack()}

    def __call__(self, config: Any) -> list[tuple[int, Any]]:
        """Run until the sweep is over; return (number, Hydra's JobReturn) of each trial that ran here."""
        rank = read_rank()
        with ExitStack() as stack:
            if self.devices:
                stack.enter_context(set_variables({VISIBLE_DEVICES: self.devices[_read_number() % len(self.devices)]}))
            if rank.number:
                self._follow(rank, stack)
                return []  # rank 0 returns the results
            return self._lead(rank, stack)

    def _lead(self, rank: Rank, stack: ExitStack) -> list[tuple[int, Any]]:
        """Run the controller's trials: as an agent of one process, or as rank 0 of several."""
        from wandbsweep.controllers.open import open_controller
        from wandbsweep.sweep.directory import read_spec

        limit = TimeLimit.of_job()
        record, spec, watch = LaunchRecord.load(self.directory), read_spec(self.directory), SignalWatch()
        options: dict[str, Any] = {"count": self.count, "worth_starting": limit.worth_starting}
        if rank.size > 1:
            channel = stack.enter_context(open_channel(self._ranks_directory(), rank))
            stack.enter_context(set_variables(torch_environment(rank, channel.session)))
            options["poll_s"] = RANK_POLL_S
        # The fork server first: its imports take seconds, and the storage's can be done meanwhile.
        run_job = self._make_runner(record, watch, stack, rank)
        controller = open_controller(record, self.directory, spec, wait_s=_DATABASE_S)
        stack.callback(controller.close)
        own = Leader(controller, channel) if rank.size > 1 else controller
        payloads = unseal_payloads(list(self._run(own, run_job, record, watch, **options)))
        if self.detached and record.wandb and controller.completion() is not None:
            states = [trial.state for trial in controller.trials()]
            wandb_page.publish_summary_once(self.directory, record, states)
        return payloads

    def _follow(self, rank: Rank, stack: ExitStack) -> None:
        """Run the trials that rank 0 of this agent runs."""
        from wandbsweep.bridge.trial_job import log_as_rank

        record, watch = LaunchRecord.load(self.directory), SignalWatch()
        log_as_rank(rank.number)
        follower = Follower(self._ranks_directory(), rank.number)
        stack.callback(follower.close)
        stack.enter_context(follower.outlive_leader())
        stack.enter_context(set_variables(torch_environment(rank, follower.session)))
        run_job = self._make_runner(record, watch, stack, rank)
        if self.isolation == "none":
            follower.end_with_leader()
        for _ in self._run(follower, run_job, record, watch, poll_s=RANK_POLL_S):
            pass

    def _run(
        self, controller: Controller, run_job: RunJob, record: LaunchRecord, watch: SignalWatch, **options: Any
    ) -> Iterator[JobResult]:
        from wandbsweep.agent.loop import run_agent
        from wandbsweep.sweep.directory import read_spec

        spec = read_spec(self.directory)
        return run_agent(
            controller,
            run_job,
            name=str(_read_number()),
            sweep_id=record.sweep_id,
            metric=spec.metric.name if spec.metric else None,
            goal=spec.goal,
            watch=watch,
            separate=self.isolation == "process",
            grace_s=self.grace_s,
            **options,
        )

    def _make_runner(self, record: LaunchRecord, watch: SignalWatch, stack: ExitStack, rank: Rank) -> RunJob:
        from wandbsweep.bridge.trial_job import hydra_state, trial_log

        separate = self.isolation == "process"
        factory = JobFactory(
            record,
            self.directory,
            self.master,
            keep=self.keep,
            separate=separate,
            hydra_state=hydra_state(),
            rank=rank,
            packed=self._pack() if separate else None,
        )
        if not separate:
            return ResettingJob(factory.make(self.task_function, self.callbacks))
        import cloudpickle

        from wandbsweep.agent.fork_server import ForkServer

        server = ForkServer(
            cloudpickle.dumps(factory),
            watch=watch,
            grace_s=self.grace_s,
            find_log=lambda trial: trial_log(record, self.directory, trial, rank.number),
        )
        stack.callback(server.close)
        return server

    def _pack(self) -> bytes:
        return self.packed if self.packed is not None else pack_application(self.task_function, self.callbacks)

    def _ranks_directory(self) -> Path:
        from wandbsweep.sweep.directory import AGENTS

        return self.directory / AGENTS / str(_read_number()) / RANKS


def _read_number() -> int:
    from wandbsweep.bridge.trial_job import agent_number

    return agent_number()
