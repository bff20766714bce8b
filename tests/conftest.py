"""What every test has: real servers, and the certainty that what it starts ends with the run."""

import os
import signal
import tempfile
from collections.abc import Iterator

import pytest

from scripts.run_guard import guarded_run

pytest_plugins = ["tests.services.fixtures"]

# A shell starts what it runs in the background with Ctrl-C ignored, and all that the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The index of started sweeps is the user's; that of the tests goes with this process, and with each that it starts.
_state = tempfile.TemporaryDirectory(prefix="wandbsweep-state-", ignore_cleanup_errors=True)
os.environ["XDG_STATE_HOME"] = _state.name


@pytest.fixture(scope="session", autouse=True)
def guard_run() -> Iterator[None]:
    """Ends the processes that tests have started, if this run is interrupted or killed."""
    with guarded_run():
        yield
