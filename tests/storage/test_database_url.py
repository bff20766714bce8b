"""Addresses of databases."""

from __future__ import annotations

import pytest

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.storage.database_url import complete_url, find_sqlite_file, holds_password, mask_password


def test_environment_variables_are_inserted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "s3cret")
    monkeypatch.delenv("DB_HOST", raising=False)
    url = "sqlite://me:${oc.env:DB_PASSWORD}@${oc.env:DB_HOST,'localhost'}/sweeps"
    assert complete_url(url) == "sqlite://me:s3cret@localhost/sweeps"


def test_a_missing_environment_variable_is_named_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    with pytest.raises(SweepDirectoryError, match="the environment variable DB_PASSWORD is not set here"):
        complete_url("postgresql://me:${oc.env:DB_PASSWORD}@host/sweeps")


@pytest.mark.parametrize(
    ("url", "holds", "masked"),
    [
        ("postgresql://me:s3cret@host/x", True, "postgresql://me:***@host/x"),
        ("mysql+pymysql://me:a:b@host:1/x", True, "mysql+pymysql://me:***@host:1/x"),
        ("postgresql://me:${oc.env:P}@host/x", False, "postgresql://me:***@host/x"),
        ("postgresql://me@host/x", False, "postgresql://me@host/x"),
        ("sqlite:////tmp/x.db", False, "sqlite:////tmp/x.db"),
    ],
)
def test_passwords(url: str, holds: bool, masked: str) -> None:
    assert (holds_password(url), mask_password(url)) == (holds, masked)


def test_the_driver_that_is_installed_is_added() -> None:
    from sqlalchemy import create_engine

    for url in ("postgresql://me@host/x", "mysql://me@host/x"):
        create_engine(complete_url(url))  # raises if its driver is not there
    assert complete_url("postgresql+psycopg://me@host/x") == "postgresql+psycopg://me@host/x"


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////tmp/x.db", "/tmp/x.db"),
        ("sqlite:///x.db", "x.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql+psycopg://me@host/x", None),
    ],
)
def test_files_of_sqlite(url: str, file: str | None) -> None:
    found = find_sqlite_file(url)
    assert (str(found) if found else None) == file
