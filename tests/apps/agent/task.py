"""What the agent of ``agent.py`` runs. A light module, because the fork server imports it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from tests.apps.agent import workers
from wandbsweep import current_trial
from wandbsweep.trial import JobResult, Trial


@dataclass(frozen=True)
class Task:
    """Print that it runs, then do as ``act`` says until a signal asks it to end."""

    act: str

    def __call__(self, trial: Trial) -> JobResult:
        now = current_trial()
        now.report(0, {"loss": 1.0})
        if now.resumed:
            return JobResult()
        now.listening = self.act in ("listen", "listen and finish")
        write_line(f"running {os.getpid()}")
        if self.act in workers.ACTS:
            write_line(workers.ACTS[self.act]())
            return JobResult(returned=0.5)
        if self.act == "listen in a fork":
            if (pid := os.fork()) == 0:
                while not now.preempted:
                    time.sleep(0.01)
                write_line("saved")
                os._exit(1)  # as when Preempted leaves it
            os.waitpid(pid, 0)
            raise RuntimeError("process 0 terminated with exit code 1")
        while not self.must_end():
            time.sleep(0.01)
        write_line("saved")
        return JobResult(returned=0.25)

    def must_end(self) -> bool:
        now = current_trial()
        if self.act == "report":
            return now.report(1, {"loss": 0.5}).stop
        if self.act == "listen":
            return now.preempted
        interrupted = bool(now._interrupt_reason)  # the training itself cannot see it like this
        if self.act == "fail" and interrupted:
            raise RuntimeError("DataLoader worker is killed by signal: Terminated.")
        return self.act == "listen and finish" and interrupted


@dataclass(frozen=True)
class MakeTask:
    act: str

    def __call__(self) -> Task:
        return Task(self.act)


def write_line(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # in one write, since several processes share this pipe
