"""How long a trial's imports take."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def time_imports() -> Iterator[dict[str, float]]:
    """Yield the seconds that importing each module takes in a ``with`` block, with what that imports in turn.

    Only modules that are not loaded yet cost anything here. The function that is wrapped has no public name; both
    ``import`` and ``importlib.import_module`` look it up for each of these.
    """
    seconds: dict[str, float] = {}
    bootstrap: Any = importlib._bootstrap
    find_and_load = bootstrap._find_and_load
    state = threading.local()

    def find_and_load_timed(name: str, *arguments: Any) -> Any:
        if getattr(state, "nested", False):
            return find_and_load(name, *arguments)
        state.nested, began = True, time.monotonic()
        try:
            return find_and_load(name, *arguments)
        finally:
            state.nested = False
            seconds[name] = seconds.get(name, 0.0) + time.monotonic() - began

    bootstrap._find_and_load = find_and_load_timed
    try:
        yield seconds
    finally:
        bootstrap._find_and_load = find_and_load
