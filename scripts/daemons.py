"""Start servers, write down their pids, and stop exactly those."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.debian import find, make_search_path

MARK = ".wandbsweep-services"
"""The file that says that a directory is ours to wipe."""

RUN_VARIABLE = "WANDBSWEEP_TEST_RUN"
"""Marks the processes that end with a test run (``run_guard``)."""

_POLL_S = 0.05

_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Processes that this process started and has not waited for."""


class ServiceError(RuntimeError):
    """A server or one of its commands failed; the text has the end of its log."""


class Daemons:
    """The servers that live in ``directory``: pids in ``run/``, output in ``log/``.

    A pid is written with the start time of its process, since the kernel reuses pids. Processes may use the directory
    one after another: each sees what the earlier ones started.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def make(self) -> None:
        """Make the directory, empty; raises ServiceError if it holds something that is not ours."""
        if self.directory.exists() and any(self.directory.iterdir()):
            if not (self.directory / MARK).exists():
                raise ServiceError(
                    f"{self.directory} is not empty and was not made by this script: choose another directory"
                )
            self.remove()
        for name in ("run", "log"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / MARK).touch()

    def remove(self) -> None:
        """Stop what still runs, and remove the directory."""
        for name in self.names():
            self.stop(name)
        if (self.directory / MARK).exists():
            shutil.rmtree(self.directory, ignore_errors=True)

    def names(self) -> list[str]:
        """The servers that were started and not stopped, the newest first."""
        files = sorted(self.directory.glob("run/*.started"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        return [file.stem for file in files]

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Run ``command`` in a new session, unless it runs already; it must stay in the foreground.

        Args:
            name: Names its files in ``run/`` and ``log/``.
            command: The program, which is also looked for where Debian keeps servers, and its arguments.
            user: Whom it runs as; None: as this process.
            environment: Variables beside those of this process.
            stop_signal: Asks it to end.
        """
        if self.pid(name) is not None:
            return
        with open(self._log(name), "ab") as log:
            child = subprocess.Popen(
                _resolve(command),
                stdout=log,
                stderr=log,
                start_new_session=True,
                **_process_options(user, environment or {}),
            )
        _CHILDREN[child.pid] = child
        born = read_start_time(child.pid)
        if born is not None:
            self._file(name).write_text(f"{child.pid} {born} {int(stop_signal)}")

    def pid(self, name: str) -> int | None:
        """The pid of the server; None: it was not started, has ended, or its pid is another process's now."""
        started = self._read_start(name)
        if started is None:
            return None
        pid, born, _ = started
        if pid in _CHILDREN and _CHILDREN[pid].poll() is not None:  # else it would stay a zombie
            del _CHILDREN[pid]
        return pid if read_start_time(pid) == born else None

    def _read_start(self, name: str) -> tuple[int, int, int] | None:
        """The server's pid, when that process started, and its stop signal."""
        try:
            pid, born, number = map(int, self._file(name).read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        return pid, born, number

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; SIGKILL returns when the process is gone."""
        if (pid := self.pid(name)) is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if number == signal.SIGKILL:
            wait_until(lambda: self.pid(name) is None, f"{name} to be gone", within_s=10)

    def stop(self, name: str, *, patience_s: float = 15) -> None:
        """Ask it to end, and kill it after ``patience_s``."""
        if started := self._read_start(name):
            self.kill(name, signal.Signals(started[2]))
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.pid(name) is None, f"{name} to end", within_s=patience_s)
        self.kill(name)
        self._file(name).unlink(missing_ok=True)

    def await_answer(self, name: str, answers: Callable[[], bool], *, within_s: float = 60) -> None:
        """Wait until a server that was started answers; raises ServiceError with the end of its log."""

        def answers_or_ended() -> bool:
            return answers() or self.pid(name) is None

        with contextlib.suppress(TimeoutError):
            wait_until(answers_or_ended, name, within_s=within_s)
        if not answers():
            ended = "ended" if self.pid(name) is None else f"did not answer within {within_s:g} s"
            raise ServiceError(f"{name} {ended}; the end of {self._log(name)}:\n{self._tail(name)}")

    def _tail(self, name: str) -> str:
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-15:])

    def _file(self, name: str) -> Path:
        return self.directory / "run" / f"{name}.started"

    def _log(self, name: str) -> Path:
        return self.directory / "log" / f"{name}.log"


def read_start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None: there is no such process, or it is a zombie."""
    try:
        # The command is in parentheses and may hold any character.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(fields[18])


def wait_until(true: Callable[[], bool], what: str, *, within_s: float) -> None:
    """Poll until ``true()`` is true; raises TimeoutError, which says ``what`` was waited for."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:g} s for {what}")
        time.sleep(_POLL_S)


def read_output(
    command: Sequence[str | Path], *, user: str | None = None, within_s: float = 60, **environment: str
) -> str:
    """What a command printed.

    Args:
        command: The program, which is also looked for where Debian keeps servers, and its arguments.
        user: Whom it runs as; None: as this process.
        within_s: How long it may take.
        environment: Variables beside those of this process.

    Raises:
        ServiceError: The command failed.
        subprocess.TimeoutExpired: It took longer.
    """
    done = subprocess.run(
        _resolve(command),
        capture_output=True,
        text=True,
        timeout=within_s,
        **_process_options(user, environment),
    )
    if done.returncode != 0:
        raise ServiceError(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _resolve(command: Sequence[str | Path]) -> list[str]:
    """The command with the path of its program, which may be one of a server."""
    program, *arguments = map(str, command)
    return [find(program) or program, *arguments]


def make_environment() -> dict[str, str]:
    """The environment of a process that ``run_guard`` does not kill, since ``server_directory`` stops it."""
    return {name: value for name, value in os.environ.items() if name != RUN_VARIABLE}


def _process_options(user: str | None, environment: Mapping[str, str]) -> dict[str, Any]:
    """Options of every process that is started here; ``user``: whom it runs as, None: as this process."""
    return {
        "cwd": "/",
        "env": {**make_environment(), "PATH": make_search_path(), "LC_ALL": "C.UTF-8", **environment},
        "stdin": subprocess.DEVNULL,
        "user": user,
        "group": None if user is None else pwd.getpwnam(user).pw_gid,
        "extra_groups": None if user is None else [],
    }


def succeeds(command: Sequence[str | Path], **options: str) -> bool:
    try:
        read_output(command, within_s=10, **options)
    except (ServiceError, subprocess.TimeoutExpired):
        return False
    return True


def find_free_ports(count: int) -> list[int]:
    """Unused TCP ports of the loopback, below those that the kernel gives to connections."""
    return [port for port, _ in zip(_find_unused(), range(count), strict=False)]


def _find_unused() -> Iterator[int]:
    candidates = list(range(20_000, 32_000))
    random.SystemRandom().shuffle(candidates)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
