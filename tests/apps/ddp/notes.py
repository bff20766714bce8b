"""What the ranks of a trial wrote down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def notes(trial: Path, rank: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trial / f"rank{rank}.jsonl").read_text().splitlines()]
