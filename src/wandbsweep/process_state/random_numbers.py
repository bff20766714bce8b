"""The global random numbers of ``random``, numpy and torch."""

from __future__ import annotations

import importlib
import random
import sys
from typing import Any

_SEEDED = 2**32
"""torch seeds itself with 64 random bits, so a smaller seed was set by the application."""


class RandomNumbers:
    """The random numbers with which trials start: those of the launching process. It can be pickled.

    Generators that the script has seeded start each trial from the script's state, as in a process of its own. Unseeded
    generators start each trial from another state, whatever the trials before it have seeded.
    """

    def __init__(self) -> None:
        """Note the present states."""
        numpy, torch = _find_generators("numpy.random", "get_state"), _find_generators("torch", "get_rng_state")
        self._random = random.getstate()
        self._numpy = self._torch = None
        # A generator of numpy's that has its seed from the operating system remembers that.
        if numpy and getattr(numpy.mtrand._rand._bit_generator, "_seed_seq", "unknown") is None:
            self._numpy = numpy.get_state()
        if torch and torch.initial_seed() < _SEEDED:
            self._torch = torch.initial_seed(), torch.get_rng_state().numpy().tobytes()

    def restart(self, stream: str) -> None:
        """Start from these states.

        Args:
            stream: A text that differs between trials and their ranks, from which unseeded generators get their state.
        """
        source = random.Random()
        source.setstate(self._random)
        source.seed(f"{source.getrandbits(128)}-{stream}")
        # Nothing says whether `random` was seeded, but who seeds numpy or torch seeds it as well.
        is_seeded = self._numpy is not None or self._torch is not None
        random.setstate(self._random if is_seeded else source.getstate())
        if self._numpy is not None:
            importlib.import_module("numpy.random").set_state(self._numpy)  # importing numpy does not load it
        elif numpy := _find_generators("numpy.random", "get_state"):
            numpy.seed(source.getrandbits(32))
        if torch := _find_generators("torch", "get_rng_state"):
            seed, state = self._torch or (source.getrandbits(63), None)
            torch.manual_seed(seed)  # that of the GPUs as well
            if state is not None:
                torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _find_generators(module: str, function: str) -> Any:
    """Return a module if it is loaded, and not still being imported by another thread."""
    found = sys.modules.get(module)
    return found if hasattr(found, function) else None
