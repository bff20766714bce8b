"""Ends a process with the one that started it, so that none is left behind when that one is killed."""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, signum: int) -> bool:
    """Have the kernel send ``signum`` to this process when its parent ends, for whatever reason.

    Args:
        parent: The process id of the parent.
        signum: The signal.

    Returns:
        Whether the parent still lives: it may have ended before the call.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)
    return os.getppid() == parent
