"""How long a trial's imports take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from wandbsweep.process_state.imports import watch_imports


@contextmanager
def time_imports() -> Iterator[dict[str, float]]:
    """Yield the seconds that importing each module takes in a ``with`` block, with what that imports in turn.

    Only modules that are not loaded yet cost anything here, and only imports of this thread count.
    """
    seconds: dict[str, float] = {}
    thread = threading.get_ident()

    @contextmanager
    def time_import(name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            if threading.get_ident() == thread:
                seconds[name] = seconds.get(name, 0.0) + time.monotonic() - began

    with watch_imports(time_import):
        yield seconds
