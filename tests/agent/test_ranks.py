"""Rank 0 and another one, as two processes that run what a controller gives out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wandbsweep.agent import ranks
from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.ranks import Follower, Lead, Leader, RankLost, leading
from wandbsweep.launchers import Rank
from wandbsweep.trial import CONTINUE, JobResult, Outcome, Trial

FOLLOWER = """
import sys, time
from pathlib import Path
from wandbsweep.agent import ranks
from wandbsweep.agent.loop import run_agent
from wandbsweep.trial import JobResult
from wandbsweep.agent.ranks import Follower

ranks.ENDING_S = 0.2
place, log, act = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def run_job(trial):
    with log.open("a") as file:
        file.write(f"{trial.number} {trial.params['lr']} {trial.attempt}\\n")
    if act == "hang":
        time.sleep(60)
    if act == "raise":
        raise ValueError("no luck")
    return JobResult()

follower = Follower(place, 1, within_s=20)
follower.end_with_leader()
with follower.leaving_last():
    list(run_agent(follower, run_job, name="0", sweep_id="s", look_s=ranks.POLL_S))
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

    def complete(self, trial: Trial, outcome: Outcome) -> None:
        self.ended.append((trial.number, outcome.state, outcome.reason))

    def release(self, trial: Trial, reason: str) -> None:
        self.ended.append((trial.number, "released", reason))

    def crash(self, trial: Trial, reason: str) -> None:
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

    with leading(tmp_path / "ranks", Rank(0, 2)) as lead:
        list(run_agent(Leader(controller, lead), run_job, name="0", sweep_id="s", look_s=ranks.POLL_S))
    assert ran(tmp_path) == ["0 1.0 2", "1 0.5 2", "2 0.3333333333333333 2"]
    assert controller.ended == [(number, "finished", "") for number in range(3)]
    assert other.wait(20) == 0


def test_a_rank_that_nobody_has_seen_is_not_waited_for(tmp_path: Path) -> None:
    controller = Three()
    with leading(tmp_path / "ranks", Rank(0, 2)) as lead:
        results = list(run_agent(Leader(controller, lead), lambda trial: JobResult(), name="0", sweep_id="s"))
    assert len(results) == 3


def test_what_hangs_for_the_other_rank_ends_soon_after_rank_0_is_done(tmp_path: Path, start: Start) -> None:
    other = start("hang")
    with leading(tmp_path / "ranks", Rank(0, 2)) as lead:
        leader = Leader(Three(), lead)
        trial = leader.ask("0")
        assert trial is not None
        wait_until(lambda: ran(tmp_path))
        leader.complete(trial, Outcome.finished())
        assert not leader.ready("0")  # the next trial would meet this one
        assert other.wait(20) == 1
        assert leader.ready("0")
        assert leader.ask("0") is None
        lead.failure = ""


@pytest.mark.parametrize("how", ["ends", "dies"])
def test_a_rank_ends_with_rank_0(tmp_path: Path, start: Start, how: str) -> None:
    other = start("hang")
    lead = Lead(tmp_path / "ranks", 2)
    lead.open(Trial(0, {"lr": 1}))
    wait_until(lambda: ran(tmp_path))
    if how == "ends":
        lead.end()
    else:
        os.close(lead._held)  # what the kernel does
    assert other.wait(20) == 1


def test_rank_0_hears_that_another_one_died(tmp_path: Path, start: Start) -> None:
    controller, other = Three(), start("hang")

    def lead() -> None:
        with leading(tmp_path / "ranks", Rank(0, 2)) as lead:
            leader = Leader(controller, lead)
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

    with pytest.raises(RankLost, match="rank 1 has died"):
        lead()
    assert controller.ended == [(0, "crashed", "rank 1 has died")]


def test_rank_0_hears_that_another_one_failed(tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "ENDING_S", 0.2)
    controller = Three()
    start("raise")
    with leading(tmp_path / "ranks", Rank(0, 2)) as lead:
        leader = Leader(controller, lead)
        trial = leader.ask("0")
        assert trial is not None
        wait_until(lambda: leader.check(trial).stop)
        assert leader.ready("0")
        assert leader.ask("0") is not None  # the trial was at fault, and not the rank
    assert controller.ended == [(0, "failed", "rank 1: ValueError: no luck")]


def test_a_signalled_rank_ends_after_rank_0(tmp_path: Path, start: Start) -> None:
    other = start()
    lead = Lead(tmp_path / "ranks", 2)
    lead.open(Trial(0, {"lr": 1}))
    wait_until(lambda: ran(tmp_path))
    lead.close()
    wait_until(lead.settled)
    other.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(1)
    os.close(lead._held)
    assert other.wait(20) == -signal.SIGTERM


def test_what_an_earlier_start_left_is_not_followed(tmp_path: Path) -> None:
    lead = Lead(tmp_path / "ranks", 2)
    os.close(lead._held)
    with pytest.raises(RankLost, match="in vain"):
        Follower(tmp_path / "ranks", 1, within_s=0.1)
