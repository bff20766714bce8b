"""The records of Optuna's journal: how they are written, and the studies and attempts that result from them.

Optuna's ``JournalStorage`` defines what the records mean. It is not used here, because ten thousand of its objects take
seconds to build, and because it does not tell which attempts a record changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.storage.base import AttemptState, NewAttempt, StoredAttempt
from wandbsweep.storage.optuna_private import Operation

JOURNAL = "journal.log"
"""The journal's name in a sweep's directory."""

Record = dict[str, Any]

_CREATION = b'{"op_code":%d,' % Operation.CREATE_TRIAL


def make_record(operation: Operation, **fields: Any) -> Record:
    return {"op_code": operation, **fields}


def make_creation(study: int, new: NewAttempt) -> Record:
    """Return the record that creates an attempt, with all the fields that Optuna writes."""
    return make_record(
        Operation.CREATE_TRIAL,
        study_id=study,
        datetime_start=format_now(),
        state=AttemptState.RUNNING,
        value=None,
        values=None,
        distributions={name: param.distribution for name, param in new.params.items()},
        params={name: param.value for name, param in new.params.items()},
        user_attrs={},
        system_attrs=dict(new.attributes),
        intermediate_values=dict(new.reports),
    )


def to_line(record: Record) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def format_now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="microseconds")


def count_creations(lines: bytes, study: int) -> int:
    """Return how many attempts of ``study`` some lines create. This is far faster than parsing them."""
    of_study = b'"study_id":%d,' % study
    return sum(line.startswith(_CREATION) and of_study in line for line in lines.splitlines())


@dataclass
class Study:
    """A study, and the keys of its attempts."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict)
    attempts: set[int] = field(default_factory=set)


class Replay:
    """The studies and attempts that the records so far result in.

    An attempt whose key ``take_changed`` returned never changes: the next record about it makes a copy.
    """

    def __init__(self) -> None:
        self.studies: dict[int, Study] = {}
        self.attempts: list[StoredAttempt] = []
        """By key."""
        self._studies_created = 0
        self._changed: set[int] = set()

    def find_study(self, name: str) -> int | None:
        return next((key for key, study in self.studies.items() if study.name == name), None)

    def take_changed(self) -> set[int]:
        """Return the keys of the attempts that were created or written to since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def list_attempts(self, study: int, keys: set[int]) -> list[StoredAttempt]:
        """Return those attempts of a study that ``keys`` names, by key."""
        return [self.attempts[key] for key in sorted(self.studies[study].attempts & keys)]

    def apply_all(self, records: Iterable[Record], path: Path) -> list[int | None]:
        """Return what ``apply`` returns for each record. Raises SweepDirectoryError if one is not a record of Optuna's.

        ``path`` names the journal in the message.
        """
        try:
            return [self.apply(record) for record in records]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise SweepDirectoryError(f"{path}: the journal is damaged: it is not one of Optuna's.") from None

    def apply(self, record: Mapping[str, Any]) -> int | None:
        """Apply a record.

        Returns:
            The key of the study or the attempt that it is about; None if it has no effect, because that does not exist
            or is closed, the name of a new study is taken, or it is about something that is not kept here.
        """
        operation = record["op_code"]
        if operation == Operation.CREATE_TRIAL:
            return self._create_attempt(record)
        if operation == Operation.CREATE_STUDY:
            return self._create_study(record["study_name"])
        if "trial_id" in record:
            return self._write_to_attempt(operation, record)
        study = self.studies.get(record.get("study_id", -1))
        if study is None:
            return None
        if operation == Operation.SET_STUDY_SYSTEM_ATTR:
            study.attributes.update(record["system_attr"])
        elif operation == Operation.DELETE_STUDY:
            del self.studies[record["study_id"]]
        return int(record["study_id"])

    def _create_study(self, name: str) -> int | None:
        if self.find_study(name) is not None:
            return None
        key = self._studies_created
        self.studies[key] = Study(name)
        self._studies_created += 1
        return key

    def _create_attempt(self, record: Mapping[str, Any]) -> int | None:
        study = self.studies.get(record["study_id"])
        if study is None:
            return None
        key = len(self.attempts)
        attempt = StoredAttempt(
            key,
            AttemptState(record.get("state", AttemptState.RUNNING)),
            _parse_moment(record.get("datetime_start")),
            _parse_moment(record.get("datetime_complete")),
            record.get("system_attrs", {}),
            {int(step): value for step, value in record.get("intermediate_values", {}).items()},
        )
        self.attempts.append(attempt)
        self._changed.add(key)
        study.attempts.add(key)
        return key

    def _write_to_attempt(self, operation: int, record: Mapping[str, Any]) -> int | None:
        key: int = record["trial_id"]
        if not 0 <= key < len(self.attempts) or self.attempts[key].closed:
            return None
        if key not in self._changed:
            self._changed.add(key)
            self.attempts[key] = self.attempts[key].copy()
        attempt = self.attempts[key]
        if operation == Operation.SET_TRIAL_INTERMEDIATE_VALUE:
            attempt.reports[record["step"]] = record["intermediate_value"]
        elif operation == Operation.SET_TRIAL_SYSTEM_ATTR:
            attempt.attributes.update(record["system_attr"])
        elif operation == Operation.SET_TRIAL_STATE_VALUES:
            _set_state(attempt, record)
        return key


def _set_state(attempt: StoredAttempt, record: Mapping[str, Any]) -> None:
    state = AttemptState(record["state"])
    if state is AttemptState.RUNNING and attempt.state is not state:
        attempt.started = _parse_moment(record["datetime_start"])
    if state.closed:
        attempt.ended = _parse_moment(record["datetime_complete"])
    attempt.state = state


def _parse_moment(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
