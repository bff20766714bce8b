"""An agent without Hydra, to send signals to: ``agent.py '{"sweep": …, "act": …, …}'``. It says when trials run."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from wandbsweep import create_sweep, current_trial, load_sweep
from wandbsweep.agent.fork_server import ForkServer
from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.trial import JobResult, Trial

CONFIG = {
    "method": "random",
    "metric": {"name": "loss"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}},
    "run_cap": 3,
}


@dataclass(frozen=True)
class Task:
    """Says that it runs, then does as ``act`` says."""

    act: str

    def __call__(self, trial: Trial) -> JobResult:
        now = current_trial()
        now.report(0, {"loss": 1.0})
        if now.resumed:
            return JobResult()
        now.listening = self.act in ("listen", "listen and finish")
        say(f"running {os.getpid()}")
        while self.act != "listen and finish":
            time.sleep(0.01)
            if self.act == "report" and now.report(1, {"loss": 0.5}).stop:
                break
            if self.act == "listen" and now.preempted:
                break
            if self.act == "fail" and now._interrupt_reason:
                raise RuntimeError("DataLoader worker is killed by signal: Terminated.")
        if self.act == "listen and finish":
            while not now._interrupt_reason:
                time.sleep(0.01)
        say("saved")
        return JobResult(returned=0.25)


@dataclass(frozen=True)
class Make:
    act: str

    def __call__(self) -> Task:
        return Task(self.act)


def say(line: str) -> None:
    # One write: several processes share this pipe.
    os.write(1, f"{line}\n".encode())


def pretend_to_be_submitit() -> None:
    def requeue(signum: int, frame: object) -> None:
        if said.get("slow"):  # a TERM comes meanwhile
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
        say("requeued")
        sys.exit(-1)

    signal.signal(signal.SIGUSR2, requeue)
    signal.signal(signal.SIGTERM, lambda *_: say("bypassed"))


if __name__ == "__main__":
    sys.modules["agent"] = sys.modules["__main__"]  # so that the fork server finds it
    Make.__module__ = Task.__module__ = "agent"
    said: dict[str, Any] = json.loads(sys.argv[1])
    if said.get("submitit"):
        pretend_to_be_submitit()
    watch = SignalWatch()
    run_job: Any = Task(said["act"])
    if said["isolation"] == "process":
        task = pickle.dumps(Make(said["act"]))
        run_job = ForkServer(task, watch=watch, grace_s=said.get("grace_s", 10))
    with closing(create_sweep(load_sweep(CONFIG), said["sweep"], seed=0)) as controller:
        agent = run_agent(
            controller,
            run_job,
            name="a",
            sweep_id="s",
            metric="loss",
            watch=watch,
            separate=said["isolation"] == "process",
            grace_s=said.get("grace_s", 10),
        )
        for _ in agent:
            say("done")
    say("returned")
