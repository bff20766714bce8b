"""Opening a storage: a new backend is a module and a line in a table."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from wandbsweep.storage import journal
from wandbsweep.storage import open as open_module
from wandbsweep.storage.database import DatabaseStorage
from wandbsweep.storage.journal import JournalStorage
from wandbsweep.storage.journal_records import JOURNAL
from wandbsweep.storage.open import open_reader, open_storage


def test_the_place_decides_the_backend(tmp_path: Path) -> None:
    in_memory, in_file = open_storage(None), open_storage(tmp_path)
    in_database = open_storage(tmp_path, f"sqlite:///{tmp_path}/sweep.db")
    assert (in_memory.addressable, in_file.addressable, in_database.addressable) == (False, False, True)
    assert isinstance(in_file, JournalStorage)
    assert isinstance(in_database, DatabaseStorage)
    assert in_memory.create_study("sweep", ["minimize"]) == in_file.create_study("sweep", ["minimize"]) == 0
    assert (tmp_path / JOURNAL).exists()
    in_database.close()


def test_a_backend_of_another_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = types.ModuleType("toy_backend")
    toy.open_storage = lambda directory, url, *, wait_s: journal.open_storage(directory, url, wait_s=wait_s)  # type: ignore[attr-defined]
    toy.open_reader = lambda directory, url, study, *, wait_s: (url, study)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_backend", toy)
    monkeypatch.setitem(open_module.BACKENDS, "toy", "toy_backend")
    assert open_storage(None, "toy://here").find_study("sweep") is None
    assert open_reader(None, "sweep", "toy://here") == ("toy://here", "sweep")  # type: ignore[comparison-overlap]
