"""Agents as processes of this machine, which end with the launching process."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from wandbsweep.agent.signals import GRACE_S

_MARGIN_S = 5.0  # what an agent needs to end, besides the grace of its trial


def run_processes(
    commands: Sequence[Sequence[str]],
    *,
    inputs: Sequence[bytes] | None = None,
    environments: Sequence[Mapping[str, str] | None] | None = None,
    grace_s: float = GRACE_S,
) -> list[int]:
    """Start a process for each agent, and wait until all have ended. An interruption, such as Ctrl-C, ends them.

    Args:
        commands: The command of each agent.
        inputs: What each of them reads from standard input; None: nothing.
        environments: The environment of each; None: this process's.
        grace_s: How long a trial may take to end after SIGTERM.

    Returns:
        Their exit statuses.
    """
    stdin = subprocess.DEVNULL if inputs is None else subprocess.PIPE
    given = environments or [None] * len(commands)
    processes = [
        subprocess.Popen(command, stdin=stdin, env=environment)
        for command, environment in zip(commands, given, strict=True)
    ]
    try:
        for process, text in zip(processes, inputs or (), strict=inputs is not None):
            assert process.stdin is not None
            process.stdin.write(text)
            process.stdin.close()
        return [process.wait() for process in processes]
    except BaseException:
        for process in processes:
            process.terminate()  # it gives its trial back; after a terminal's Ctrl-C it does so already
        for process in processes:
            try:
                process.wait(grace_s + _MARGIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        raise
