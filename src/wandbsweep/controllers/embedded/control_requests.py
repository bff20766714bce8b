"""What somebody orders a sweep from outside: to pause, to go on, to stop, to cancel what runs."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wandbsweep.storage.open import Store

ORDER = "wandbsweep:order"
"""The study's attribute that says which of ``ORDERS`` stands; none: ``running``."""
ORDERS = ("running", "paused", "stopped", "cancelled")

_AGE_S = 1.0  # of what is still new enough for a trial that reports


class Orders:
    """Those of one study."""

    def __init__(self, storage: Store, study: int) -> None:
        self._storage = storage
        self._study = study
        self.last = "running"
        """What stood when it was last read."""
        self._read_at = -math.inf

    def read(self) -> str:
        self.last = self._storage.study_attributes(self._study, ORDER).get(ORDER, "running")
        self._read_at = time.monotonic()
        return self.last

    def recent(self) -> str:
        """As it stood a second ago at most."""
        return self.last if time.monotonic() - self._read_at < _AGE_S else self.read()

    def give(self, order: str) -> None:
        if order not in ORDERS:
            raise ValueError(f"The order is {order!r}, but must be one of {', '.join(ORDERS)}")
        self._storage.set_study_system_attr(self._study, ORDER, order)
        self._read_at = -math.inf
