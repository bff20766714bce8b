"""A TCP proxy between a client and its database, which can lose the network in a test."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from contextlib import suppress

_CHUNK = 65_536


class Proxy:
    """Forwards ``127.0.0.1:<port>`` to a server on the loopback, until it is cut. One thread; ``close`` ends it."""

    def __init__(self, server_port: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._closed = False
        self.accepted = 0
        """Connections that came so far."""
        self._thread = threading.Thread(target=self._forward, name="proxy", daemon=True)
        self._thread.start()

    def cut(self, *, silently: bool = False) -> None:
        """End every connection, and new ones at once. ``silently``: nothing arrives any more, and no error either."""
        if silently:
            self._flows.clear()
            return
        with self._lock:
            self._refuses = True
            self._drop_all()

    def heal(self) -> None:
        """Serve new connections, and let silent ones continue."""
        self._refuses = False
        self._flows.set()

    def close(self) -> None:
        self._closed = True
        self.heal()
        self._thread.join()
        with self._lock:
            self._drop_all()
        self._selector.close()
        self._listener.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forward(self) -> None:
        while not self._closed:
            self._flows.wait()
            for key, _ in self._selector.select(timeout=0.05):
                if not self._flows.is_set():
                    break
                assert isinstance(key.fileobj, socket.socket)
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._pairs:
                        self._pass_on(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.accepted += 1
        if self._refuses:
            _reset(client)
            return
        try:
            server = socket.create_connection(self._server, timeout=10)
        except OSError:
            _reset(client)
            return
        for one, other in ((client, server), (server, client)):
            one.settimeout(10)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        try:
            if data := source.recv(_CHUNK):
                self._pairs[source].sendall(data)
                return
        except OSError:
            pass
        self._drop(source)

    def _drop(self, one: socket.socket) -> None:
        for end in (one, self._pairs[one]):
            del self._pairs[end]
            self._selector.unregister(end)
            _reset(end)

    def _drop_all(self) -> None:
        while self._pairs:
            self._drop(next(iter(self._pairs)))


def _reset(connection: socket.socket) -> None:
    """Close it so that the other side gets an error at once."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
