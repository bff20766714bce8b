"""What every test has: real servers, and the certainty that what it starts ends with the run."""

import signal
from collections.abc import Iterator

import pytest

from scripts.run_guard import guarded_run

pytest_plugins = ["tests.services.fixtures"]

# A shell starts what it runs in the background with Ctrl-C ignored, and all that the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def guard_run() -> Iterator[None]:
    """Ends the processes that tests have started, if this run is interrupted or killed."""
    with guarded_run():
        yield
