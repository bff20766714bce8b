"""Throw-away PostgreSQL and MariaDB servers on the loopback or a socket. Their data does not survive a power cut."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from scripts.daemons import Daemons, ServiceError, find_free_ports, read_output, read_start_time, wait_until
from scripts.debian import MARIADB, POSTGRESQL, require

CONNECTIONS = 300
USER = "sweeper"


class Server(ABC):
    """A database server whose files are in ``directory``. Subclasses say how it is made and run.

    If root starts it, it runs as an unprivileged user: PostgreSQL requires that.
    """

    name: str
    scheme: str
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path) -> None:
        self.daemons = Daemons(directory)
        self.directory = directory
        self.data = directory / "data"
        self.host = "127.0.0.1"
        self.port = 0
        self.user = USER
        self.password = secrets.token_hex(12)
        self._as = "nobody" if os.geteuid() == 0 else None
        self._made = 0

    def up(self) -> None:
        """Make the server and wait until it answers; raises Unavailable or ServiceError."""
        self.daemons.make()
        (self.port,) = find_free_ports(1)
        self.directory.chmod(0o755)
        self.data.mkdir()
        if self._as is not None:
            shutil.chown(self.data, self._as)
        self._make()
        self.start()

    def start(self) -> None:
        """Start it again, with its data, after it was stopped or killed."""
        self.daemons.start(self.name, self._command(), user=self._as, stop_signal=self.stop_signal)
        self.daemons.await_answer(self.name, self._answers)

    def stop(self) -> None:
        """Close every connection and end, as for maintenance."""
        self.daemons.stop(self.name)

    def kill(self) -> None:
        """Kill it, as a power cut does."""
        self.daemons.kill(self.name)

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        self.daemons.remove()

    def url(self, database: str, *, port: int | None = None, password: bool = True) -> str:
        """SQLAlchemy's URL of a database. ``port``: of a proxy in front of the server. ``password``: False omits it."""
        who = f"{self.user}:{self.password}" if password else self.user
        return f"{self.scheme}://{who}@{self.host}:{port or self.port}/{database}"

    def make_database(self) -> str:
        """Make an empty database, and return its name."""
        self._made += 1
        name = f"test{self._made}"
        self.sql(f"CREATE DATABASE {name}")
        return name

    @abstractmethod
    def sql(self, statement: str) -> str:
        """Run a statement as the administrator, and return what it prints."""

    @abstractmethod
    def _make(self) -> None:
        """Put the files of a new server into ``data``."""

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """The command that runs it in the foreground."""

    def _answers(self) -> bool:
        try:
            self.sql("SELECT 1")
        except ServiceError:
            return False
        return True


class PostgreSQL(Server):
    name = "postgres"
    scheme = "postgresql+psycopg"
    stop_signal = signal.SIGINT  # "fast": it does not wait until its clients disconnect

    def sql(self, statement: str) -> str:
        where = ["-h", self.host, "-p", str(self.port), "-U", self.user, "-d", "postgres"]
        return read_output(["psql", "-XAtq", *where, "-c", statement], PGPASSWORD=self.password)

    def _make(self) -> None:
        require(POSTGRESQL)
        secret = self.directory / "password"
        secret.touch(0o600)
        secret.write_text(self.password)
        if self._as is not None:
            shutil.chown(secret, self._as)
        how = ["--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
        read_output(["initdb", "-D", self.data, "-U", self.user, *how], user=self._as)
        secret.unlink()

    def _command(self) -> list[str | Path]:
        settings = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": CONNECTIONS,
            "shared_buffers": "32MB",
            "fsync": "off",  # a commit survives the death of the server, not of the machine
            "full_page_writes": "off",
            # Shared memory that a crash cannot leave behind.
            "shared_memory_type": "mmap",
            "dynamic_shared_memory_type": "mmap",
        }
        return ["postgres", "-D", self.data, *(f"--{key}={value}" for key, value in settings.items())]

    def kill(self) -> None:
        """Kill it and its backends, as a power cut does; a new server cannot start while a backend lives."""
        postmaster = self.daemons.pid(self.name)
        children = [] if postmaster is None else _list_children(postmaster)
        backends = {pid: born for pid in children if (born := read_start_time(pid)) is not None}
        super().kill()
        for pid, born in backends.items():
            if read_start_time(pid) == born:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for pid, born in backends.items():
            wait_until(lambda pid=pid, born=born: read_start_time(pid) != born, f"{pid} to be gone", within_s=10)


class MariaDB(Server):
    """``network`` False: only the user that started it can connect, through ``socket``, without a password."""

    name = "mariadb"
    scheme = "mysql+pymysql"

    def __init__(self, directory: Path, *, network: bool = True) -> None:
        super().__init__(directory)
        self.network = network
        self.socket = directory / "data" / "s"
        self._root = pwd.getpwuid(os.geteuid()).pw_name
        if not network:
            self.user, self.password = self._root, ""

    def sql(self, statement: str) -> str:
        return read_output(["mariadb", "--no-defaults", "-Ns", f"-S{self.socket}", f"-u{self._root}", "-e", statement])

    def _make(self) -> None:
        require(MARIADB)
        admin = ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={self._root}"]
        read_output(
            ["mariadb-install-db", "--no-defaults", f"--datadir={self.data}", "--skip-test-db", "--skip-name-resolve"]
            + admin
            + ([] if self._as is None else [f"--user={self._as}"]),
        )

    def up(self) -> None:
        super().up()
        if self.network:
            self.sql(f"CREATE USER {self.user}@'127.0.0.1' IDENTIFIED BY '{self.password}'")
            self.sql(f"GRANT ALL ON *.* TO {self.user}@'127.0.0.1'")

    def _command(self) -> list[str | Path]:
        settings = {
            "datadir": self.data,
            "socket": self.socket,
            "pid-file": self.data / "pid",
            "max-connections": CONNECTIONS,
            "innodb-buffer-pool-size": "64M",
            "innodb-flush-log-at-trx-commit": 2,  # a commit survives the death of the server, not of the machine
            "innodb-lock-wait-timeout": 900,
        }
        where = [f"--bind-address={self.host}", f"--port={self.port}"] if self.network else ["--skip-networking"]
        options = [f"--{key}={value}" for key, value in settings.items()]
        return ["mariadbd", "--no-defaults", "--skip-name-resolve", *where, *options]


def _list_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
