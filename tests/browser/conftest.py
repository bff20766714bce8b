"""A real browser: Debian's chromium without a screen, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.debian import Unavailable, require
from tests.browser.page import Page

# The whole browser, or the smaller package of it that draws no windows.
COMMANDS = ("chromium", "chromium-headless-shell")


def find_chromium() -> str:
    """Return the browser's path. If there is none and none can be installed, skip the test, and in CI fail it."""
    found = next((path for command in COMMANDS if (path := shutil.which(command))), None)
    if found is not None:
        return found
    try:
        require({COMMANDS[1]: COMMANDS[1]})
    except Unavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(f"no browser: {reason}")
        pytest.skip(f"no browser: {reason}")
    return str(shutil.which(COMMANDS[1]))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    path = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of 1280 px with the light theme, unless the test is parametrized with other options of Playwright."""
    options = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", **getattr(request, "param", {})}
    context = browser.new_context(**options)
    page = Page(context.new_page())
    yield page
    context.close()
    assert page.complaints == []
