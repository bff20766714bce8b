"""W&B's wire: GraphQL over HTTPS, with back-off, and the operations that an agent of a sweep needs.

Two mutations have no public function in wandb: ``CreateAgent`` and ``Heartbeat``. Their names and variables are those
of wandb 0.31 (``tests/hosted/test_wire.py`` compares them with the installed one). The API key goes into one header and
nowhere else: no error shows headers.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import math
import os
import random
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from wandbsweep.errors import SweepError
from wandbsweep.wandb_runs.auth import Login

log = logging.getLogger(__name__)

_LONGEST_RETRY_AFTER_S = 3600.0

CREATE_AGENT = """
mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) {
    agent { id }
  }
}"""
HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) {
    agent { id }
    commands
  }
}"""
_RUN = "id name displayName sweepName state config createdAt"
AGENT_RUNS = f"""
query GetAgentRuns(
  $agentID: String!, $sweep: String!, $entity: String, $project: String, $first: Int, $order: String
) {{
  project(name: $project, entityName: $entity) {{
    sweep(sweepName: $sweep) {{
      agent(agentName: $agentID) {{ runs(first: $first, order: $order) {{ edges {{ node {{ {_RUN} }} }} }} }}
    }}
  }}
}}"""
RUNS = f"""
query Runs(
  $project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $order: String, $filters: JSONString
) {{
  project(name: $project, entityName: $entity) {{
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {{ edges {{ node {{ {_RUN} }} }} }}
  }}
}}"""
SWEEP = """
query GetSweep($name: String!, $project: String, $entity: String) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { id name state config } }
}"""
SET_STATE = """
mutation UpsertSweep($id: ID, $state: String, $entityName: String, $projectName: String) {
  upsertSweep(input: {id: $id, state: $state, entityName: $entityName, projectName: $projectName}) {
    sweep { name }
  }
}"""
RESUME_STATUS = """
query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) { id name historyLineCount } }
}"""
VIEWER = """
query Viewer { viewer { id entity username teams { edges { node { name } } } } }"""


class WandbError(SweepError):
    """W&B does not do what was asked; ``status`` is the HTTP status, None where there was no reply."""

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s

    @property
    def transient(self) -> bool:
        """Whether asking again may help."""
        return self.status is None or self.status in (408, 409, 425, 429) or (self.status >= 500 and self.status != 501)

    @property
    def undone(self) -> bool:
        """Whether it is sure that nothing was done: the server said so before it looked at the request."""
        return self.status is not None and 400 <= self.status < 500 and self.status != 408


@dataclass(frozen=True)
class Reply:
    """The data of an answer, and when the server says that it was given (Unix time), if it says so."""

    data: Mapping[str, Any]
    server_time: float | None = None


@dataclass(frozen=True)
class Patience:
    """How long to go on asking while W&B fails, and how the pauses grow (each ± half of itself)."""

    total_s: float = 900.0
    first_s: float = 0.5
    longest_s: float = 60.0

    def pauses(self) -> Iterator[float]:
        pause, left = self.first_s, self.total_s
        while left > 0:
            yield min(left, pause * random.uniform(0.5, 1.5))
            left -= pause
            pause = min(self.longest_s, pause * 2)


