"""Leaving the agents to themselves: submitit's jobs outlive who submitted them, once that stops waiting for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from wandbsweep.errors import SweepError
from wandbsweep.launchers import LAUNCHERS, find_profile


class _Submitted(Exception):
    """All jobs are submitted, and the launcher asks for their results."""


def refuse_undetachable(launcher: str) -> None:
    """Raise SweepError where the launcher with the class ``launcher`` runs its jobs in the launching process."""
    if not find_profile(launcher).detachable:
        detachable = " and ".join(f"hydra/launcher={one.name}" for one in LAUNCHERS if one.detachable)
        raise SweepError(
            f"hydra.sweeper.detach=true: {launcher} runs the agents as long as this process lives. The launchers that "
            f"can be left are {detachable}, and configurations based on them, as hydra/launcher=slurm_gpu."
        )


def submit_only(launch: Callable[[], Any]) -> None:
    """Call ``launch``, which submits jobs and waits for them, without the waiting.

    In a child process with a session of its own: local jobs then survive Ctrl-C and the end of the terminal. Raises
    SweepError with the launcher's own words if it fails.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _submit(launch, writer)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as told:
        failure = told.read()
    os.waitpid(child, 0)
    if failure != _DONE:
        raise SweepError(f"The agents could not be submitted: {failure or 'the launcher died'}")


_DONE = "submitted"


def _submit(launch: Callable[[], Any], writer: int) -> NoReturn:
    failure = ""
    try:
        os.setsid()
        with _no_results():
            launch()
    except _Submitted:
        failure = _DONE
    except BaseException as error:  # this process is nobody else's, and ends here
        failure = " ".join(f"{type(error).__name__}: {error}".split())
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(writer, failure.encode())
    os._exit(0)


@contextmanager
def _no_results() -> Iterator[None]:
    """Hydra's submitit launchers submit all their jobs, and then ask each for its results."""
    from submitit import Job

    def results(job: Any) -> NoReturn:
        raise _Submitted

    # Neither submitit nor Hydra's launchers have a way to submit and not wait; it is undone in the same breath, in a
    # process that ends then.
    original = Job.results
    setattr(Job, "results", results)  # noqa: B010  an assignment is what mypy refuses
    try:
        yield
    finally:
        setattr(Job, "results", original)  # noqa: B010  as above
