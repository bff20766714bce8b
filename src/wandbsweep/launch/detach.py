"""Submits agents without waiting for them: submitit's jobs survive the process that submits them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from wandbsweep.errors import SweepError
from wandbsweep.launchers import LAUNCHERS, find_profile

_DONE = "submitted"
"""What the submitting child writes to its pipe on success."""


class _SubmittedError(Exception):
    """All jobs are submitted, and the launcher asks for their results."""


def refuse_undetachable(launcher: str) -> None:
    """Raise SweepError if the jobs of the launcher with the class ``launcher`` end with the launching process."""
    if not find_profile(launcher).detachable:
        detachable = " and ".join(f"hydra/launcher={profile.name}" for profile in LAUNCHERS if profile.detachable)
        raise SweepError(
            f"hydra.sweeper.detach=true: {launcher} ends the agents together with this process. The launchers that "
            f"can be left are {detachable}, and configurations based on them, such as hydra/launcher=slurm_gpu."
        )


def submit_only(launch: Callable[[], Any]) -> None:
    """Call ``launch``, which submits jobs and waits for them, but return as soon as they are submitted.

    It is called in a child process that has its own session, so that local jobs survive Ctrl-C and the end of the
    terminal.

    Raises:
        SweepError: ``launch`` failed; the message quotes the launcher's.
    """
    # Otherwise the child would write our buffers a second time.
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _submit_and_exit(launch, writer)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as pipe:
        answer = pipe.read()  # until the child has ended, in whatever way
    os.waitpid(child, 0)
    if answer != _DONE:
        raise SweepError(f"The agents could not be submitted: {answer or 'the launcher died'}")


def _submit_and_exit(launch: Callable[[], Any], writer: int) -> NoReturn:
    answer = ""
    try:
        os.setsid()
        _raise_when_submitted()
        launch()
    except _SubmittedError:
        answer = _DONE
    except BaseException as error:  # this child ends here, whatever it was
        answer = " ".join(f"{type(error).__name__}: {error}".split())
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(writer, answer.encode())
    os._exit(0)  # without running the parent's exit handlers


def _raise_when_submitted() -> None:
    """Raise _SubmittedError when a launcher asks for results: Hydra's submitit launchers submit all jobs first."""
    from submitit import Job

    def results(job: Any) -> NoReturn:
        raise _SubmittedError

    # Neither submitit nor Hydra's launchers can submit and not wait. The method is replaced in a child that ends soon.
    setattr(Job, "results", results)  # noqa: B010  mypy refuses an assignment
