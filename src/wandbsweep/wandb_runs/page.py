"""An embedded sweep on W&B's pages: what the application's logger says of it, and when W&B is told.

Nothing here imports wandb, which takes half a second and starts threads: a process of its own does
(``wandb_publish``), and whatever happens to it the sweep goes on.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.controllers.hosted.auth import read_login, stored_mode
from wandbsweep.sweep.launch_record import HIDDEN, LaunchRecord
from wandbsweep.trial import ENDED

if TYPE_CHECKING:
    from wandbsweep.controllers.base import SweepController

log = logging.getLogger(__name__)

KEYS = ("project", "entity", "group", "tags", "summary", "wandb_sweep")
"""What of the configuration ``logger`` is of use here."""

_PATIENCE_S = 120.0
_CONCLUDED = "concluded"
_A_RUNS = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RESUME", "WANDB_NAME", "WANDB_NOTES")


def page_settings(logger: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a plan keeps of the configuration ``logger``; None: it asks for nothing beside the trials' runs.

    It does so with the keys ``summary`` (true; null: where runs go online; false or not there: no) and ``wandb_sweep``
    (true).
    """
    given = {key: logger[key] for key in KEYS if key in logger} if logger else {}
    summary = given.get("summary", False)
    if summary is False and not given.get("wandb_sweep"):
        return None
    return {**given, "summary": summary}


def mode() -> str:
    """Where runs go that begin here: online, offline or disabled, as ``WANDB_MODE`` says or wandb was set up."""
    if not importlib.util.find_spec("wandb"):
        return "disabled"
    named = os.environ.get("WANDB_MODE") or stored_mode()
    if named:
        return {"dryrun": "offline", "run": "online"}.get(named, named)
    known = read_login(need_key=False).api_key or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    return "online" if known else "offline"


def begin(directory: Path, plan: LaunchRecord) -> LaunchRecord:
    """Make the W&B sweep that trials' runs are to be shown in, if ``wandb_sweep`` asks for one; the plan with it.

    To be called before any agent is launched. Where W&B cannot be told, the sweep goes on without, with a warning.
    """
    page = plan.wandb
    if not page or not page.get("wandb_sweep") or page.get("sweep"):
        return plan
    if (here := mode()) != "online":
        log.warning("logger.wandb_sweep: no sweep is made at W&B, since runs are %s here", here)
        return plan
    if (made := _told("begin", directory, "No sweep is made at W&B")) is None:
        return plan
    plan = replace(plan, wandb={**page, "sweep": {key: made[key] for key in ("sweep_id", "entity", "project")}})
    plan.save(directory)
    print(f"W&B's page of it: {made['entity']}/{made['project']}/sweeps/{made['sweep_id']}", flush=True)
    return plan


def conclude(directory: Path, plan: LaunchRecord) -> None:
    """After the sweep is over: write its run of job type ``sweep``, where ``summary`` asks for one; see ``mode``."""
    page = plan.wandb
    if not page:
        return
    here = mode()
    summary = here == "online" if page["summary"] is None else page["summary"] and here != "disabled"
    if not summary and not (page.get("sweep") and here == "online"):
        return
    made = _told("conclude" if summary else "end", directory, "The sweep's summary is not at W&B")
    if made and made.get("url"):
        print(f"Leaderboard and report at W&B: {made['url']}", flush=True)
    elif made and made.get("directory"):
        print(f"Leaderboard and report for W&B: wandb sync {made['directory']}", flush=True)


def conclude_last(directory: Path, plan: LaunchRecord, controller: SweepController) -> None:
    """``conclude`` by the agent of a detached sweep that ends last: nobody else is there to do it."""
    if not plan.wandb or controller.completion() is None:
        return
    states = [trial.state for trial in controller.trials()]
    if "running" in states:
        return  # by another agent
    ended = str(sum(state in ENDED for state in states))
    with open(directory / HIDDEN / _CONCLUDED, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if file.read() == ended:
            return  # by an agent that ended at the same moment
        conclude(directory, plan)
        file.truncate(0)
        file.write(ended)


def _told(what: str, directory: Path, otherwise: str) -> dict[str, Any] | None:
    """What ``wandb_publish`` answers; None, with one line of warning, where it fails or takes too long."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        # A session of its own: wandb has a process besides, which is to end with it.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "wandbsweep.cli.publish", what, str(directory), mode()],
            env={name: value for name, value in os.environ.items() if name not in _A_RUNS},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=_PATIENCE_S)
            reason = f"status {status}"
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            slow = isinstance(error, subprocess.TimeoutExpired)
            status, reason = 1, f"it took more than {_PATIENCE_S:.0f} s" if slow else "interrupted"
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        errors.seek(0)
        lines = out.read().splitlines()
        told = errors.read().split("\n")
    if status == 0 and lines:
        return dict(json.loads(lines[-1]))
    last = next((line.strip() for line in reversed(told) if line.strip()), "")
    log.warning("%s: %s", otherwise, last if last and reason.startswith("status") else reason)
    return None
