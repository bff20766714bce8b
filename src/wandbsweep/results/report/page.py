"""The page: its parts put into one file, and the data into the page as text that cannot become anything else."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.files import write_atomically
from wandbsweep.results.report.data import page_data

if TYPE_CHECKING:
    from wandbsweep.results.sweep_data import SweepData

SCRIPTS = (
    "core.js",
    "scales.js",
    "chart.js",
    "summary.js",
    "parallel.js",
    "table.js",
    "bars.js",
    "history.js",
    "slices.js",
    "timeline.js",
    "main.js",
)
"""In the order in which they need each other."""


def write(data: SweepData, file: str | os.PathLike[str]) -> Path:
    """Write the report of a sweep as it stands."""
    path = Path(file)
    write_atomically(path, render(page_data(data)))
    return path


def render(data: dict[str, Any], *, live: bool = False) -> str:
    """The page that shows ``data``; ``live``: which asks its server for newer data every few seconds.

    Nothing but its own script and style may run: the policy names them by their hashes, and allows no address.
    """
    style, script = _part("style.css"), _script()
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(script)}",
            "style-src 'unsafe-inline'",  # the charts place their parts by inline style
            "img-src data:",
            "connect-src 'self'" if live else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    filled = {
        "policy": escape(policy),
        "title": escape(f"Sweep {data['sweep_id']}"),
        "style": style,
        "data": embedded({**data, "live": live}),
        "script": script,
    }
    page = _part("page.html")
    head, *rest = page.split("{{")
    return head + "".join(filled[name] + text for name, _, text in (part.partition("}}") for part in rest))


def embedded(data: Any) -> str:
    """JSON that can stand in a script element: no character in it can end that, or begin anything."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    unsafe: dict[str, str | int | None] = {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
    # A lone surrogate (a file name that is no UTF-8) cannot be written at all.
    return text.translate(str.maketrans(unsafe)).encode("utf-8", "replace").decode("utf-8")


@cache
def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    parts = "\n".join(_part(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();\n'


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
