"""The results of ``gpu.py``: records that are added to a file one by one, and the tables made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def record(out: Path, found: dict[str, Any]) -> None:
    print(found, flush=True)
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps(found) + "\n")


def read_records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def format_results(out: Path) -> str:
    """Return the results so far as Markdown, one table for records of the same kind."""
    lines: list[str] = []
    columns: list[str] = []
    for record in read_records(out):
        if list(record) != columns:
            columns = list(record)
            lines += ["", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        lines.append(f"| {' | '.join(_format(value) for value in record.values())} |")
    return "\n".join([*lines, ""]).lstrip("\n")


def _format(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
