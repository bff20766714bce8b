"""Watching what importing modules does."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


@contextmanager
def watch_imports(around: Callable[[str], AbstractContextManager[object]]) -> Iterator[None]:
    """For a ``with`` block, import each module within the context that ``around`` returns for its name.

    Modules that are loaded already are not watched, nor those that a module imports in turn. The function that is
    wrapped has no public name; both ``import`` and ``importlib.import_module`` look it up for each new module.
    """
    bootstrap: Any = importlib._bootstrap
    find_and_load = bootstrap._find_and_load
    state = threading.local()
    watching = True

    def find_and_load_watched(name: str, *arguments: Any) -> Any:
        if getattr(state, "nested", False) or not watching:
            return find_and_load(name, *arguments)
        state.nested = True
        try:
            with around(name):
                return find_and_load(name, *arguments)
        finally:
            state.nested = False

    bootstrap._find_and_load = find_and_load_watched
    try:
        yield
    finally:
        watching = False
        if bootstrap._find_and_load is find_and_load_watched:  # otherwise another thread watches by now
            bootstrap._find_and_load = find_and_load
