"""The report, live: a server of two addresses, the page and its data."""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from wandbsweep.errors import SweepError
from wandbsweep.results.reader import SweepReader
from wandbsweep.results.report.data import page_data
from wandbsweep.results.report.page import render
from wandbsweep.results.sweep_data import SweepData

_FRESH_S = 2.0
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


class Live:
    """The sweep's data, read again when somebody asks and what is there is older than a moment."""

    def __init__(self, ref: str) -> None:
        self._reader = SweepReader(ref)
        self._results: SweepData | None = None
        self._lock = threading.Lock()  # of several who ask at once, one reads
        self._read = -float("inf")
        self._data: dict[str, object] = {}

    def data(self) -> dict[str, object]:
        with self._lock:
            if time.monotonic() - self._read > _FRESH_S:
                data = self._reader.read()
                if data != self._results:  # else the analysis, which takes the longest, says what it said
                    self._data = page_data(data)
                    self._results = data
                first = min((t.started for t in data.trials if t.started), default=time.time())
                self._data["now"] = round(time.time() - first, 3)
                self._read = time.monotonic()
            return self._data

    def tag(self) -> str:
        """Changes when there is something new to see."""
        data = {key: value for key, value in self.data().items() if key not in ("generated", "now")}
        return f'"{hash(json.dumps(data, sort_keys=True, default=str)) & 0xFFFFFFFFFFFF:x}"'


def make_server(ref: str, host: str, port: int, token: str | None) -> ThreadingHTTPServer:
    """A server on ``host``; ``token``: what every request's query must hold, None: nothing, on this machine alone."""
    live = Live(ref)
    live.data()  # what is wrong with the sweep is told here, not to a browser

    class Handler(BaseHTTPRequestHandler):
        server_version = "wandbsweep"
        sys_version = ""

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if not self._allowed(parse_qs(url.query)):
                self._answer(HTTPStatus.FORBIDDEN, "text/plain", "This address needs its token.\n")
            elif url.path not in ("/", "/data.json"):
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", "There is nothing here.\n")
            else:
                try:
                    self._page(url.path)
                except SweepError as error:  # the sweep was removed, or is being damaged
                    self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"{error}\n")

        def _page(self, path: str) -> None:
            if path == "/":
                self._answer(HTTPStatus.OK, "text/html", render(live.data(), live=True))
                return
            tag = live.tag()
            if self.headers.get("If-None-Match") == tag:
                self._answer(HTTPStatus.NOT_MODIFIED, "application/json", "")
            else:
                text = json.dumps(live.data(), ensure_ascii=True, allow_nan=False)
                self._answer(HTTPStatus.OK, "application/json", text, tag=tag)

        def _allowed(self, query: dict[str, list[str]]) -> bool:
            if token is not None:
                return hmac.compare_digest(query.get("token", [""])[0].encode(), token.encode())
            # A page elsewhere may lead its own name to this machine ("DNS rebinding") and read what it gets.
            name = self.headers.get("Host", "").rsplit(":", 1)[0]
            return name in _LOCAL_NAMES

        def _answer(self, status: HTTPStatus, kind: str, text: str, *, tag: str | None = None) -> None:
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
            if status != HTTPStatus.NOT_MODIFIED:
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Silent: the terminal is for what the user asked."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            if not isinstance(sys.exc_info()[1], ConnectionError):  # a browser that went away is no error
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    return Server((host, port), Handler)


def needs_token(host: str) -> bool:
    """Whether others than this machine can reach ``host``."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may be anybody's
        return True


def serve(ref: str, host: str, port: int, token: str | None) -> int:
    """Serve the report until Ctrl-C."""
    if token is None and needs_token(host):
        token = secrets.token_urlsafe(16)
    try:
        server = make_server(ref, host, port, token)
    except (OSError, OverflowError) as error:
        raise SweepError(
            f"Cannot serve on {host}:{port}: {error}. Choose another address with --host and --port."
        ) from None
    shown = f"[{host}]" if ":" in host else host
    query = f"?token={token}" if token else ""
    print(f"http://{shown}:{server.server_port}/{query} until Ctrl-C", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    return 0
