"""Install the Debian packages that the tests' servers need.

``python -m scripts.debian`` installs those that are missing, or says why it cannot.
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
"""Commands, and the package of each."""

_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\n# wandbsweep: packages are being installed, and their services are not to start\nexit 101\n"
_LOCK = Path(tempfile.gettempdir(), f"wandbsweep-apt-{os.getuid()}.lock")
_QUIET = ["-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]


class Unavailable(RuntimeError):
    """A package is missing and cannot be installed; the text says why."""


def make_search_path() -> str:
    """PATH, and the directories of Debian's servers; of PostgreSQL's versions the newest comes first."""
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin: _version(bin.parent.name), reverse=True)
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *map(str, servers)])


def _version(name: str) -> float:
    return float(name) if name.replace(".", "", 1).isdecimal() else 0.0


def find(command: str) -> str | None:
    return shutil.which(command, path=make_search_path())


def find_missing(wanted: Mapping[str, str]) -> list[str]:
    """The packages of the ``wanted`` commands that are not installed."""
    return sorted({package for command, package in wanted.items() if find(command) is None})


def require(wanted: Mapping[str, str]) -> None:
    """Install the packages of the ``wanted`` commands that are missing; raises Unavailable."""
    if not find_missing(wanted):
        return
    with _lock_installation():
        if packages := find_missing(wanted):  # no other process has installed them meanwhile
            _install(packages)
    if left := find_missing(wanted):
        raise Unavailable(f"Debian's packages {', '.join(left)} were installed, but do not have their commands")


def _install(packages: list[str]) -> None:
    lacking = f"Debian's packages {', '.join(packages)} are not installed"
    if shutil.which("apt-get") is None:
        raise Unavailable(f"{lacking}, and this is not Debian: there is no apt-get")
    if os.geteuid() != 0:
        raise Unavailable(f"{lacking}, and only root can: apt-get install {' '.join(packages)}")
    with _prevent_service_starts():
        _apt("update", *_QUIET)
        _apt("install", *_QUIET, "--yes", "--no-install-recommends", *packages)


def _apt(*arguments: str) -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["apt-get", *arguments], env=quiet, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise Unavailable(f"apt-get {arguments[0]} failed:\n{last}")


@contextmanager
def _lock_installation() -> Iterator[None]:
    with open(_LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _prevent_service_starts() -> Iterator[None]:
    """Keep packages from starting their services.

    The machine's own policy, if there is one, is kept. If this process is killed, the next one removes our policy.
    """
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
    packages, began = find_missing(wanted), time.monotonic()
    if not packages:
        return
    print(f"Installing Debian's packages {', '.join(packages)} for the tests ...", flush=True)
    try:
        require(wanted)
    except Unavailable as reason:
        print(f"The tests that need them will be skipped (in CI they fail): {reason}.", file=sys.stderr)
    else:
        print(f"Installed in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
