"""Where a trial differs from the job of Hydra's own sweeper, by design; ``docs/parity.md`` lists these for users."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.parity.application import read_applications

LAUNCHERS = ("basic", "joblib", "submitit_local")
ISOLATIONS = ("none", "process")


@dataclass(frozen=True)
class Difference:
    """A difference that is intended."""

    reason: str
    """A line of ``docs/parity.md``, word by word."""
    places: str
    """A regular expression of the places in an observation: ``/status``, ``/files/sweep/0/app.log``,
    ``/jobs/0/0 task/argv``."""
    where: str = ""
    """A regular expression of "launcher isolation"; empty: everywhere."""
    applications: str = ""
    """A regular expression of the applications; empty: all."""


_CONFIG = r"(/jobs/.*/(hydra|hydra config|config)/(raw|resolved|nodes)|/files/sweep/.*yaml)(/\.?hydra)?[/.]+"
_BASIC_ALONE = "|".join(application.name for application in read_applications() if application.is_basic)
_ALL = r"/(status|error|printed|jobs/.*|files/.*)"
_NOT_BASIC = "joblib|submitit_local"

DIFFERENCES = (
    Difference(
        "The sweep's directory also holds the sweep: `sweep.yaml`, `journal.log`, `.sweep/` and `agents/<k>/`.",
        r"/files/sweep/(sweep\.yaml|journal\.log|\.lock|\.sweep|agents)\b",
    ),
    Difference(
        "If a project names no `hydra.sweep.dir`, it is `outputs/<sweep id>`.",
        r"/files/(multirun|outputs)\b",
    ),
    Difference(
        "If `hydra.sweep.subdir` names the directories, `<number>` is a link to each.",
        r"/files/sweep/\d+",
        applications="directory-|overrides-unicode|resolvers$",
    ),
    Difference(
        "`hydra.sweeper`, and the overrides that choose and configure it, are those of this sweeper.",
        _CONFIG + r"(sweeper|runtime/choices/hydra/sweeper)\b",
    ),
    Difference(
        "`hydra.job.id` is `<sweep id>-<number>` under every launcher.",
        _CONFIG + r"job/id",
    ),
    Difference(
        "`hydra.sweep.dir` is absolute, and `hydra.runtime.config_sources` names the sweep's copy of the files.",
        _CONFIG + r"(sweep/dir|runtime/config_sources|searchpath|launcher/submitit_folder)",
    ),
    Difference(
        "The `hydra.searchpath` of the command line is that copy, too.",
        r".*/overrides/hydra",
        applications="searchpath",
    ),
    Difference(
        "What needs the script in the job's process (pools of its functions, `_target_: __main__.Net`) works under all "
        "launchers; with Hydra's own sweeper, under basic alone.",
        rf"{_CONFIG}(launcher|runtime/choices/hydra/launcher|overrides/hydra|help|sweep)|"
        r"/files/sweep/\.submitit|/jobs/.*/environment/|/jobs/.*/(process|start method|path|stdin)",
        where=_NOT_BASIC,
        applications=_BASIC_ALONE,
    ),
    Difference(
        "`sys.argv` holds the script and the trial's overrides, since Lightning starts further ranks with it.",
        r"/jobs/.*/argv",
    ),
    Difference(
        "Variables that begin with `WANDB` say which trial it is, and those of submitit name the agent's job.",
        r"/jobs/.*/environment/(WANDB|SUBMITIT)",
    ),
    Difference(
        "Under joblib and submitit `__main__` is the application's, and its imports are repeated, as under the basic "
        "launcher.",
        r"/jobs/.*/(main/|file$|version$|known$)",
        where=_NOT_BASIC,
    ),
    Difference(
        "In a trial's own process `__main__` has the script's functions, classes and constants, but not its imports.",
        r"/jobs/.*/main/names",
        where="basic process",
    ),
    Difference(
        "Ctrl-C, TERM and submitit's signal let a trial save a checkpoint first.",
        r"/jobs/.*/signals/SIG(INT|TERM|USR2|CONT)",
    ),
    Difference(
        "Multiprocessing's start method is Python's default, and a trial's own process is no worker of joblib.",
        r"/jobs/.*/(process|start method)",
        where="joblib",
    ),
    Difference(
        "A failed trial also leaves `traceback.txt`.",
        r"/files/sweep/.*traceback\.txt",
    ),
    Difference(
        "A trial has its own copy of the callbacks, unless it shares the launching process with the others.",
        r"/jobs/.*/calls|/files/sweep/end.txt",
        where=f"process|{_NOT_BASIC}",
    ),
    Difference(
        "A trial whose configuration does not compose fails alone.",
        _ALL,
        applications="structured-wrong-value",
    ),
    Difference(
        "An error that cannot be pickled becomes a RuntimeError with its text, and such a result None.",
        _ALL,
        applications="-unpicklable",
    ),
    Difference(
        "What a trial leaves in its process, such as the handlers of its own logging, does not reach the next trial.",
        r"/files/own\.log|/jobs/.*/(loggers|environment/PARITY_LEFT)",
        applications="logging-none|environment-set",
    ),
    Difference(
        "What submitit logs of its own job is in the agent's log.",
        r"/files/sweep/.*\.log",
        where="submitit_local",
        applications="logging-(colors|levels)",
    ),
    Difference(
        "If trials share a directory and run at once, which of them writes `.hydra/` last is chance, as it is with "
        "Hydra's.",
        r"/files/sweep/all/\.hydra/",
        where="joblib",
        applications="directory-same",
    ),
    Difference(
        "A trial that calls `sys.exit` ends alone: it is finished if the status is 0, and failed otherwise.",
        _ALL,
        applications="exit-",
    ),
)


def find_undeclared(
    found: Iterable[tuple[str, Any, Any]], *, application: str, launcher: str, isolation: str
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the differences that are not declared."""
    declared = [
        re.compile(difference.places)
        for difference in DIFFERENCES
        if re.search(difference.where, f"{launcher} {isolation}") and re.search(difference.applications, application)
    ]
    for place, stock, ours in found:
        if not any(pattern.match(place) for pattern in declared):
            yield place, stock, ours
