"""``wandbsweep logs``: what a trial, or the agents, have logged."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wandbsweep.cli.command import Command, locate_sweep, print_json
from wandbsweep.errors import SweepError

if TYPE_CHECKING:
    from wandbsweep.results.sweep_data import SweepData
    from wandbsweep.trial import TrialRecord

_POLL_S = 0.5
_CHUNK = 2**20

_TRIAL_FILES = ("*.log", "traceback*.txt")
_AGENT_FILES = ("agents/*/*.log", "agents/*/ranks/**/*.log", ".submitit/*/*_log.out", ".submitit/*/*_log.err")
"""With submitit, what agents and their trials print is in files of its own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "trial", nargs="?", metavar="TRIAL", help="the number of a trial (default: the logs of the agents)"
    )
    parser.add_argument(
        "--follow", "-f", action="store_true", help="print what is added, until the trial, or the sweep, ends"
    )


def run(options: argparse.Namespace) -> int:
    """Print logs. The exit status is 1 if there are none."""
    from wandbsweep.controllers.hosted.decode import PREFIX
    from wandbsweep.results.liveness import find_liveness
    from wandbsweep.results.reader import SweepReader
    from wandbsweep.results.terminal.watching import is_unfinished
    from wandbsweep.sweep.directory import holds_sweep

    if options.trial is None and (options.sweep or "").isdecimal() and not holds_sweep(Path(options.sweep)):
        options.sweep, options.trial = None, options.sweep  # `wandbsweep logs 7`: an id begins with a letter
    if (options.sweep or "").startswith(PREFIX):
        raise SweepError("Logs lie where trials run; name the sweep by its directory or its id there.")
    reader = SweepReader(locate_sweep(options))
    data = reader.read()
    if options.trial is None:
        log = _Log(data.directory, _AGENT_FILES)
    else:
        log = _Log(data.trial_directory(_find_trial(data, options.trial)), _TRIAL_FILES)
    if options.json:
        print_json({"sweep_id": data.sweep_id, "files": [str(path) for path in log.find_files()]})
        return 0

    def may_continue() -> bool:
        data = reader.read()
        if options.trial is None:
            return is_unfinished(data, find_liveness(data))
        return _find_trial(data, options.trial).state in ("queued", "running")

    log.print(may_continue if options.follow else lambda: False)
    if not log.printed:
        print(_explain_nothing(data, options.trial), file=sys.stderr)
    return 0 if log.printed else 1


def _find_trial(data: SweepData, name: str) -> TrialRecord:
    for trial in data.trials:
        if str(trial.number) == name:
            return trial
    known = f"its trials are 0 to {data.trials[-1].number}" if data.trials else "none has started yet"
    raise SweepError(f"The sweep {data.sweep_id} has no trial {name!r}; {known}.")


def _explain_nothing(data: SweepData, trial: str | None) -> str:
    if trial is None:
        return f"The agents of {data.sweep_id} have logged nothing in {data.directory}."
    return (
        f"Trial {trial} of {data.sweep_id} has logged nothing in {data.directory / trial}. What it prints goes to "
        f"where its agent's output goes (`wandbsweep logs {data.sweep_id}`), unless hydra.sweeper.output is log."
    )


class _Log:
    """Files of one directory, which grow, and of which new ones appear. All attempts of a trial append to the same."""

    def __init__(self, place: Path, patterns: Sequence[str]) -> None:
        self._place = place
        self._patterns = patterns
        self._ends: dict[Path, int] = {}
        """How far each file was printed."""
        self._last: Path | None = None
        self._is_alone = True
        self.printed = False

    def find_files(self) -> list[Path]:
        return [path for pattern in self._patterns for path in sorted(self._place.glob(pattern)) if path.is_file()]

    def print(self, may_continue: Callable[[], bool]) -> None:
        """Print the files, and what is added to them while ``may_continue``, as bytes: nobody knows their encoding."""
        sys.stdout.flush()
        while True:
            goes_on = may_continue()  # before the files are read: what was written until the end is printed
            files = self.find_files()
            self._is_alone &= len(files) <= 1
            for path in files:
                self._print_rest(path)
            sys.stdout.buffer.flush()
            if not goes_on:
                return
            time.sleep(_POLL_S)

    def _print_rest(self, path: Path) -> None:
        try:
            file = path.open("rb")
        except OSError as error:
            if path not in self._ends:
                print(f"Cannot read {path}: {error.strerror}.", file=sys.stderr)
            self._ends[path] = 0
            return
        with file:
            size, begin = path.stat().st_size, self._ends.get(path, 0)
            file.seek(begin if begin <= size else 0)  # it was replaced by a shorter one
            while chunk := file.read(_CHUNK):
                self._print_heading(path)
                sys.stdout.buffer.write(chunk)
            self._ends[path] = file.tell()

    def _print_heading(self, path: Path) -> None:
        """Name the file, as ``tail`` does, if it is another one than that of the last lines and not the only one."""
        if path != self._last and not self._is_alone:
            blank = "\n" if self.printed else ""
            name = str(path.relative_to(self._place)).encode("utf-8", "backslashreplace").decode()
            sys.stdout.buffer.write(f"{blank}==> {name} <==\n".encode())
        self._last, self.printed = path, True


COMMAND = Command("logs", "Print the log of a trial (of all its attempts), or those of the agents.", run, add_arguments)
