"""What every test may use: real servers."""

import signal

pytest_plugins = ["tests.services.fixtures"]

# A shell starts what it runs in the background with Ctrl-C ignored, and all that the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
