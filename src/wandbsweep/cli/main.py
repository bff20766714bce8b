"""``wandbsweep``: reads any sweep from its directory, during and after it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wandbsweep.cli.commands import add_all, named, opened
from wandbsweep.errors import SweepError
from wandbsweep.results.reader import SweepReader
from wandbsweep.results.sweep_data import SweepData, has_goal
from wandbsweep.results.trial_json import format_trial_json
from wandbsweep.trial import TrialRecord

if TYPE_CHECKING:
    from wandbsweep.results.liveness import Liveness

_WATCH_S = 2.0
_TOP = 50  # trials that a terminal shows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0, 1 where there is nothing to show, 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        status = int(options.run(options))
        sys.stdout.flush()  # while what goes wrong can still be told
    except SweepError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head`
        _drop_output()
        return 0
    except OSError as error:
        _drop_output()
        print(f"wandbsweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _drop_output() -> None:
    """Keep what is not written yet from being written as the process ends, which would only fail again."""
    with suppress(OSError, ValueError):  # no file at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def status(options: argparse.Namespace) -> int:
    from wandbsweep.results.liveness import find_liveness
    from wandbsweep.results.terminal.tables import make_console
    from wandbsweep.results.terminal.watching import follow, watch

    reader = SweepReader(named(options))
    if not options.watch:
        results = reader.read()
        _show_status(results, find_liveness(results), as_json=options.json)
    elif sys.stdout.isatty() and not options.json:
        watch(reader.read, make_console(), every_s=_WATCH_S)
    else:
        for results, liveness in follow(reader.read, every_s=_WATCH_S):
            _show_status(results, liveness, as_json=options.json, indent=None)
    return 0


def table(options: argparse.Namespace) -> int:
    results = opened(options)
    if options.json:
        _print_json([format_trial_json(results, trial) for trial in results.ranked[: options.top or None]])
        return 0
    from wandbsweep.results.terminal.tables import make_console, print_leaderboard

    top = options.top if options.top is not None or not sys.stdout.isatty() else _TOP
    print_leaderboard(results, make_console(), top=top or None, hint="; --top 0 for all" if options.top is None else "")
    return 0


def best(options: argparse.Namespace) -> int:
    results = opened(options)
    trial = results.best
    if not has_goal(results.spec):
        print(f"The sweep {results.sweep_id} has no metric, so no best trial is known.", file=sys.stderr)
        return 1
    if trial is None:
        print(f"No trial of {results.sweep_id} has a value yet.", file=sys.stderr)
        return 1
    if options.json:
        front = [format_trial_json(results, trial) for trial in results.front]
        _print_json(front if results.spec.metrics else format_trial_json(results, trial))
    elif options.overrides:
        import shlex

        for winner in results.front if results.spec.metrics else [trial]:
            print(shlex.join(results.overrides(winner)))
    else:
        from wandbsweep.results.terminal.tables import make_console, print_best

        print_best(results, make_console())
    return 0


def _show_status(results: SweepData, liveness: Liveness | None, *, as_json: bool, indent: int | None = 2) -> None:
    if as_json:
        _print_json(_status_json(results, liveness), indent=indent)
        return
    from wandbsweep.results.liveness import describe_liveness
    from wandbsweep.results.terminal.tables import format_progress
    from wandbsweep.results.terminal.watching import format_headline

    lines = [
        format_headline(results),
        str(results.directory),
        format_progress(results, results.cap),
        *describe_liveness(results, liveness),
    ]
    print("\n".join(lines), flush=True)


def _status_json(results: SweepData, liveness: Liveness | None) -> dict[str, Any]:
    spec, best = results.spec, results.best
    return {
        "sweep_id": results.sweep_id,
        "directory": str(results.directory),
        "method": spec.method,
        "metric_name": spec.metric.name if spec.metric else None,
        "goal": spec.goal if spec.metric else None,
        **({"metrics": {m.name: m.goal for m in spec.metrics}} if spec.metrics else {}),
        "run_cap": spec.run_cap,
        "cap": results.cap,
        "trials": len(results.trials),
        "counts": results.counts,
        "best": None if best is None else _best_json(results, best),
        **({"order": liveness.command, "over": liveness.completion, "alive": liveness.is_alive} if liveness else {}),
    }


def _best_json(results: SweepData, best: TrialRecord) -> dict[str, Any]:
    if results.spec.metrics:
        return {"front": [trial.number for trial in results.front]}
    configuration = results.find_configuration(best)
    return {"number": best.number, "metric": configuration.mean if configuration else best.value}


def _print_json(data: Any, *, indent: int | None = 2) -> None:
    print(json.dumps(data, indent=indent, ensure_ascii=False), flush=True)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"the value is {text!r}, but must be a whole number >= 0")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(
        prog="wandbsweep",
        description="Read a sweep from its directory, during and after it. Sweeps are run by your own application: "
        "python train.py -m hydra/sweeper=wandbsweep",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('wandbsweep')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], about: str, *, sweep: bool = True
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        if sweep:
            added.add_argument(
                "sweep",
                nargs="?",
                metavar="SWEEP",
                help="a sweep's directory, or its id below outputs/ (default: the newest one there)",
            )
        added.add_argument("--json", action="store_true", help="print JSON")
        added.set_defaults(run=run)
        return added

    watching = command("status", status, "How far a sweep is: the states of its trials, and the best one so far.")
    watching.add_argument(
        "--watch",
        action="store_true",
        help="follow it until there is no more to come; in a pipe, lines whenever it changes",
    )
    ranking = command("table", table, "Its trials, the best first.")
    ranking.add_argument("--top", type=_count, metavar="N", help="only the best N; 0: all")
    winning = command("best", best, "The best trial, its parameters, and the command that trains it again.")
    winning.add_argument("--overrides", action="store_true", help="only its Hydra overrides, on one line")
    add_all(command)
    return parser


def commands() -> dict[str, tuple[str, list[str]]]:
    """Every command: what it is about, and its options."""
    (group,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    abouts = {action.dest: action.help or "" for action in group._choices_actions}
    return {
        name: (abouts[name], [option for action in parser._actions for option in action.option_strings])
        for name, parser in group.choices.items()
    }


if __name__ == "__main__":
    sys.exit(main())
