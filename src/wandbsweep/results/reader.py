"""A sweep read from its store, again and again where somebody watches it, and then no more than is new."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.results.sweep_results import SweepResults
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.journal_reader import JOURNAL, JournalReader
from wandbsweep.storage.json_codec import unpacked
from wandbsweep.sweep.directory import find_sweep, locate_storage, read_spec
from wandbsweep.sweep.launch_record import STUDY, LaunchRecord

if TYPE_CHECKING:
    from wandbsweep.storage.journal_reader import Attempt, Reader

_OPENING_S = 5.0
"""How long to wait for a database, in seconds: a wrong address is to be told soon."""


@dataclass(frozen=True)
class Stored:
    """What a store holds beyond the trials as they stand."""

    ledger: TrialTable
    attributes: Mapping[str, Any]
    """Of the study."""
    attempts: Sequence[Attempt]
    """All of them, those included that won nothing, in the order of their creation."""
    in_database: bool


class SweepReader:
    """Reads the sweep that ``ref`` names: see ``open_sweep``."""

    def __init__(self, ref: str | os.PathLike[str]) -> None:
        self._ref = ref
        self._source: _Source | None = None

    def read(self) -> SweepResults:
        """The sweep as it stands now."""
        with _uncollected():
            return self._read()

    def _read(self) -> SweepResults:
        from wandbsweep.results.hosted import PREFIX, is_hosted, open_hosted_sweep, read_hosted

        text = os.fspath(self._ref)
        if text.startswith(PREFIX):
            return open_hosted_sweep(text)
        if "://" in text and "#" in text:
            url, _, study = text.rpartition("#")
            source = self._refreshed(None, url, study)
            spec, directory = _origin(source, study)
            plan = LaunchRecord.load_if_exists(directory)
        else:
            directory = find_sweep(self._ref)
            spec, plan = read_spec(directory), LaunchRecord.load_if_exists(directory)
            if is_hosted(directory):
                return SweepResults(directory, spec, read_hosted(directory, spec), plan)
            source = self._refreshed(directory, *locate_storage(directory, plan))
        stored = source.stored(spec.goal)
        return SweepResults(directory, spec, stored.ledger.records(), plan, stored)

    def _refreshed(self, directory: Path | None, url: str | None, study: str) -> _Source:
        where = (directory, url, study)
        if self._source is None or self._source.where != where or self._source.reader.is_another():
            self._source = _Source(where)
        self._source.refresh()
        return self._source


class _Source:
    """One store, and all that was read from it."""

    def __init__(self, where: tuple[Path | None, str | None, str]) -> None:
        self.where = where
        directory, url, study = where
        self.reader: Reader
        if url is None:
            assert directory is not None
            self.reader = JournalReader(directory / JOURNAL, STUDY)
        else:
            from wandbsweep.storage.database_reader import DatabaseReader

            self.reader = DatabaseReader(url, study, wait_s=_OPENING_S)
        self._ledger: TrialTable | None = None
        self._attempts: dict[int, Attempt] = {}
        self._fresh: list[Attempt] = []

    def refresh(self) -> None:
        self._fresh += self.reader.changes()

    def stored(self, goal: str) -> Stored:
        if self._ledger is None or self._ledger.goal != goal:
            self._ledger = TrialTable(goal)
            self._fresh = [*self._attempts.values(), *self._fresh]
        self._ledger.update(self._fresh)
        self._attempts |= {attempt._trial_id: attempt for attempt in self._fresh}
        self._fresh = []
        return Stored(
            self._ledger, dict(self.reader.attributes), list(self._attempts.values()), self.where[1] is not None
        )


def _origin(source: _Source, study: str) -> tuple[SweepSpec, Path]:
    """The configuration and the directory of a sweep of which nothing is known but its store."""
    from wandbsweep.storage.open import ORIGIN

    attributes = source.reader.attributes
    if not attributes:
        names = ", ".join(source.reader.others()) or "none"
        raise SweepDirectoryError(f"The database holds no sweep {study!r}; it holds {names}.")
    if ORIGIN not in attributes:
        raise SweepDirectoryError(f"The study {study!r} was not made by wandbsweep.")
    origin = attributes[ORIGIN]
    return load_sweep(unpacked(origin["config"])), Path(origin["directory"] or study)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the garbage collector, which would go through a hundred thousand new objects again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