@dataclass(eq=False)
class Wire:
    """Speaks to one server under one login; safe to use from several threads."""

    login: Login
    patience: Patience = field(default_factory=Patience)
    timeout_s: float = 60.0
    closed: threading.Event = field(default_factory=threading.Event, repr=False)

    def call(self, operation: str, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """The data that ``operation`` answers; asked again while W&B fails, so it must bear being done twice."""
        pauses = self.patience.pauses()
        while True:
            try:
                return self.once(operation, query, variables).data
            except WandbError as error:
                if not error.transient:
                    raise
                self.back_off(error, pauses)

    def back_off(self, error: WandbError, pauses: Iterator[float]) -> None:
        """Wait before asking again: as long as W&B said, else a pause of ``pauses``; raises ``error`` at their end."""
        pause = next(pauses, None)
        if pause is None or self.closed.is_set():
            raise error
        if error.retry_after_s is not None:
            pause = error.retry_after_s * random.uniform(1.0, 1.25)
        log.log(logging.WARNING if pause > 5 else logging.INFO, "%s; asking again in %.1f s", error, pause)
        self.closed.wait(pause)

    def once(self, operation: str, query: str, variables: Mapping[str, Any]) -> Reply:
        """Ask once. Raises WandbError, with a message of one line that holds no secret."""
        body = json.dumps({"operationName": operation, "query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.login.base_url}/graphql", data=body, headers=self._headers())
        try:
            with self._opener.open(request, timeout=self.timeout_s) as response:
                raw, date = response.read(), response.headers.get("Date")
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(operation, self.login.base_url, error) from None
        except (OSError, http.client.HTTPException) as error:
            raise WandbError(f"{self.login.base_url} does not answer {operation}: {_reason(error)}") from None
        return Reply(_data(operation, raw), _seconds(date))

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        """Through the proxies of the environment, trusting the authorities that wandb trusts."""
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None
        context = ssl.create_default_context(cafile=bundle)  # 20 ms, so once
        # As wandb, which takes no proxy to this very machine, whatever HTTP_PROXY says.
        proxies: dict[str, str] | None = {} if _is_loopback(self.login.base_url) else None
        handlers = [urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=context)]
        return urllib.request.build_opener(_NoRedirect, *handlers)

    def _headers(self) -> dict[str, str]:
        token = base64.b64encode(f"api:{self.login.api_key}".encode()).decode()
        return {"Authorization": f"Basic {token}", "Content-Type": "application/json", "User-Agent": "wandbsweep"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to wherever it leads."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _refused(operation: str, url: str, error: urllib.error.HTTPError) -> WandbError:
    try:
        message = _messages(json.loads(error.read()))
    except (ValueError, OSError, http.client.HTTPException):  # a proxy's page, or nothing
        message = str(error.reason)
    if error.code == 401:
        message = "the API key is not valid there; run `wandb login --relogin`, or set WANDB_API_KEY"
    if 300 <= error.code < 400:
        message = f"it has moved to {_place(error.headers.get('Location'))}; set WANDB_BASE_URL to where it is"
    told = f"{url} answers {operation} with {error.code}: {message}"
    return WandbError(told, error.code, _pause_of(error.headers.get("Retry-After")))


def _place(location: str | None) -> str:
    """Of an address, what may be shown: neither what stands in its query nor a password."""
    parts = urlsplit(location or "")
    return f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.hostname else "somewhere else"


def _pause_of(retry_after: str | None) -> float | None:
    """Retry-After in seconds: a number, or a date. None: there is none, or it makes no sense."""
    if retry_after is None:
        return None
    try:
        pause = float(retry_after)
    except ValueError:
        moment = _seconds(retry_after)
        pause = math.nan if moment is None else moment - time.time()
    return None if math.isnan(pause) else min(max(0.0, pause), _LONGEST_RETRY_AFTER_S)


def _seconds(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError | socket.timeout):
        return "no reply in time"
    return " ".join(str(cause).split()) or type(cause).__name__


def _data(operation: str, raw: bytes) -> Mapping[str, Any]:
    try:
        reply = json.loads(raw)
    except ValueError:
        raise WandbError(f"The reply to {operation} is no JSON; is the address that of W&B's API?", 502) from None
    if not isinstance(reply, dict) or reply.get("errors") or not isinstance(reply.get("data"), dict):
        raise WandbError(f"W&B refuses {operation}: {_messages(reply)}", _told_status(reply))
    return dict(reply["data"])


def _told_status(reply: Any) -> int:
    """Of errors that came with HTTP 200: the status that one of them names, else 400."""
    errors = reply.get("errors") if isinstance(reply, dict) else None
    for error in errors if isinstance(errors, list) else []:
        more = error.get("extensions") if isinstance(error, dict) else None
        for given in (more, error):
            for key in ("status", "statusCode", "code"):
                status = given.get(key) if isinstance(given, dict) else None
                if str(status).isdecimal() and 400 <= int(str(status)) < 600:
                    return int(str(status))
    return 400


def _messages(reply: Any) -> str:
    errors = reply.get("errors") if isinstance(reply, dict) else None
    if not isinstance(errors, list):
        errors = [reply.get("error")] if isinstance(reply, dict) and reply.get("error") else []
    told = [str(error.get("message", error)) if isinstance(error, dict) else str(error) for error in errors]
    return " ".join("; ".join(told).split())[:500] or "no reason given"
