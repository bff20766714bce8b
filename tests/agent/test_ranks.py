"""Rank 0 and another rank, as two processes that run a controller's trials."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.ranks.channel import POLL_S, RankChannel, RankLostError
from wandbsweep.agent.ranks.follower import Follower
from wandbsweep.agent.ranks.leader import Leader, open_channel
from wandbsweep.launchers import Rank
from wandbsweep.trial import CONTINUE, JobResult, Outcome, Trial

FOLLOWER = """
import sys, time
from pathlib import Path
from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.ranks.channel import POLL_S
from wandbsweep.agent.ranks.follower import Follower
from wandbsweep.trial import JobResult

place, log, act = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def run_job(trial):
    with log.open("a") as file:
        file.write(f"{trial.number} {trial.params['lr']} {trial.attempt}\\n")
    if act == "hang":
        time.sleep(60)
    if act == "raise":
        raise ValueError("no luck")
    return JobResult()

follower = Follower(place, 1, within_s=20, ending_s=0.2, alive_s=0.05)
follower.end_with_leader()
with follower.outlive_leader():
    list(run_agent(follower, run_job, name="0", sweep_id="s", poll_s=POLL_S))
"""


class Three:
    """A controller of three trials, which notes what becomes of them."""

    def __init__(self) -> None:
        self.asked = 0
        self.ended: list[tuple[int, str, str]] = []

    def ask(self, agent: str) -> Trial | None:
        self.asked += 1
        return Trial(self.asked - 1, {"lr": 1 / self.asked}, attempt=2, key=self.asked) if self.asked <= 3 else None

    def ready(self, agent: str) -> bool:
        return True

    def wait_s(self, agent: str) -> float:
        return 0.0

    def report(self, *args: object) -> object:
        return CONTINUE

    def check(self, trial: Trial) -> object:
        return CONTINUE

    def owns(self, trial: Trial) -> bool:
        return True

    def note_work(self, trial: Trial, seconds: float) -> None:
        pass

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        self.ended.append((trial.number, outcome.state, outcome.reason))

    def release(self, trial: Trial, reason: str) -> None:
        self.ended.append((trial.number, "released", reason))

    def crash(self, trial: Trial, reason: str, *, killed: bool = False) -> None:
        self.ended.append((trial.number, "crashed", reason))

    def reassign_suspect(self, trial: Trial, reason: str) -> bool:
        return False

    def close(self) -> None:
        pass


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts rank 1."""
    started = []

    def start(act: str = "run") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", FOLLOWER, str(tmp_path / "ranks"), str(tmp_path / "ran"), act]
        started.append(subprocess.Popen(command))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def ran(tmp_path: Path) -> list[str]:
    return (tmp_path / "ran").read_text().splitlines() if (tmp_path / "ran").exists() else []


def wait_until(true: Callable[[], object], within_s: float = 20.0) -> None:
    until = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_other_rank_runs_the_same_trials(tmp_path: Path, start: Start) -> None:
    controller, other = Three(), start()

    def run_job(trial: Trial) -> JobResult:
        wait_until(lambda: len(ran(tmp_path)) > trial.number)
        return JobResult()

    with open_channel(tmp_path / "ranks", Rank(0, 2)) as channel:
        list(run_agent(Leader(controller, channel), run_job, name="0", sweep_id="s", poll_s=POLL_S))
    assert ran(tmp_path) == ["0 1.0 2", "1 0.5 2", "2 0.3333333333333333 2"]
    assert controller.ended == [(number, "finished", "") for number in range(3)]
    assert other.wait(20) == 0


def test_rank_0_does_not_wait_for_a_rank_that_never_started(tmp_path: Path) -> None:
    controller = Three()
    with open_channel(tmp_path / "ranks", Rank(0, 2)) as channel:
        results = list(run_agent(Leader(controller, channel), lambda trial: JobResult(), name="0", sweep_id="s"))
    assert len(results) == 3


def test_a_trial_that_hangs_on_another_rank_ends_soon_after_rank_0_is_done(tmp_path: Path, start: Start) -> None:
    other = start("hang")
    with open_channel(tmp_path / "ranks", Rank(0, 2)) as channel:
        leader = Leader(Three(), channel)
        trial = leader.ask("0")
        assert trial is not None
        wait_until(lambda: ran(tmp_path))
        leader.complete(trial, Outcome.finished())
        assert not leader.ready("0")  # the next trial would meet this one
        assert other.wait(20) == 1
        assert leader.ready("0")
        assert leader.ask("0") is None
        channel.lost_rank = ""


@pytest.mark.parametrize("how", ["ends", "dies"])
def test_a_rank_ends_with_rank_0(tmp_path: Path, start: Start, how: str) -> None:
    other = start("hang")
    channel = RankChannel(tmp_path / "ranks", 2)
    channel.announce(Trial(0, {"lr": 1}))
    wait_until(lambda: ran(tmp_path))
    if how == "ends":
        channel.close()
    else:
        os.close(channel._lock)  # what the kernel does
    assert other.wait(20) == 1


def test_the_death_of_another_rank_is_a_crash_and_ends_the_agent(tmp_path: Path, start: Start) -> None:
    controller, other = Three(), start("hang")

    def lead() -> None:
        with open_channel(tmp_path / "ranks", Rank(0, 2)) as channel:
            leader = Leader(controller, channel)
            trial = leader.ask("0")
            assert trial is not None
            wait_until(lambda: ran(tmp_path))
            assert leader.check(trial) == CONTINUE
            other.kill()
            other.wait()
            assert leader.check(trial).stop
            assert not leader.owns(trial)
            assert leader.ready("0")
            assert leader.ask("0") is None

    with pytest.raises(RankLostError, match="rank 1 has died"):
        lead()
    assert controller.ended == [(0, "crashed", "rank 1 has died")]


def test_a_failure_on_another_rank_fails_the_trial(tmp_path: Path, start: Start) -> None:
    controller = Three()
    start("raise")
    with closing(RankChannel(tmp_path / "ranks", 2, ending_s=0.2)) as channel:
        leader = Leader(controller, channel)
        trial = leader.ask("0")
        assert trial is not None
        wait_until(lambda: leader.check(trial).stop)
        assert leader.ready("0")
        assert leader.ask("0") is not None  # the trial was at fault, and not the rank
    assert controller.ended == [(0, "failed", "rank 1: ValueError: no luck")]


def test_a_signalled_rank_ends_after_rank_0(tmp_path: Path, start: Start) -> None:
    other = start()
    channel = RankChannel(tmp_path / "ranks", 2)
    channel.announce(Trial(0, {"lr": 1}))
    wait_until(lambda: ran(tmp_path))
    channel.close_trial()
    wait_until(channel.are_ranks_idle)
    other.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(0.3)
    os.close(channel._lock)
    assert other.wait(20) == -signal.SIGTERM


def test_the_files_of_an_earlier_start_are_not_followed(tmp_path: Path) -> None:
    channel = RankChannel(tmp_path / "ranks", 2)
    os.close(channel._lock)
    with pytest.raises(RankLostError, match="did not start"):
        Follower(tmp_path / "ranks", 1, within_s=0.1)
