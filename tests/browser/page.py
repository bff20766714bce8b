"""A page in the browser, as the tests use it; its screenshots are kept as artifacts."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ARTIFACTS = Path(os.environ.get("WANDBSWEEP_ARTIFACTS", Path(__file__).parents[2] / "outputs" / "screenshots"))


class Page:
    """A page, with the faults and requests that it caused."""

    def __init__(self, page: Any) -> None:
        self.it = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(15_000)
        page.on(
            "console", lambda message: message.type in ("error", "warning") and self.complaints.append(message.text)
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, file: Path | str) -> None:
        self.it.goto(file if isinstance(file, str) else file.as_uri())
        self.it.wait_for_selector("html[data-ready]")

    def save_screenshot(self, name: str) -> None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        self.it.wait_for_timeout(100)  # charts are drawn a frame after their size is known
        self.it.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)

    def list_texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.it.locator(selector).all_inner_texts()]

    def list_labels(self, selector: str) -> list[str]:
        """Return the labels of charts, without the tips that shortened ones have, once the charts are drawn."""
        self.it.locator(selector).first.wait_for()
        return list(self.it.locator(selector).evaluate_all("labels => labels.map(label => label.firstChild.data)"))

    def read_column(self, name: str) -> list[str]:
        """Return a column of the leaderboard."""
        index = [text.split(" ")[0] for text in self.list_texts("#board th")].index(name)
        return self.list_texts(f"#board tbody td:nth-child({index + 1})")

    def find_header(self, name: str) -> Any:
        """Return the button that sorts the leaderboard by a column."""
        return self.it.locator("#board th button").filter(has_text=re.compile(f"^{name}$"))

    def drag(self, axis: str, start: float, end: float) -> None:
        """Drag along an axis of the parallel coordinates, from one share of its height to another; 0 is its low end."""
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
