"""``wandbsweep pause``, ``resume``, ``stop`` and ``cancel``: every agent of a sweep obeys within seconds."""

from __future__ import annotations

import argparse
import json
from functools import partial

from wandbsweep.cli.command import Command, read_sweep


def run(options: argparse.Namespace, *, state: str) -> int:
    """Set the sweep to ``state``. A sweep that was stopped or cancelled is not resumed: exit status 1."""
    from wandbsweep.controllers.open import open_controller
    from wandbsweep.text import pluralize

    data = read_sweep(options)
    controller = open_controller(data.launch_record, data.directory, data.spec)
    before, completion = controller.command, controller.completion()
    failing = completion if state == "running" and completion and completion.failing else None
    refused = state == "running" and before in ("stopped", "cancelled")
    if not refused:
        controller.command = state
        if failing:
            controller.forgive_failures()
    controller.close()
    running = data.counts.get("running", 0)
    command = data.launch_record.join_command(data.directory) if data.launch_record else ""
    if options.json:
        now = before if refused else state
        print(json.dumps({"sweep_id": data.sweep_id, "order": now, "before": before, "running": running}))
    elif refused:
        print(f"{data.sweep_id} was {before}, not paused.", f"Resume with:\n  {command}" if command else "")
    elif failing:
        start = f" Agents that had ended are started again with:\n  {command}" if command else ""
        print(f"{data.sweep_id}: {state}. {failing.describe_failing()}{start}")
    else:
        finishing = state in ("paused", "stopped") and running
        print(f"{data.sweep_id}: {state}" + (f"; {pluralize(running, 'trial')} still to finish" if finishing else ""))
    return int(refused)


COMMANDS = (
    Command(
        "pause",
        "Start no new trials until `wandbsweep resume`; running trials continue.",
        partial(run, state="paused"),
    ),
    Command(
        "resume",
        "Resume a sweep that is paused, or that ended because its trials failed.",
        partial(run, state="running"),
    ),
    Command("stop", "Start no new trials, finish the running ones, and end the sweep.", partial(run, state="stopped")),
    Command(
        "cancel", "Stop the running trials at their next report, and end the sweep.", partial(run, state="cancelled")
    ),
)
