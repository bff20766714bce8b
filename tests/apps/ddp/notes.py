"""What the ranks of a trial have noted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_notes(trial: Path, rank: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trial / f"rank{rank}.jsonl").read_text().splitlines()]
