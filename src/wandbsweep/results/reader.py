"""``SweepReader``: reads a stored sweep, and when it is called again only the changes since then."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wandbsweep.controllers.embedded.study import FORGIVEN, ORIGIN
from wandbsweep.controllers.hosted.decode import PREFIX
from wandbsweep.controllers.hosted.log import HOSTED_LOG, HostedLog
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.results.hosted import read_wandb_sweep
from wandbsweep.results.sweep_data import StoredSweep, SweepData
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.base import StoredAttempt
from wandbsweep.storage.json_codec import decode_json
from wandbsweep.storage.open import open_reader
from wandbsweep.sweep.directory import find_sweep, locate_storage, read_spec
from wandbsweep.sweep.launch_record import LaunchRecord


@contextmanager
def _pause_garbage_collection() -> Iterator[None]:
    """Turn the garbage collector off, which would traverse a hundred thousand new objects again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class SweepReader:
    """Reads one sweep, as often as needed. Each reading takes time only for what is new."""

    def __init__(self, ref: str | os.PathLike[str]) -> None:
        """``ref`` names the sweep as in ``open_sweep``."""
        self._ref = ref
        self._source: _Source | None = None

    @_pause_garbage_collection()
    def read(self) -> SweepData:
        """Return the sweep as it is now.

        Raises:
            SweepDirectoryError: If there is no such sweep, or it is damaged.
        """
        text = os.fspath(self._ref)
        if text.startswith(PREFIX):
            return read_wandb_sweep(text)
        if "://" in text and "#" in text:
            url, _, study = text.rpartition("#")
            source = self._refresh_source(None, url, study)
            spec, directory = _read_origin(source, study)
            record = LaunchRecord.load_if_exists(directory)
        else:
            directory = find_sweep(self._ref)
            spec, record = read_spec(directory), LaunchRecord.load_if_exists(directory)
            if (directory / HOSTED_LOG).exists():  # W&B's servers control it; our agents ran these trials of it
                return _read_hosted_log(directory, spec, record)
            source = self._refresh_source(directory, *locate_storage(directory, record))
        stored = source.build_stored_sweep(spec)
        return SweepData(directory, spec, stored.table.records(), record, stored)

    def _refresh_source(self, directory: Path | None, url: str | None, study: str) -> _Source:
        """Return the source with everything that is stored by now.

        A sweep's location can change between two readings: it may be deleted and started again in another storage, or
        in another file of the same name. Then everything is read from the beginning.
        """
        location = (directory, url, study)
        if self._source is None or self._source.location != location or self._source.reader.is_replaced():
            self._source = _Source(location)
        self._source.refresh()
        return self._source


class _Source:
    """One storage, and everything that was read from it."""

    def __init__(self, location: tuple[Path | None, str | None, str]) -> None:
        self.location = location
        directory, url, study = location
        self.reader = open_reader(directory, study, url)
        self._table: TrialTable | None = None
        self._attempts: dict[int, StoredAttempt] = {}
        self._unapplied: list[StoredAttempt] = []
        """Read, but not in the table yet: the table needs the sweep's goal, which may have to be read first."""

    def refresh(self) -> None:
        self._unapplied += self.reader.changes()

    def build_stored_sweep(self, spec: SweepSpec) -> StoredSweep:
        if self._table is None or (self._table.goal, self._table.rule) != (spec.goal, spec.value_rule):
            self._table = TrialTable(spec.goal, spec.value_rule)
            self._unapplied = [*self._attempts.values(), *self._unapplied]
        self._table.update(self._unapplied)
        self._attempts |= {attempt.key: attempt for attempt in self._unapplied}
        self._unapplied = []
        attributes, attempts = dict(self.reader.attributes), list(self._attempts.values())
        return StoredSweep(self._table, attributes, attempts, self.reader.read_last_heartbeat())


def _read_hosted_log(directory: Path, spec: SweepSpec, record: LaunchRecord | None) -> SweepData:
    log = HostedLog(directory / HOSTED_LOG, spec)
    with log.reading() as table:
        stored = StoredSweep(table, {FORGIVEN: log.forgiven}, [], None)
        return SweepData(directory, spec, table.records(), record, stored)


def _read_origin(source: _Source, study: str) -> tuple[SweepSpec, Path]:
    """Return the specification and the directory of a sweep that is named by its database alone."""
    attributes = source.reader.attributes
    if not attributes:
        names = ", ".join(source.reader.list_studies()) or "none"
        raise SweepDirectoryError(f"The database holds no sweep {study!r}; it holds {names}.")
    if ORIGIN not in attributes:
        raise SweepDirectoryError(f"The study {study!r} was not made by wandbsweep.")
    origin = attributes[ORIGIN]
    return load_sweep(decode_json(origin["config"])), Path(origin["directory"] or study)
