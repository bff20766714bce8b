"""Fixtures that copy an application of `tests/apps`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.applications import App, MakeApp, copy_app


@pytest.fixture
def make_app(tmp_path: Path) -> MakeApp:
    """Copies an application by its name."""

    def make(name: str, file: str = "app.py") -> App:
        return copy_app(name, tmp_path / name, file)

    return make


@pytest.fixture
def app(make_app: MakeApp) -> App:
    """The tiny application."""
    return make_app("tiny")
