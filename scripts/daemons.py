"""Servers started from here, and stopped by what was noted down of them and by nothing else."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from scripts.debian import find, search_path

MARK = ".wandbsweep-services"
"""The file that says that a directory is ours to wipe."""

_POLL_S = 0.05

_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""What this process started and has not seen the end of."""


class ServiceError(RuntimeError):
    """A server did not do what it was started for; the text has the end of its log."""


class Daemons:
    """The servers that live in ``directory``: pids in ``run/``, output in ``log/``.

    A pid is noted with the time at which its process started, since pids are used again. Several processes may come
    one after another: each sees what the ones before it started.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def make(self) -> None:
        """Make the directory, empty; raises ServiceError where it holds something that is not ours."""
        if self.directory.exists() and any(self.directory.iterdir()):
            if not (self.directory / MARK).exists():
                raise ServiceError(f"{self.directory} is not empty and was not made here: name another directory")
            self.remove()
        for name in ("run", "log"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / MARK).touch()

    def remove(self) -> None:
        """Stop what still runs, and wipe the directory."""
        for name in self.names():
            self.stop(name)
        if (self.directory / MARK).exists():
            shutil.rmtree(self.directory, ignore_errors=True)

    def names(self) -> list[str]:
        """Those that were started and not stopped, the newest first."""
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
        """Run ``command`` in a session of its own, unless it runs; it has to stay in the foreground."""
        if self.pid(name) is not None:
            return
        program, *arguments = map(str, command)
        # Held as long as it lives, so that nobody else's file keeps a lock, or a pipe, open.
        with open(self._log(name), "ab") as log:
            child = subprocess.Popen(
                [find(program) or program, *arguments],
                cwd="/",
                env={**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8", **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
                group=None if user is None else _group_of(user),
                extra_groups=None if user is None else [],
            )
        _CHILDREN[child.pid] = child
        born = started_at(child.pid)
        if born is not None:
            self._file(name).write_text(f"{child.pid} {born} {int(stop_signal)}")

    def pid(self, name: str) -> int | None:
        """None: it was never started, has ended, or its pid is another process's now."""
        noted = self._noted(name)
        if noted is None:
            return None
        pid, born, _ = noted
        if pid in _CHILDREN and _CHILDREN[pid].poll() is not None:  # else it would stay, as a zombie
            del _CHILDREN[pid]
        return pid if started_at(pid) == born else None

    def _noted(self, name: str) -> tuple[int, int, int] | None:
        """Its pid, when that started, and the signal that it ends on."""
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
        """Ask it to end, and after ``patience_s`` make it end."""
        if noted := self._noted(name):
            self.kill(name, signal.Signals(noted[2]))
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.pid(name) is None, f"{name} to end", within_s=patience_s)
        self.kill(name)
        self._file(name).unlink(missing_ok=True)

    def await_answer(self, name: str, answers: Callable[[], bool], *, within_s: float = 60) -> None:
        """Wait for a server that was started to work; raises ServiceError with its last words."""

        def settled() -> bool:
            return answers() or self.pid(name) is None

        with contextlib.suppress(TimeoutError):
            wait_until(settled, name, within_s=within_s)
        if not answers():
            ended = "ended" if self.pid(name) is None else f"did not answer within {within_s:g} s"
            raise ServiceError(f"{name} {ended}; the end of {self._log(name)}:\n{self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-15:])

    def _file(self, name: str) -> Path:
        return self.directory / "run" / f"{name}.started"

    def _log(self, name: str) -> Path:
        return self.directory / "log" / f"{name}.log"


def started_at(pid: int) -> int | None:
    """When the process started, in ticks since the machine did; None: there is no such process, or only its corpse."""
    try:
        # The command stands in parentheses and may hold any character.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(fields[18])


def wait_until(true: Callable[[], bool], what: str, *, within_s: float) -> None:
    """Poll until it is true; raises TimeoutError that says ``what`` never came."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:g} s for {what}")
        time.sleep(_POLL_S)


def output_of(
    command: Sequence[str | Path], *, user: str | None = None, within_s: float = 60, **environment: str
) -> str:
    """What a command printed; raises ServiceError if it fails."""
    program, *arguments = map(str, command)
    done = subprocess.run(
        [find(program) or program, *arguments],
        cwd="/",
        env={**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within_s,
        user=user,
        group=None if user is None else _group_of(user),
        extra_groups=None if user is None else [],
    )
    if done.returncode != 0:
        raise ServiceError(f"{program} {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def succeeds(command: Sequence[str | Path], **options: str) -> bool:
    try:
        output_of(command, within_s=10, **options)
    except (ServiceError, subprocess.TimeoutExpired):
        return False
    return True


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback that nobody listens on, below those that connections are given."""
    return [port for port, _ in zip(_unused(), range(count), strict=False)]


def _unused() -> Iterator[int]:
    candidates = list(range(20_000, 32_000))
    random.SystemRandom().shuffle(candidates)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
