"""``report --watch``: serves the page and its data while the sweep runs."""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from wandbsweep.errors import SweepError
from wandbsweep.results.reader import SweepReader
from wandbsweep.results.report.data import build_page_data
from wandbsweep.results.report.page import render_page
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.trial import ValueRule

_MAX_AGE_S = 2.0
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


class ReportServer(ThreadingHTTPServer):
    """A server of two addresses, the page and its data. It does not run yet."""

    daemon_threads = True

    def __init__(self, ref: str, host: str, port: int, token: str | None, by: ValueRule | None = None) -> None:
        """Read the sweep, and listen on an address.

        Args:
            ref: The sweep, as in ``open_sweep``.
            host: The address to listen on.
            port: The port; 0 takes a free one.
            token: What the query of every request must hold. None: nothing, but requests must name this machine.
            by: As in ``open_sweep``.

        Raises:
            SweepError: If the sweep cannot be read.
            OSError: If the address cannot be used.
        """
        self.token = token
        self._reader = SweepReader(ref)
        self._by = by
        self._sweep: SweepData | None = None
        self._lock = threading.Lock()
        """If several browsers ask at once, one request reads, and the others wait for it."""
        self._read_at = -float("inf")
        self._page_data: dict[str, object] = {}
        self.read_page_data()  # a fault of the sweep is raised here, and not first shown in a browser
        super().__init__((host, port), _Handler)

    def read_page_data(self) -> dict[str, object]:
        """Return the page's data, read again if it is older than ``_MAX_AGE_S``."""
        with self._lock:
            if time.monotonic() - self._read_at > _MAX_AGE_S:
                sweep = self._reader.read().rank_by(self._by)
                if sweep != self._sweep:  # an unchanged sweep needs no new analysis, which takes the longest
                    self._page_data = build_page_data(sweep)
                    self._sweep = sweep
                first = min((t.started for t in sweep.trials if t.started), default=time.time())
                self._page_data["now"] = round(time.time() - first, 3)
                self._read_at = time.monotonic()
            return self._page_data

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # the browser closed the connection
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    server_version = "wandbsweep"
    sys_version = ""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        try:
            if not self._is_allowed(parse_qs(url.query)):
                self._send(HTTPStatus.FORBIDDEN, "text/plain", "This address needs its token.\n")
            elif url.path == "/":
                self._send(HTTPStatus.OK, "text/html", render_page(self.server.read_page_data(), live=True))
            elif url.path == "/data.json":
                self._send_data()
            else:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", "There is nothing here.\n")
        except SweepError as error:  # the sweep was removed or damaged meanwhile
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"{error}\n")

    def _is_allowed(self, query: dict[str, list[str]]) -> bool:
        token = self.server.token
        if token is not None:
            return hmac.compare_digest(query.get("token", [""])[0].encode(), token.encode())
        # Against DNS rebinding: another site may point its own name at this machine, and read the answers.
        name = self.headers.get("Host", "").rsplit(":", 1)[0]
        return name in _LOCAL_NAMES

    def _send_data(self) -> None:
        page_data = self.server.read_page_data()
        # The tag changes only if there is something new to see.
        shown = {key: value for key, value in page_data.items() if key not in ("generated", "now")}
        tag = f'"{hash(json.dumps(shown, sort_keys=True, default=str)) & 0xFFFFFFFFFFFF:x}"'
        if self.headers.get("If-None-Match") == tag:
            self._send(HTTPStatus.NOT_MODIFIED, "application/json", "")
        else:
            text = json.dumps(page_data, ensure_ascii=True, allow_nan=False)
            self._send(HTTPStatus.OK, "application/json", text, tag=tag)

    def _send(self, status: HTTPStatus, kind: str, text: str, *, tag: str | None = None) -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Print nothing: the terminal shows only the address."""


def needs_token(host: str) -> bool:
    """Return whether other machines can reach ``host``."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may stand for any address
        return True


def serve(ref: str, host: str, port: int, token: str | None, by: ValueRule | None = None) -> int:
    """Serve the report until Ctrl-C, and return the exit status.

    Args:
        ref: The sweep, as in ``open_sweep``.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        token: What requests must hold. None: a random one if other machines can reach ``host``, else nothing.
        by: As in ``open_sweep``.

    Raises:
        SweepError: If the sweep cannot be read, or the address cannot be used.
    """
    if token is None and needs_token(host):
        token = secrets.token_urlsafe(16)
    try:
        server = ReportServer(ref, host, port, token, by)
    except (OSError, OverflowError) as error:
        raise SweepError(
            f"Cannot serve on {host}:{port}: {error}. Choose another address with --host and --port."
        ) from None
    shown = f"[{host}]" if ":" in host else host
    query = f"?token={token}" if token else ""
    print(f"http://{shown}:{server.server_port}/{query} until Ctrl-C", flush=True)
    with suppress(KeyboardInterrupt), server:
        server.serve_forever()
    return 0
