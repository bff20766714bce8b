"""Setting environment variables for a while."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def restore_variables(names: Collection[str]) -> Iterator[None]:
    """Restore the present values of the environment variables ``names`` after a ``with`` block."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def set_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a ``with`` block, for the whole process: two threads must not use it at once."""
    with restore_variables(variables.keys()):
        os.environ.update(variables)
        yield
