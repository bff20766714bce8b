"""One BLAS thread while the model thinks: its matrices are small, and threads that wait for one another on cores that
others keep busy turn milliseconds into seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # it has no types

_lock = threading.Lock()
_inside = 0
_limit = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """The limit is the process's own, so of several threads inside the first sets it and the last takes it back."""
    global _inside, _limit
    with _lock:
        if not _inside:
            _limit = _controller().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _limit is not None:
                _limit.restore_original_limits()
                _limit = None


@cache
def _controller() -> ThreadpoolController:
    """Cached, for looking through a process's libraries takes a while."""
    return ThreadpoolController()
