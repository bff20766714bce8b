"""Lets submitit's launchers wait for all their jobs, also if one of them is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True)
class LostJob:
    """What a launcher returns for a job that was killed."""

    error: Exception

    @property
    def return_value(self) -> NoReturn:
        raise self.error


@contextmanager
def await_all_jobs() -> Iterator[None]:
    """Have submitit's launchers return a ``LostJob`` for each job that was killed, instead of raising its error.

    They would raise at the first one, while others run or wait in the scheduler's queue. Jobs that wait there own no
    trial and no lease, so nothing else says that they are still to come.
    """
    from submitit import Job

    results = Job.results

    def return_lost(job: Any) -> list[Any]:
        try:
            return results(job)
        except Exception as error:
            return [LostJob(error)]

    setattr(Job, "results", return_lost)  # noqa: B010  mypy refuses an assignment
    try:
        yield
    finally:
        setattr(Job, "results", results)  # noqa: B010
