"""Debian packages that the tests' servers come from: which are missing, and their installation.

``python -m scripts.debian`` installs what the tests need, where that is possible, and else says why it is not.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SLURM = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "sbatch": "slurm-client",
}
MARIADB = {
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
}
POSTGRESQL = {"postgres": "postgresql", "initdb": "postgresql"}
CHROMIUM = {"chromium-headless-shell": "chromium-headless-shell"}
"""Commands, each with the package that has it."""

_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\n# wandbsweep: packages are being installed, and their services are not to start\nexit 101\n"
_LOCK = Path(tempfile.gettempdir(), f"wandbsweep-apt-{os.getuid()}.lock")
_QUIET = ["-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]


class Unavailable(RuntimeError):
    """What is needed is not there and cannot be brought; the text says why."""


def search_path() -> str:
    """PATH, and where Debian keeps servers, of which PostgreSQL's newest comes first."""
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin: _version(bin.parent.name), reverse=True)
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *map(str, servers)])


def _version(name: str) -> float:
    return float(name) if name.replace(".", "", 1).isdecimal() else 0.0


def find(command: str) -> str | None:
    return shutil.which(command, path=search_path())


def missing(wanted: Mapping[str, str]) -> list[str]:
    """The packages of those commands that are not there."""
    return sorted({package for command, package in wanted.items() if find(command) is None})


def require(wanted: Mapping[str, str]) -> None:
    """Install the packages of those commands that are not there; raises Unavailable."""
    if not missing(wanted):
        return
    with _one_at_a_time():
        if packages := missing(wanted):  # nobody else has brought them meanwhile
            _install(packages)
    if left := missing(wanted):
        raise Unavailable(f"Debian's packages {', '.join(left)} were installed, but their commands are not there")


def _install(packages: list[str]) -> None:
    lacking = f"Debian's packages {', '.join(packages)} are not installed"
    if shutil.which("apt-get") is None:
        raise Unavailable(f"{lacking}, and this is no Debian: there is no apt-get")
    if os.geteuid() != 0:
        raise Unavailable(f"{lacking}, and only root can: apt-get install {' '.join(packages)}")
    with _no_service_starts():
        _apt("update", *_QUIET)
        _apt("install", *_QUIET, "--yes", "--no-install-recommends", *packages)


def _apt(*arguments: str) -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["apt-get", *arguments], env=quiet, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise Unavailable(f"apt-get {arguments[0]} failed:\n{last}")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with open(_LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """A machine's own policy is left alone. Ours goes when we are done or, if we are killed, when the next of us is."""
    ours = not _POLICY.exists() or _POLICY.read_text(errors="replace") == _POLICY_TEXT
    if ours:
        _POLICY.write_text(_POLICY_TEXT)
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)


def main() -> None:
    wanted = {**SLURM, **MARIADB, **POSTGRESQL, **CHROMIUM}
    packages, began = missing(wanted), time.monotonic()
    if not packages:
        return
    print(f"Installing Debian's packages {', '.join(packages)} for the tests ...", flush=True)
    try:
        require(wanted)
    except Unavailable as reason:
        print(f"The tests that need them are skipped, and in CI fail: {reason}.", file=sys.stderr)
    else:
        print(f"Installed in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
