"""Addresses of databases: environment variables, passwords and drivers in them."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from wandbsweep.errors import SweepDirectoryError

ENVIRONMENT_VARIABLE = re.compile(r"\$\{oc\.env:(?P<name>[A-Za-z_]\w*)(?:,(?P<default>[^}]*))?\}")
"""How OmegaConf refers to an environment variable."""

_PASSWORD = re.compile(r"(?P<start>[\w+]+://[^/@:]*):(?P<secret>(?:\$\{[^}]*\}|[^@/])+)@")

# SQLAlchemy's default driver for each database, and the one that our extras install.
_DRIVERS = {"postgresql": ("psycopg2", "psycopg"), "mysql": ("MySQLdb", "pymysql"), "mariadb": ("MySQLdb", "pymysql")}


def complete_url(url: str) -> str:
    """Return ``url`` for SQLAlchemy: with the values of environment variables and an installed driver.

    Raises SweepDirectoryError for an environment variable that is not set.
    """
    return _add_driver(_expand_variables(url))


def holds_password(url: str) -> bool:
    """Whether ``url`` holds a password itself, rather than the name of an environment variable."""
    found = _PASSWORD.match(url)
    return found is not None and not ENVIRONMENT_VARIABLE.fullmatch(found["secret"])


def mask_password(url: str) -> str:
    return _PASSWORD.sub(r"\g<start>:***@", url)


def find_sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite database; None: it is another kind of database, or in memory."""
    from sqlalchemy import make_url

    address = make_url(url)
    file = address.database
    if address.get_backend_name() != "sqlite" or not file or file == ":memory:" or file.startswith("file:"):
        return None
    return Path(file)


def _expand_variables(url: str) -> str:
    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if name in os.environ:
            return os.environ[name]
        if default is not None:
            return default.strip().strip("'\"")
        raise SweepDirectoryError(f"The sweep's storage is {url}, but the environment variable {name} is not set here.")

    return ENVIRONMENT_VARIABLE.sub(value, url)


def _add_driver(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    usual, ours = _DRIVERS.get(scheme, (None, None))
    if usual is None or importlib.util.find_spec(usual) or not importlib.util.find_spec(str(ours)):
        return url
    return f"{scheme}+{ours}{separator}{rest}"
