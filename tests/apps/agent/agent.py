"""An agent without Hydra, to send signals to: ``python -m tests.apps.agent.agent '{"sweep": …, "act": …, …}'``."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from contextlib import closing
from typing import Any

from tests.apps.agent.task import MakeTask, Task, write_line
from tests.configurations import RANDOM
from wandbsweep import create_sweep, load_sweep
from wandbsweep.agent.fork_server import ForkServer
from wandbsweep.agent.loop import run_agent
from wandbsweep.agent.signals import SignalWatch

SPEC = load_sweep(RANDOM | {"run_cap": 3})


def pretend_to_be_submitit(*, slow: bool) -> None:
    def requeue(signum: int, frame: object) -> None:
        if slow:  # a TERM comes while it requeues
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
        write_line("requeued")
        sys.exit(-1)

    def bypass(signum: int, frame: object) -> None:
        write_line("bypassed")

    for signum, handler in ((signal.SIGUSR2, requeue), (signal.SIGTERM, bypass)):
        handler.__module__ = "submitit.core.job_environment"
        signal.signal(signum, handler)


def main(
    *,
    sweep: str,
    isolation: str,
    act: str,
    submitit: bool = False,
    slow: bool = False,
    grace_s: float = 10,
    count: int | None = None,
):
    if submitit:
        pretend_to_be_submitit(slow=slow)
    watch, separate = SignalWatch(), isolation == "process"
    run_job: Any = Task(act)
    if separate:
        run_job = ForkServer(pickle.dumps(MakeTask(act)), watch=watch, grace_s=grace_s)
    with closing(create_sweep(SPEC, sweep, seed=0)) as controller:
        options: dict[str, Any] = {"watch": watch, "separate": separate, "grace_s": grace_s, "count": count}
        for _ in run_agent(controller, run_job, name="a", sweep_id="s", metric="loss", **options):
            write_line("done")
    write_line("returned")


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that run under nohup ignore it, and so would this process
    main(**json.loads(sys.argv[1]))
