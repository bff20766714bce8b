"""PostgreSQL and MariaDB read without Optuna's objects: the same as Optuna makes of them."""

from __future__ import annotations

import random

import pytest
from optuna.study import StudyDirection

from tests.services.fixtures import Database
from tests.storage.test_readers import disturb, told
from wandbsweep.storage.database_reader import DatabaseReader
from wandbsweep.storage.open import open_storage


@pytest.fixture(params=["postgres", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(request.param)
    return found


def test_it_reads_what_optuna_reads(database: Database) -> None:
    storage = open_storage(None, database.url)
    study = storage.create_new_study([StudyDirection.MINIMIZE], "one")
    reader = DatabaseReader(database.url, "one", wait_s=5)
    known = {}
    for seed in range(3):
        disturb(storage, [study], random.Random(seed), 15)
        known |= {attempt._trial_id: attempt for attempt in reader.changes()}
        assert list(map(told, known.values())) == list(map(told, storage.get_all_trials(study)))
        assert reader.attributes == storage.get_study_system_attrs(study)
    storage.remove_session()
