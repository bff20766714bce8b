"""The journal: ours and Optuna's own storage on one file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import json_to_distribution
from optuna.storages import JournalStorage as OptunaJournalStorage
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase as OptunaStorageTestCase
from optuna.trial import FrozenTrial, TrialState

from tests.storage.conformance import NEW, PARAM, Open, StorageTestCase, create
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.storage.append_log import AppendLog, MemoryLog, parse_lines
from wandbsweep.storage.base import NewAttempt
from wandbsweep.storage.journal import JournalStorage
from wandbsweep.storage.journal_records import JOURNAL
from wandbsweep.storage.open import open_storage
from wandbsweep.storage.optuna_backend import OptunaBackend


class TestJournal(StorageTestCase):
    @pytest.fixture
    def open(self, tmp_path: Path) -> Open:
        return lambda: open_storage(tmp_path)


class TestOptunasStorageOnTheFile(OptunaStorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> OptunaJournalStorage:
        return OptunaJournalStorage(OptunaBackend(AppendLog(tmp_path / JOURNAL)))


class TestOptunasStorageInMemory(OptunaStorageTestCase):
    @pytest.fixture
    def storage(self) -> OptunaJournalStorage:
        return OptunaJournalStorage(OptunaBackend(MemoryLog()))

    test_pickle_storage = None  # memory cannot be shared by pickling


def test_records_are_those_of_optuna(tmp_path: Path) -> None:
    """The same calls write the same lines, but for the writer and the time."""
    ours, theirs = AppendLog(tmp_path / "ours"), AppendLog(tmp_path / "theirs")
    storage = JournalStorage(ours, None)
    study = storage.create_study("sweep", ["minimize"])
    assert study is not None
    storage.set_study_attribute(study, "a", 1)
    key = create(storage, study, NewAttempt({"a": [1]}, {2: 0.5}, {"x": PARAM}))
    storage.report(key, 3, float("nan"))
    storage.set_params(key, {"b": None}, {"x": PARAM})
    storage.close_attempt(key, storage.read_attempt(key).state.COMPLETE, [0.5])

    optuna = OptunaJournalStorage(OptunaBackend(theirs))
    assert optuna.create_new_study([StudyDirection.MINIMIZE], "sweep") == study
    optuna.set_study_system_attr(study, "a", 1)
    distribution = json_to_distribution(PARAM.distribution)
    template = FrozenTrial(
        number=-1,
        trial_id=-1,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=None,
        datetime_complete=None,
        params={"x": 0.25},
        distributions={"x": distribution},
        user_attrs={},
        system_attrs={"a": [1]},
        intermediate_values={2: 0.5},
    )
    assert optuna.create_new_trial(study, template) == key
    optuna.set_trial_intermediate_value(key, 3, float("nan"))
    optuna.set_trial_system_attr(key, "b", None)
    optuna.set_trial_param(key, "x", 0.25, distribution)
    optuna.set_trial_state_values(key, TrialState.COMPLETE, [0.5])

    def normalize(record: dict[str, Any]) -> list[tuple[str, str]]:
        varying = {"worker_id", "datetime_start", "datetime_complete"}
        return [(name, "" if name in varying else repr(value)) for name, value in record.items()]

    one, other = (list(map(normalize, parse_lines(log.read(), log.path))) for log in (ours, theirs))
    assert len(one) == 7
    assert one == other


def test_others_can_write_while_what_was_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing takes much longer than appending, so the file's lock is not held meanwhile."""
    storage = open_storage(tmp_path)
    study = storage.create_study("sweep", ["minimize"])
    assert study is not None
    assert isinstance(storage, JournalStorage)
    catch_up, written = storage._catch_up, threading.Event()

    def catch_up_after_another_wrote() -> list[int | None]:
        late = threading.Thread(target=create, args=(open_storage(tmp_path), study), daemon=True)
        late.start()
        late.join(30)
        assert not late.is_alive()
        written.set()
        return catch_up()

    monkeypatch.setattr(storage, "_catch_up", catch_up_after_another_wrote)
    create(storage, study)
    assert written.is_set()


def test_params_are_appended_at_once(tmp_path: Path) -> None:
    """However many there are: hundreds of agents wait for the same file."""
    appended: list[int] = []

    class CountingLog(AppendLog):
        def append(self, lines: bytes) -> None:
            appended.append(lines.count(b"\n"))
            super().append(lines)

    storage = JournalStorage(CountingLog(tmp_path / JOURNAL), None)
    study = storage.create_study("sweep", ["minimize"])
    assert study is not None
    key = create(storage, study)
    appended.clear()
    storage.set_params(key, {"a": 1}, {"x": PARAM, "y": PARAM})
    assert appended == [3]


def test_a_log_is_one_line_whatever_it_holds(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    study = storage.create_study("sweep", ["minimize"])
    assert study is not None
    text = "a\nb\u2028c\ud800"
    storage.set_study_attribute(study, "text", text)
    assert len((tmp_path / JOURNAL).read_bytes().splitlines()) == 2
    assert open_storage(tmp_path).read_study_attributes(study) == {"text": text}


def test_logs_can_be_read_again_from_any_number(tmp_path: Path) -> None:
    backend = OptunaBackend(AppendLog(tmp_path / JOURNAL))
    backend.append_logs([{"n": n} for n in range(5)])
    assert [log["n"] for log in backend.read_logs(3)] == [3, 4]
    assert [log["n"] for log in backend.read_logs(1)] == [1, 2, 3, 4]
    assert list(backend.read_logs(5)) == []


@pytest.mark.parametrize("line", [b"}{", b"3", b"[]", b"{}", b'{"op_code": 4}'])
def test_a_damaged_journal(tmp_path: Path, line: bytes) -> None:
    storage = open_storage(tmp_path)
    study = storage.create_study("sweep", ["minimize"])
    assert study is not None
    create(storage, study, NEW)
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(line + b"\n")
    with pytest.raises(SweepDirectoryError, match="the journal is damaged"):
        open_storage(tmp_path).find_study("sweep")
