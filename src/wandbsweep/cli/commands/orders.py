"""``wandbsweep pause``, ``resume``, ``stop`` and ``cancel``: what every agent of a sweep obeys within seconds."""

from __future__ import annotations

import argparse
import json
from functools import partial

from wandbsweep.cli.commands import Command, opened

_ORDERS = {
    "pause": ("paused", "Begin no new trials until `wandbsweep resume`; what runs goes on."),
    "resume": ("running", "Go on with a sweep that was paused."),
    "stop": ("stopped", "Begin no new trials; finish what runs, and end the sweep."),
    "cancel": ("cancelled", "Stop what runs at its next report, and end the sweep."),
}


def add(command: Command) -> None:
    for name, (order, about) in _ORDERS.items():
        command(name, partial(run, order=order), about)


def run(options: argparse.Namespace, *, order: str) -> int:
    from wandbsweep.controllers.open import open_controller
    from wandbsweep.sweep.resume import join_command
    from wandbsweep.text import pluralize

    results = opened(options)
    controller = open_controller(results.launch_record, results.directory, results.spec)
    before = controller.command
    ended = order == "running" and before in ("stopped", "cancelled")
    if not ended:
        controller.command = order
    controller.close()
    running = results.counts.get("running", 0)
    if options.json:
        now = before if ended else order
        print(json.dumps({"sweep_id": results.sweep_id, "order": now, "before": before, "running": running}))
        return 1 if ended else 0
    if ended:
        print(f"{results.sweep_id} was {before}, not paused.", end=" ")
        print(
            f"Resume with:\n  {join_command(results.launch_record, results.directory)}" if results.launch_record else ""
        )
        return 1
    goes_on = order in ("paused", "stopped") and running
    print(f"{results.sweep_id}: {order}" + (f"; {pluralize(running, 'trial')} still to finish" if goes_on else ""))
    return 0
