"""Retry with exponential backoff, jitter and a deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to keep trying, and how the pauses in between grow."""

    total_s: float
    """When to give up. 0: after the first failure."""
    first_s: float
    longest_s: float
    """Each pause is twice the one before, up to this."""
    jitter: tuple[float, float] = (1.0, 1.0)
    """Each pause is multiplied by a random number of this range, so that many clients do not retry in step."""

    def pauses(self) -> Iterator[float]:
        """Yield the pauses in seconds. Only they count towards ``total_s``, not the time that an attempt takes."""
        pause_s, left_s = self.first_s, self.total_s
        while left_s > 0:
            yield min(left_s, self._randomize(pause_s))
            left_s -= pause_s
            pause_s = min(2 * pause_s, self.longest_s)

    def pauses_until(self, deadline: float) -> Iterator[float]:
        """Yield the pauses in seconds as long as they end before ``deadline`` (``time.monotonic``)."""
        pause_s = self.first_s
        while time.monotonic() + pause_s <= deadline:
            yield self._randomize(pause_s)
            pause_s = min(2 * pause_s, self.longest_s)

    def _randomize(self, pause_s: float) -> float:
        return pause_s * random.uniform(*self.jitter)


def retry(
    action: Callable[[], T],
    backoff: Backoff,
    *,
    is_transient: Callable[[Exception], bool],
    warn: Callable[[Exception], None] = lambda error: None,
) -> T:
    """Repeat ``action`` until it succeeds.

    Args:
        action: Must be safe to repeat: it may have taken effect although it raised.
        backoff: The pauses, and for how many seconds to keep trying, attempts included.
        is_transient: Whether an error may go away by itself. Any other error is raised at once.
        warn: Called once, with the first transient error.

    Raises:
        Exception: What ``action`` raised last.
    """
    pauses = backoff.pauses_until(time.monotonic() + backoff.total_s)
    warned = False
    while True:
        try:
            return action()
        except Exception as error:
            pause_s = next(pauses, None) if is_transient(error) else None
            if pause_s is None:
                raise
            if not warned:
                warn(error)
                warned = True
        time.sleep(pause_s)
