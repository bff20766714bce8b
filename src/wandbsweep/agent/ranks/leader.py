"""Rank 0's controller: passes calls to the sweep's controller, and announces each trial to the other ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wandbsweep.agent.ranks.channel import RankChannel, RankLostError
from wandbsweep.agent.ranks.rank import find_host
from wandbsweep.controllers.base import Controller
from wandbsweep.launchers import Rank
from wandbsweep.trial import Decision, Outcome, Trial

_CRASH_S = 2.0  # how much later than rank 0's error another rank's death may be seen


@contextmanager
def open_channel(place: Path, rank: Rank) -> Iterator[RankChannel]:
    """Open the channel of ``rank``, which is 0, for a ``with`` block.

    Raises:
        RankLostError: The block ended early because another rank died.
    """
    channel = RankChannel(place, rank.size, find_host(rank))
    try:
        yield channel
        if channel.lost_rank:
            raise RankLostError(f"{channel.lost_rank}, so this agent ends")
    finally:
        channel.close()


class Leader:
    """Passes everything on to ``controller``, and announces on ``channel`` which trial is open.

    A trial is announced as closed *before* the controller closes it: the controller may take long (a full disk, a
    database that is away), and the other ranks must not train meanwhile.
    """

    def __init__(self, controller: Controller, channel: RankChannel) -> None:
        self._controller = controller
        self._channel = channel
        self._aborted: Trial | None = None
        """The trial that was closed here because it hung. Its training still runs."""

    def ask(self, agent: str) -> Trial | None:
        trial = None if self._channel.find_lost_rank() else self._controller.ask(agent)
        self._channel.announce(trial)
        return trial

    def ready(self, agent: str) -> bool:
        return self._channel.are_ranks_idle() and self._controller.ready(agent)

    def wait_s(self, agent: str) -> float:
        return self._controller.wait_s(agent)

    def report(self, trial: Trial, step: int, metrics: Mapping[str, float]) -> Decision:
        return self._controller.report(trial, step, metrics)

    def check(self, trial: Trial) -> Decision:
        decision = self._controller.check(trial)
        if decision.stop or not (reason := self._channel.hang_reason()):
            return decision
        # The training hangs in a collective call and cannot end by itself. The trial is closed here, and no longer
        # owned, so that its process is killed.
        self._channel.close_trial()
        if self._channel.has_crashed_rank():
            self._controller.crash(trial, reason)
        elif not self._controller.reassign_suspect(trial, reason):
            self._controller.complete(trial, Outcome.failed(reason))
        self._aborted = trial
        return Decision(stop=True, reason=reason)

    def owns(self, trial: Trial) -> bool:
        return trial is not self._aborted and self._controller.owns(trial)

    def note_work(self, trial: Trial, seconds: float) -> None:
        self._controller.note_work(trial, seconds)

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        self._channel.close_trial()
        if outcome.state == "failed":
            outcome = Outcome.failed(self._channel.add_cause(outcome.reason))
        self._controller.complete(trial, outcome)

    def release(self, trial: Trial, reason: str) -> None:
        self._channel.close_trial()
        self._controller.release(trial, reason)

    def crash(self, trial: Trial, reason: str, *, killed: bool = False) -> None:
        self._channel.close_trial()
        self._controller.crash(trial, self._channel.add_cause(reason), killed=killed)

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        self._channel.close_trial()
        # If another rank's process died, rank 0's error only says that it cannot reach that rank: no failure.
        if self._channel.has_crashed_rank(within_s=_CRASH_S):
            self._controller.crash(trial, self._channel.add_cause(reason))
            return True
        return self._controller.reassign_suspect(trial, self._channel.add_cause(reason))

    def close(self) -> None:
        self._controller.close()
