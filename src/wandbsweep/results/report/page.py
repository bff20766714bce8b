"""The page: its parts in one file, with the data embedded as text that the browser cannot run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from wandbsweep.files import write_atomically
from wandbsweep.results.report.data import build_page_data
from wandbsweep.results.report.panels import PANELS
from wandbsweep.results.sweep_data import SweepData

SCRIPTS = ("core.js", "scales.js", "chart.js", *(panel.script for panel in PANELS), "main.js")
"""In the order of their dependencies: what the panels use, the panels, and what draws them."""


def write_report(data: SweepData, file: str | os.PathLike[str]) -> Path:
    """Write the report of a sweep to one HTML file."""
    path = Path(file)
    write_atomically(path, render_page(build_page_data(data)))
    return path


def render_page(page_data: dict[str, Any], *, live: bool = False) -> str:
    """Return the page that shows ``page_data``.

    The content security policy allows only the page's own script, by its hash, and no requests to other addresses.

    Args:
        page_data: What ``build_page_data`` returns.
        live: Whether the page asks its server for newer data every few seconds.
    """
    style, script = _read_part("style.css"), _join_scripts()
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
    fields = {
        "policy": escape(policy),
        "title": escape(f"Sweep {page_data['sweep_id']}"),
        "style": style,
        "data": encode_for_script({**page_data, "live": live}),
        "script": script,
    }
    # Only the template's own fields are filled in: the data may hold braces as well.
    head, *rest = _read_part("page.html").split("{{")
    return head + "".join(fields[name] + text for name, _, text in (part.partition("}}") for part in rest))


def encode_for_script(value: Any) -> str:
    """Return JSON that is safe in a script element: no character in it can end the element, or begin markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    escapes = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
    # A lone surrogate, as in a file name that is not UTF-8, cannot be encoded at all.
    return text.translate(escapes).encode("utf-8", "replace").decode("utf-8")


@cache
def _read_part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _join_scripts() -> str:
    parts = "\n".join(_read_part(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();\n'


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
