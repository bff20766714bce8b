"""The callable that launchers run: an agent, in the form of a Hydra task function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle

from wandbsweep.agent.fork_server import ForkServer
from wandbsweep.agent.job_factory import JobFactory, pack_application, unseal_payloads
from wandbsweep.agent.loop import POLL_S, run_agent
from wandbsweep.agent.ranks.channel import POLL_S as RANK_POLL_S
from wandbsweep.agent.ranks.channel import RANKS, RankChannel
from wandbsweep.agent.ranks.follower import Follower
from wandbsweep.agent.ranks.leader import Leader, open_channel
from wandbsweep.agent.ranks.rank import run_resetting, torch_environment
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.agent.time_limit import TimeLimit
from wandbsweep.bridge.trial_job import find_trial_log, get_hydra_state, log_as_rank, read_agent_number
from wandbsweep.controllers.base import Controller
from wandbsweep.controllers.open import open_controller
from wandbsweep.environment import set_variables
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.launchers import VISIBLE_DEVICES, Isolation, Rank, read_rank
from wandbsweep.process_state.random_numbers import RandomNumbers
from wandbsweep.sweep.directory import AGENTS, read_spec
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.trial import RunJob
from wandbsweep.wandb_runs import page as wandb_page

_DATABASE_S = 300.0  # as long as an agent with trials waits for a database that cannot be reached


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
    preload: Sequence[str] = ()
    """Modules that the fork server imports for all trials."""
    devices: Sequence[str] = ()
    """The values of CUDA_VISIBLE_DEVICES, one for each agent in turn; empty: the launcher's."""
    detached: bool = False
    """Whether no process waits for the agents. Then the last one publishes the summary at the end."""
    output: str = "terminal"
    """Where the output of trials appears: ``hydra.sweeper.output``."""
    random_numbers: RandomNumbers = field(default_factory=RandomNumbers, compare=False)
    """The random numbers of the launching process, with which trials start."""
    packed: bytes | None = None
    """``task_function`` and ``callbacks``, pickled. Under ``process`` an agent never loads what they import."""

    def __getstate__(self) -> dict[str, Any]:
        # Launchers pickle this, and submitit pickles it again when it requeues, when only ``packed`` is left.
        return {**self.__dict__, "task_function": None, "callbacks": None, "packed": self._pack()}

    def __call__(self, config: Any) -> list[tuple[int, Any]]:
        """Run until the sweep is over; return (number, Hydra's JobReturn) of each trial that ran here.

        If the launcher runs this in several tasks, rank 0 runs the controller's trials and returns their results, and
        the other ranks run what rank 0 runs.
        """
        record, spec = LaunchRecord.load(self.directory), read_spec(self.directory)
        if not Path(record.application.cwd).is_dir():  # before a trial is asked for, which would fail
            raise SweepDirectoryError(
                f"{record.application.cwd}, in which the sweep's trials run, does not exist here."
            )
        rank, watch = read_rank(), SignalWatch()
        with ExitStack() as stack:
            if self.devices:
                stack.enter_context(
                    set_variables({VISIBLE_DEVICES: self.devices[read_agent_number() % len(self.devices)]})
                )
            channel = self._join_ranks(rank, stack) if rank.size > 1 else None
            # Before the controller is opened, because the fork server takes seconds to import the task.
            run_job = self._make_runner(record, rank, watch, stack)
            controller: Controller
            limits: dict[str, Any] = {}
            if isinstance(channel, Follower):
                controller = channel
                if self.isolation == "none":
                    channel.end_with_leader()
            else:
                stored = open_controller(record, self.directory, spec, wait_s=_DATABASE_S)
                stack.callback(stored.close)
                controller = Leader(stored, channel) if channel else stored
                limits = {"count": self.count, "worth_starting": TimeLimit.of_job().worth_starting}
            results = run_agent(
                controller,
                run_job,
                name=str(read_agent_number()),
                sweep_id=record.sweep_id,
                metric=spec.metric.name if spec.metric else None,
                goal=spec.goal,
                watch=watch,
                separate=self.isolation == "process",
                poll_s=RANK_POLL_S if channel else POLL_S,
                **limits,
            )
            payloads = unseal_payloads(results)
            if rank.number:
                return []
            if self.detached and record.wandb and stored.completion() is not None:
                wandb_page.publish_summary_once(self.directory, record, [trial.state for trial in stored.trials()])
            return payloads

    def _join_ranks(self, rank: Rank, stack: ExitStack) -> RankChannel | Follower:
        """Join the other ranks of this agent, and tell torch where they are."""
        place = self.directory / AGENTS / str(read_agent_number()) / RANKS
        channel: RankChannel | Follower
        if rank.number:
            log_as_rank(rank.number)
            channel = Follower(place, rank.number)
            stack.callback(channel.close)
            # Before the loop installs its handlers: at its end it calls the earlier ones, which wait for rank 0's end.
            stack.enter_context(channel.outlive_leader())
        else:
            channel = stack.enter_context(open_channel(place, rank))
        stack.enter_context(set_variables(torch_environment(rank, channel.session)))
        return channel

    def _make_runner(self, record: LaunchRecord, rank: Rank, watch: SignalWatch, stack: ExitStack) -> RunJob:
        factory = JobFactory(
            record,
            self.directory,
            self.master,
            self.keep,
            self.isolation,
            get_hydra_state(),
            rank,
            self.random_numbers,
            self.output,
        )
        if self.isolation == "none":
            if self.packed is None:  # this process is the launching one, and runs the application's main module
                return partial(run_resetting, factory.make(self.task_function, self.callbacks))
            factory = replace(factory, packed=self.packed)
            return partial(run_resetting, factory.make(*factory.load_application()))
        server = ForkServer(
            cloudpickle.dumps(replace(factory, packed=self._pack(), preload=tuple(self.preload))),
            watch=watch,
            find_log=lambda trial: find_trial_log(record, self.directory, trial, rank.number),
        )
        stack.callback(server.close)
        return server

    def _pack(self) -> bytes:
        return self.packed if self.packed is not None else pack_application(self.task_function, self.callbacks)
