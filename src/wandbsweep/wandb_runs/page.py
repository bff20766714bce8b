"""An embedded sweep on W&B's pages: the W&B sweep that shows its trials, and the summary run at its end.

Nothing here imports wandb, which takes half a second and starts threads. A separate process does
(``wandbsweep.cli.publish``), and the sweep continues whatever happens to it.
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
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from wandbsweep.sweep.launch_record import HIDDEN, LaunchRecord
from wandbsweep.trial import ENDED, State, Trial
from wandbsweep.wandb_runs.auth import read_login, read_stored_mode
from wandbsweep.wandb_runs.sweep_run import NAME, PARAM_PATH, RESUME, RUN_ID, SWEEP_ID, SweepRun

log = logging.getLogger(__name__)

KEYS = ("project", "entity", "group", "tags", "summary", "wandb_sweep")
"""The keys of the configuration ``logger`` that are used here."""

_PUBLISH_TIMEOUT_S = 120.0
_PUBLISHED = "concluded"
"""File below ``.sweep``: how many trials had ended when the summary was last published."""
_RUN_VARIABLES = (RUN_ID, SWEEP_ID, PARAM_PATH, RESUME, NAME, "WANDB_NOTES")


def read_page_settings(logger: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what the launch record keeps of the configuration ``logger``; None if that asks only for trials' runs.

    The keys that ask for more are ``summary`` (true; null: if runs are online; false or missing: no) and
    ``wandb_sweep`` (true).
    """
    given = {key: logger[key] for key in KEYS if key in logger} if logger else {}
    summary = given.get("summary", False)
    if summary is False and not given.get("wandb_sweep"):
        return None
    return {**given, "summary": summary}


def find_mode() -> str:
    """Return where new runs go: online, offline or disabled, as ``WANDB_MODE`` or wandb's settings say."""
    if not importlib.util.find_spec("wandb"):
        return "disabled"
    configured = os.environ.get("WANDB_MODE") or read_stored_mode()
    if configured:
        return {"dryrun": "offline", "run": "online"}.get(configured, configured)
    has_login = read_login(need_key=False).api_key or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    return "online" if has_login else "offline"


def create_page(directory: Path, plan: LaunchRecord) -> LaunchRecord:
    """Create the W&B sweep that shows the trials' runs, if ``wandb_sweep`` asks for one; return the updated record.

    Call it before any agent is launched. If W&B fails, the sweep continues without the page, with a warning.
    """
    page = plan.wandb
    if not page or not page.get("wandb_sweep") or page.get("sweep"):
        return plan
    if (mode := find_mode()) != "online":
        log.warning("logger.wandb_sweep: no sweep is created at W&B, since runs are %s here", mode)
        return plan
    if (created := _publish("begin", directory, "No sweep is created at W&B")) is None:
        return plan
    plan = replace(plan, wandb={**page, "sweep": {key: created[key] for key in ("sweep_id", "entity", "project")}})
    plan.save(directory)
    print(f"Sweep page at W&B: {created['entity']}/{created['project']}/sweeps/{created['sweep_id']}", flush=True)
    return plan


def prepare_environment(plan: LaunchRecord, directory: Path, trial: Trial) -> dict[str, str] | None:
    """Return the variables that add a trial's run to the W&B sweep of ``create_page``; None: there is no such sweep.

    Writes the run's parameter file below ``directory``.
    """
    sweep = (plan.wandb or {}).get("sweep")
    if not sweep:
        return None
    name = f"{plan.sweep_id}-{trial.number}"
    args = {key: {"value": value} for key, value in trial.params.items()}
    run = SweepRun(**sweep, run_id=name, args=args, name=name, attempt=trial.attempt, resumes=trial.attempt > 1)
    return run.prepare(directory / HIDDEN / "wandb" / f"{trial.number}.yaml")


def publish_summary(directory: Path, plan: LaunchRecord) -> None:
    """Publish the summary run of a sweep that is over, and mark its W&B sweep as finished.

    The summary run is written if ``summary`` asks for it and runs are not disabled.
    """
    page = plan.wandb
    if not page:
        return
    mode = find_mode()
    summary = mode == "online" if page["summary"] is None else page["summary"] and mode != "disabled"
    if not summary and not (page.get("sweep") and mode == "online"):
        return
    published = _publish("conclude" if summary else "end", directory, "The sweep's summary is not at W&B")
    if published and published.get("url"):
        print(f"Leaderboard and report at W&B: {published['url']}", flush=True)
    elif published and published.get("directory"):
        print(f"Leaderboard and report for W&B: wandb sync {published['directory']}", flush=True)


def publish_summary_once(directory: Path, plan: LaunchRecord, states: Collection[State]) -> None:
    """Publish the summary from an agent of a detached sweep that is over.

    The last agent does it, since no launching process is left. ``states``: the states of all trials.
    """
    if not plan.wandb or "running" in states:  # another agent still works, and will end later
        return
    ended = str(sum(state in ENDED for state in states))
    with open(directory / HIDDEN / _PUBLISHED, "a+") as file:
        # Two agents may end at the same moment: the lock orders them, and the second one finds the count of the first.
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if file.read() == ended:
            return
        publish_summary(directory, plan)
        file.truncate(0)
        file.write(ended)


def _publish(action: str, directory: Path, failure: str) -> dict[str, Any] | None:
    """Run ``wandbsweep.cli.publish`` and return its answer; None, with a warning, if it fails or takes too long."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "wandbsweep.cli.publish", action, str(directory), find_mode()],
            env={name: value for name, value in os.environ.items() if name not in _RUN_VARIABLES},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,  # so that killing the group also ends the service process that wandb starts
        )
        reason = ""
        try:
            status = process.wait(timeout=_PUBLISH_TIMEOUT_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            slow = isinstance(error, subprocess.TimeoutExpired)
            status, reason = 1, f"it took more than {_PUBLISH_TIMEOUT_S:.0f} s" if slow else "interrupted"
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        errors.seek(0)
        answers, complaints = out.read().splitlines(), errors.read().split("\n")
    if status == 0 and answers:
        return dict(json.loads(answers[-1]))
    last = next((line.strip() for line in reversed(complaints) if line.strip()), "")
    log.warning("%s: %s", failure, reason or last or f"status {status}")
    return None
