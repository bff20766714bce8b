"""``refusing``: bad input ends a plain run with one message instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import CompactHydraException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf.errors import OmegaConfBaseException

from wandbsweep.current import current_trial

_REFUSALS = (ValueError, OSError, MisconfigurationException, OmegaConfBaseException)
_WHO = ("classifier", "wandbsweep", "lightning", "omegaconf")
"""The packages that say what is wrong with a value. An error that other code raises keeps its traceback."""


class InputError(CompactHydraException):
    """Hydra prints its message alone, and with ``HYDRA_FULL_ERROR=1`` where it was raised."""


@contextmanager
def refusing() -> Iterator[None]:
    """Raise InputError for an error that says what is wrong with the input; a sweep records its trials' errors whole.

    Raises:
        InputError: The code in the block refused a value.
    """
    try:
        yield
    except _REFUSALS as error:
        if current_trial() or _find_origin(error) not in _WHO:
            raise
        raise InputError(str(error)) from error


def _find_origin(error: BaseException) -> str:
    """Return the package whose code raised the error."""
    traceback = error.__traceback__
    assert traceback is not None  # it was raised
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
