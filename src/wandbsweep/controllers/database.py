"""A database as a sweep's store, through Optuna's tables."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, get_storage

from wandbsweep.errors import SweepDirectoryError

_PATIENCE_S = 300.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0

# The drivers that we install, for those who name a database only.
_DRIVERS = {"postgresql": ("psycopg2", "psycopg"), "mysql": ("MySQLdb", "pymysql"), "mariadb": ("MySQLdb", "pymysql")}

ENVIRONMENT = re.compile(r"\$\{oc\.env:(?P<name>[A-Za-z_]\w*)(?:,(?P<default>[^}]*))?\}")
"""OmegaConf's way to name an environment variable."""

_PASSWORD = re.compile(r"(?P<start>[\w+]+://[^/@:]*):(?P<secret>(?:\$\{[^}]*\}|[^@/])+)@")

log = logging.getLogger(__name__)

T = TypeVar("T")


def open_database(url: str, *, wait_s: float) -> BaseStorage:
    """Optuna's storage on the database at ``url``, which waits out a restart or a cut line of up to five minutes.

    ``wait_s``: how long to wait for it now. ``${oc.env:NAME}`` in ``url`` stands for the environment variable NAME, so
    that no secret need be written down.
    """
    whole = expanded(url)
    opened = _patiently(lambda: _Patient(with_driver(whole), engine_kwargs=_engine_options(whole)), wait_s)
    return get_storage(opened)


def expanded(url: str) -> str:
    """``url`` with the environment's variables put in. Raises SweepDirectoryError for one that is not set."""

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if name not in os.environ and default is not None:
            return default.strip().strip("'\"")
        if name not in os.environ:
            raise SweepDirectoryError(
                f"The sweep's storage is {url}, but the environment variable {name} is not set here."
            )
        return os.environ[name]

    return ENVIRONMENT.sub(value, url)


def holds_secret(url: str) -> bool:
    """Whether a password stands in ``url`` itself, and not the name of an environment variable."""
    found = _PASSWORD.match(url)
    return found is not None and not ENVIRONMENT.fullmatch(found["secret"])


def without_secret(url: str) -> str:
    return _PASSWORD.sub(r"\g<start>:***@", url)


def with_driver(url: str) -> str:
    """``url`` with the driver that is installed, where it names none."""
    scheme, separator, rest = url.partition("://")
    usual, ours = _DRIVERS.get(scheme, (None, None))
    if usual is None or importlib.util.find_spec(usual) or not importlib.util.find_spec(str(ours)):
        return url
    return f"{scheme}+{ours}{separator}{rest}"


def _engine_options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):  # its writers wait for each other, by default 5 s, and then give up
        return {"connect_args": {"timeout": 60}}
    from sqlalchemy.pool import NullPool

    # A connection per operation, which costs milliseconds: hundreds of idle agents would use up what a server allows.
    return {"poolclass": NullPool}


class _Patient(RDBStorage):
    """Tries again what failed because the database could not be reached.

    A write whose answer was lost may have been made: writing it again changes nothing, but for a new attempt, which
    then has two rows; the first has no owner, its lease lapses, and its trial is run by who takes it over.
    """


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _patiently(lambda: method(*args, **kwargs), _PATIENCE_S)

    return call


def _patiently(action: Callable[[], T], patience_s: float) -> T:
    deadline, wait_s = time.monotonic() + patience_s, _FIRST_WAIT_S
    while True:
        try:
            return action()
        except Exception as error:  # Optuna wraps some of SQLAlchemy's, and not others: _unreachable tells
            if not _unreachable(error) or time.monotonic() + wait_s > deadline:
                raise
            if wait_s == _FIRST_WAIT_S:
                log.warning("The database cannot be reached, trying for up to %.0f s", patience_s)
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


# And what Optuna's cache in front of it calls beyond the storages' interface.
_BEYOND = ("_create_new_trial", "_get_trials", "_set_trial_param")

for _name in (*BaseStorage.__abstractmethods__, *_BEYOND):
    setattr(_Patient, _name, _patient(getattr(RDBStorage, _name)))


def _unreachable(error: BaseException | None) -> bool:
    from sqlalchemy.exc import InterfaceError, OperationalError, PendingRollbackError

    while isinstance(error, StorageInternalError):
        error = error.__cause__
    # The last: Optuna tries something slower on the connection that has just been lost.
    return isinstance(error, OperationalError | InterfaceError | PendingRollbackError)
