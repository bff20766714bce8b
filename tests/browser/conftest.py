"""A real browser, Debian's chromium without a screen, driven by Playwright; its screenshots are kept as artifacts."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.debian import Unavailable, require

# The whole browser, or the smaller package of it that draws no windows.
COMMANDS = ("chromium", "chromium-headless-shell")
ARTIFACTS = Path(os.environ.get("WANDBSWEEP_ARTIFACTS", Path(__file__).parents[2] / "outputs" / "screenshots"))


def chromium() -> str:
    """The browser's path; skips where there is none and none can be brought, and fails in CI."""
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
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


class Page:
    """A page, and what went wrong or out on it."""

    def __init__(self, page: Any) -> None:
        self.it = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(15_000)
        page.on("console", lambda message: message.type in ("error", "warning") and self.complain(message.text))
        page.on("pageerror", lambda error: self.complain(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def complain(self, text: str) -> None:
        self.complaints.append(text)

    def open(self, file: Path | str) -> None:
        self.it.goto(file if isinstance(file, str) else file.as_uri())
        self.it.wait_for_selector("html[data-ready]")

    def shot(self, name: str) -> None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        self.it.wait_for_timeout(100)  # charts are drawn a frame after their size is known
        self.it.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.it.locator(selector).all_inner_texts()]

    def column(self, name: str) -> list[str]:
        """A column of the leaderboard."""
        index = [text.split(" ")[0] for text in self.texts("#board th")].index(name)
        return self.texts(f"#board tbody td:nth-child({index + 1})")

    def header(self, name: str) -> Any:
        """What sorts the leaderboard by a column."""
        return self.it.locator("#board th button").filter(has_text=re.compile(f"^{name}$"))

    def drag(self, axis: str, start: float, end: float) -> None:
        """Along an axis of the parallel coordinates, from and to shares of its height, 0 being its low end."""
        handle = self.it.locator(f'rect[data-axis="{axis}"]')
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        inner = box["height"] - 12

        def at(share: float) -> float:
            return float(box["y"] + 6 + (1 - share) * inner)

        x = box["x"] + box["width"] / 2
        self.it.mouse.move(x, at(start))
        self.it.mouse.down()
        self.it.mouse.move(x, at((start + end) / 2))
        self.it.mouse.move(x, at(end))
        self.it.mouse.up()


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Of 1280 px, light; another by parametrising it with Playwright's options."""
    options = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", **getattr(request, "param", {})}
    context = browser.new_context(**options)
    page = Page(context.new_page())
    yield page
    context.close()
    assert page.complaints == []
