"""The storage in memory."""

from __future__ import annotations

import pytest

from tests.storage.conformance import Open, StorageTestCase
from wandbsweep.storage.open import open_storage


class TestMemory(StorageTestCase):
    @pytest.fixture
    def open(self) -> Open:
        storage = open_storage(None)
        return lambda: storage
