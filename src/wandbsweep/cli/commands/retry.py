"""``wandbsweep retry``: queues failed and crashed trials again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wandbsweep.cli.command import Command, print_json, read_sweep
from wandbsweep.errors import SweepError

if TYPE_CHECKING:
    from wandbsweep.results.sweep_data import SweepData

_MAX_LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help="numbers of trials that failed or crashed")
    parser.add_argument("--failed", action="store_true", help="all trials whose task raised an error")
    parser.add_argument("--crashed", action="store_true", help="all trials whose process or agent died")
    parser.add_argument("--dry-run", action="store_true", help="print which trials these are, and change nothing")


def run(options: argparse.Namespace) -> int:
    """Queue trials again. The exit status is 1 if none has failed or crashed."""
    from wandbsweep.controllers.embedded.controller import EmbeddedController
    from wandbsweep.controllers.hosted.decode import PREFIX
    from wandbsweep.controllers.open import open_controller
    from wandbsweep.text import pluralize

    _refuse_wandb(is_hosted=(options.sweep or "").startswith(PREFIX))
    data = read_sweep(options)
    _refuse_wandb(is_hosted=bool(data.launch_record and data.launch_record.hosted))
    numbers = _choose_trials(data, options)
    after = None
    if numbers and not options.dry_run:
        controller = open_controller(data.launch_record, data.directory, data.spec)
        assert isinstance(controller, EmbeddedController)
        controller.retry(numbers)
        after = controller.completion()
        controller.close()
    command = data.launch_record.join_command(data.directory) if data.launch_record else ""
    if options.json:
        print_json({"sweep_id": data.sweep_id, "trials": numbers, "dry_run": options.dry_run, "join": command})
    elif not numbers:
        print(f"{data.sweep_id}: {_describe_choices(data)}.")
    else:
        verb = "would be" if options.dry_run else "is" if len(numbers) == 1 else "are"
        print(f"{data.sweep_id}: {pluralize(len(numbers), 'trial')} {verb} given out again: {_join(numbers)}.")
        if after is not None:
            print(f"No agent gets them yet: {after.reason}.")
        if not options.dry_run and command:
            print(f"Agents at work take them. If none is, start some with:\n  {command}")
    return 0 if numbers else 1


def _choose_trials(data: SweepData, options: argparse.Namespace) -> list[int]:
    """Return the numbers of the trials that the command names. Raises SweepError if one cannot be retried."""
    from wandbsweep.trial import FAILED

    if options.trials and (options.failed or options.crashed):
        raise SweepError("Name trials by their numbers, or all of a kind by --failed or --crashed, not both.")
    chosen = [state for state in FAILED if getattr(options, state)] or FAILED
    able = [trial.number for trial in data.trials if trial.state in chosen]
    if not options.trials:
        return able
    states = {str(trial.number): trial.state for trial in data.trials}
    faults = [
        f"Trial {name} is {states[name]}" if name in states else f"There is no trial {name!r}"
        for name in options.trials
        if states.get(name) not in FAILED
    ]
    if faults:
        raise SweepError(f"{'; '.join(faults)}. Nothing was changed: {_describe_choices(data)}.")
    return sorted({int(name) for name in options.trials})


def _describe_choices(data: SweepData) -> str:
    from wandbsweep.trial import FAILED

    found = {state: [trial.number for trial in data.trials if trial.state == state] for state in FAILED}
    kinds = [f"{state} are {_join(numbers)}" for state, numbers in found.items() if numbers]
    return f"only trials that failed or crashed can be retried; {' and '.join(kinds) or 'there is none'}"


def _join(numbers: Sequence[int]) -> str:
    rest = [f"and {len(numbers) - _MAX_LISTED} more"] if len(numbers) > _MAX_LISTED else []
    return ", ".join([*map(str, numbers[:_MAX_LISTED]), *rest])


def _refuse_wandb(*, is_hosted: bool) -> None:
    if is_hosted:
        raise SweepError(
            "W&B decides which trials of this sweep run, and gives none out again. Of a grid, delete the runs that "
            "failed on the sweep's page at W&B, and press Resume there: the next agents get their points. Otherwise, "
            "run a trial by itself, with the overrides that `wandbsweep table --json` prints."
        )


COMMAND = Command("retry", "Queue failed and crashed trials again.", run, add_arguments)
