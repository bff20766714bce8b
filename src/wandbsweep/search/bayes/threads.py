"""Limits BLAS to one thread while the model computes.

The model's matrices are small. Several threads that wait for each other on busy cores turn milliseconds into seconds.
"""

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
    """Limit BLAS to one thread. The limit is the whole process's: the first caller sets it, the last one removes it."""
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
    """Return the controller, cached: it looks through all libraries of the process, which takes a while."""
    return ThreadpoolController()
