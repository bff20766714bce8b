"""Opening a sweep's storage, for agents or for reading only.

A new backend is a module with ``open_storage`` and ``open_reader`` (see ``Backend``) and a line in ``BACKENDS``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from wandbsweep.storage.base import Reader, Storage

OPENING_S = 5.0
"""How long to wait for a database at opening, in seconds. It is short, so that a wrong address is reported soon."""

BACKENDS = {"journal": "wandbsweep.storage.journal"}
"""The module of each backend by the scheme of its URLs. Without a URL, ``journal`` is used."""

DATABASE = "wandbsweep.storage.database"
"""The backend of all other URLs, which SQLAlchemy interprets."""


class Backend(Protocol):
    """What the module of a backend defines."""

    def open_storage(self, directory: Path | None, url: str, *, wait_s: float) -> Storage:
        """Open the storage, and create it if there is none."""

    def open_reader(self, directory: Path | None, url: str, study: str, *, wait_s: float) -> Reader:
        """Open a study for reading. Creates nothing."""


def open_storage(directory: Path | None, url: str | None = None, *, wait_s: float = OPENING_S) -> Storage:
    """Open a storage.

    Args:
        directory: The sweep's directory, which holds its journal if ``url`` is None. None: in memory.
        url: A database's address.
        wait_s: How long to wait if the database cannot be reached, in seconds.

    Raises:
        SweepDirectoryError: The storage cannot be opened.
    """
    url = url or "journal://"
    return _import_backend(url).open_storage(directory, url, wait_s=wait_s)


def open_reader(directory: Path | None, study: str, url: str | None = None, *, wait_s: float = OPENING_S) -> Reader:
    """Open a study for reading only.

    Args:
        directory: The sweep's directory, which holds its journal if ``url`` is None.
        study: The study's name.
        url: A database's address.
        wait_s: How long to wait if the database cannot be reached, in seconds.
    """
    url = url or "journal://"
    return _import_backend(url).open_reader(directory, url, study, wait_s=wait_s)


def _import_backend(url: str) -> Backend:
    scheme = url.partition("://")[0]
    return cast(Backend, import_module(BACKENDS.get(scheme, DATABASE)))
