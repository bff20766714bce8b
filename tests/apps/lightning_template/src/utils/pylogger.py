"""A logger that knows the rank of its process."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities import rank_zero_only


class RankedLogger(logging.LoggerAdapter):  # type: ignore[type-arg]
    def __init__(self, name: str, rank_zero_only: bool = False, extra: Mapping[str, object] | None = None) -> None:
        super().__init__(logging.getLogger(name), extra or {})
        self.rank_zero_only = rank_zero_only

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        rank = getattr(rank_zero_only, "rank", 0)
        if rank == 0 or not self.rank_zero_only:
            self.logger.log(level, f"[rank: {rank}] {msg}", *args, **kwargs)
