"""Stores read without Optuna's objects: the same attempts as Optuna makes of them, and only what is new each time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from wandbsweep import SweepDirectoryError
from wandbsweep.storage.database_reader import DatabaseReader
from wandbsweep.storage.journal_reader import JOURNAL, JournalReader, Reader
from wandbsweep.storage.open import open_storage

Opened = tuple[BaseStorage, Callable[[str], Reader]]


@pytest.fixture(params=["journal", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """A storage of Optuna's, and what makes a reader of a study in it."""
    if request.param == "journal":
        return open_storage(tmp_path), lambda name: JournalReader(tmp_path / JOURNAL, name)
    url = f"sqlite:///{tmp_path}/store.db"
    return open_storage(None, url), lambda name: DatabaseReader(url, name, wait_s=1)


def begun(state: TrialState = TrialState.RUNNING, **attributes: Any) -> FrozenTrial:
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=None,
        datetime_start=datetime.now(),
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs=attributes,
        intermediate_values={3: 0.5},
    )


def disturb(storage: BaseStorage, studies: list[int], rng: random.Random, times: int) -> None:
    """What agents do, and what they should not."""
    for at in range(times):
        study = rng.choice(studies)
        made = [trial._trial_id for trial in storage.get_all_trials(study)]
        key = rng.choice(made) if made else -1
        what = rng.choice(["create", "report", "report", "attribute", "study", "close"])
        try:
            if what == "create" or key < 0:
                storage.create_new_trial(study, template_trial=begun(claim={"agent": "ä", "number": at}))
            elif what == "report":
                value = rng.choice([0.25, -1e-9, math.nan, math.inf, -math.inf, 1e300])
                storage.set_trial_intermediate_value(key, rng.randrange(4), value)
            elif what == "attribute":
                storage.set_trial_system_attr(key, rng.choice("ab"), {"at": [at, None, "x\n\u2028y", 1.5]})
            elif what == "study":
                storage.set_study_system_attr(study, rng.choice("cd"), at)
            else:
                state = rng.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
                storage.set_trial_state_values(key, state, [1.0] if state is TrialState.COMPLETE else None)
        except UpdateFinishedTrialError:
            pass


def told(attempt: Any) -> tuple[Any, ...]:
    moments = [moment and moment.timestamp() for moment in (attempt.datetime_start, attempt.datetime_complete)]
    reports = {step: repr(value) for step, value in attempt.intermediate_values.items()}  # NaN is itself
    return attempt._trial_id, attempt.state.name, dict(attempt.system_attrs), reports, moments


@pytest.mark.parametrize("seed", range(3))
def test_it_reads_what_optuna_reads(opened: Opened, seed: int) -> None:
    storage, reader_of = opened
    rng = random.Random(seed)
    studies = [storage.create_new_study([StudyDirection.MINIMIZE], name) for name in ("one", "two")]
    readers = {name: reader_of(name) for name in ("one", "two")}
    known: dict[str, dict[int, Any]] = {"one": {}, "two": {}}
    for _ in range(4):
        disturb(storage, studies, rng, 15)
        for study, (name, reader) in zip(studies, readers.items(), strict=True):
            before = {key: told(attempt) for key, attempt in known[name].items()}
            changed = reader.changes()
            assert {key: told(attempt) for key, attempt in known[name].items()} == before  # those are as they were
            known[name] |= {attempt._trial_id: attempt for attempt in changed}
            stored = storage.get_all_trials(study)
            assert list(map(told, known[name].values())) == list(map(told, stored))
            assert reader.attributes == storage.get_study_system_attrs(study)
    assert not {key for key, attempt in known["one"].items() if attempt.state.is_finished()} & {
        attempt._trial_id for attempt in readers["one"].changes()
    }
    assert readers["one"].others() == ["one", "two"]
    storage.remove_session()


def test_a_study_that_is_not_there(opened: Opened) -> None:
    storage, reader_of = opened
    assert list(reader_of("none").changes()) == []
    assert reader_of("none").attributes == {}
    storage.remove_session()


def test_looking_makes_nothing(tmp_path: Path) -> None:
    for reader in (
        JournalReader(tmp_path / JOURNAL, "sweep"),
        DatabaseReader(f"sqlite:///{tmp_path}/none.db", "x", wait_s=0),
    ):
        assert (list(reader.changes()), list(reader.others()), reader.attributes) == ([], [], {})
    assert list(tmp_path.iterdir()) == []


def test_tables_of_another_version(tmp_path: Path) -> None:
    import sqlite3

    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE studies (study_id INTEGER, name TEXT)")
    connection.close()
    with pytest.raises(SweepDirectoryError, match=r"Cannot read sqlite:///.*/other.db: no such column"):
        DatabaseReader(f"sqlite:///{file}", "x", wait_s=0).changes()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x", "connection failed: .*refused"),
        ("nosuch://u:secret@127.0.0.1:1/x", "Can't load plugin"),
        ("sqlite:///nowhere/", "unable to open database file"),
    ],
)
def test_what_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(SweepDirectoryError, match=rf"Cannot read .*: {reason}") as told:
        DatabaseReader(url, "x", wait_s=0).changes()
    assert "secret" not in str(told.value)


def test_a_line_that_is_being_written(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.create_new_study([StudyDirection.MINIMIZE], "sweep")
    storage.set_study_system_attr(0, "a", 1)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    reader = JournalReader(path, "sweep")
    reader.changes()
    assert reader.attributes == {}
    path.write_bytes(whole)
    reader.changes()
    assert reader.attributes == {"a": 1}
    assert not reader.is_another()
    path.write_bytes(whole[:10])
    assert reader.is_another()


@pytest.mark.parametrize("line", [b"}{", b"3", b"[]", b"{}", b'{"op_code": 4}'])
def test_a_damaged_journal(tmp_path: Path, line: bytes) -> None:
    open_storage(tmp_path).create_new_study([StudyDirection.MINIMIZE], "sweep")
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(line + b"\n")
    with pytest.raises(SweepDirectoryError, match="the journal is damaged"):
        JournalReader(tmp_path / JOURNAL, "sweep").changes()
