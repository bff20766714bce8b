"""Sends GraphQL operations to W&B's server over HTTPS, with retries.

The API key goes into one header and nowhere else: no error message shows headers.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import math
import os
import random
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
from wandbsweep.retry import Backoff
from wandbsweep.wandb_runs.auth import Login

log = logging.getLogger(__name__)

BACKOFF = Backoff(total_s=900.0, first_s=0.5, longest_s=60.0, jitter=(0.5, 1.5))
"""By default, requests to W&B are retried for a quarter of an hour."""

_LONGEST_RETRY_AFTER_S = 3600.0


class WandbError(SweepError):
    """W&B refuses a request or does not answer it; ``status`` is the HTTP status, None: there was no reply."""

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s

    @property
    def is_transient(self) -> bool:
        """Whether asking again may help."""
        return self.status is None or self.status in (408, 409, 425, 429) or (self.status >= 500 and self.status != 501)

    @property
    def had_no_effect(self) -> bool:
        """Whether the request certainly had no effect, because the server rejected it first."""
        return self.status is not None and 400 <= self.status < 500 and self.status != 408


@dataclass(frozen=True)
class Reply:
    """The data of a reply, and the server's time in Unix seconds; None: the reply has no date."""

    data: Mapping[str, Any]
    server_time: float | None = None


@dataclass(eq=False)
class Transport:
    """Sends operations to one server under one login; safe to use from several threads."""

    login: Login
    backoff: Backoff = BACKOFF
    timeout_s: float = 60.0
    closed: threading.Event = field(default_factory=threading.Event, repr=False)
    """Once set, no request is retried and every pause ends."""

    def call(self, operation: str, query: str, variables: Mapping[str, Any]) -> Reply:
        """Send ``operation``, and repeat it while W&B fails. It must be safe to execute twice.

        Args:
            operation: The name of the GraphQL operation.
            query: Its document (``queries``).
            variables: Its variables.

        Raises:
            WandbError: W&B refuses the request, or failed for as long as ``backoff`` allows.
        """
        pauses = self.backoff.pauses()
        while True:
            try:
                return self.call_once(operation, query, variables)
            except WandbError as error:
                if not error.is_transient:
                    raise
                self.wait_to_retry(error, pauses)

    def wait_to_retry(self, error: WandbError, pauses: Iterator[float]) -> None:
        """Wait as long as W&B asks for, else for the next of ``pauses``. Raises ``error`` if no pause is left."""
        pause = next(pauses, None)
        if pause is None or self.closed.is_set():
            raise error
        if error.retry_after_s is not None:
            pause = error.retry_after_s * random.uniform(1.0, 1.25)  # agents must not all return at once
        log.log(logging.WARNING if pause > 5 else logging.INFO, "%s; asking again in %.1f s", error, pause)
        self.closed.wait(pause)

    def call_once(self, operation: str, query: str, variables: Mapping[str, Any]) -> Reply:
        """Send ``operation`` once. Raises WandbError, whose message is one line and holds no secret."""
        body = json.dumps({"operationName": operation, "query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.login.base_url}/graphql", data=body, headers=self._make_headers())
        try:
            with self._opener.open(request, timeout=self.timeout_s) as response:
                raw, date = response.read(), response.headers.get("Date")
        except urllib.error.HTTPError as error:
            with error:
                raise _convert_http_error(operation, self.login.base_url, error) from None
        except (OSError, http.client.HTTPException) as error:
            raise WandbError(f"{self.login.base_url} does not answer {operation}: {_describe(error)}") from None
        return Reply(_read_data(operation, raw), _parse_date(date))

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        """Uses the proxies of the environment and trusts the certificate authorities that wandb trusts."""
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None
        context = ssl.create_default_context(cafile=bundle)  # takes 20 ms, so it is cached
        # Like wandb, use no proxy for this machine, whatever HTTP_PROXY says.
        proxies: dict[str, str] | None = {} if _is_loopback(self.login.base_url) else None
        handlers = [urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=context)]
        return urllib.request.build_opener(_NoRedirect, *handlers)

    def _make_headers(self) -> dict[str, str]:
        token = base64.b64encode(f"api:{self.login.api_key}".encode()).decode()
        return {"Authorization": f"Basic {token}", "Content-Type": "application/json", "User-Agent": "wandbsweep"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would send the key to another server."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _convert_http_error(operation: str, url: str, error: urllib.error.HTTPError) -> WandbError:
    try:
        reason = _join_error_messages(json.loads(error.read()))
    except (ValueError, OSError, http.client.HTTPException):  # a proxy's HTML page, or an empty body
        reason = str(error.reason)
    if error.code == 401:
        reason = "the API key is not valid there; run `wandb login --relogin`, or set WANDB_API_KEY"
    if 300 <= error.code < 400:
        reason = f"it has moved to {_hide_secrets(error.headers.get('Location'))}; set WANDB_BASE_URL to where it is"
    message = f"{url} answers {operation} with {error.code}: {reason}"
    return WandbError(message, error.code, parse_retry_after(error.headers.get("Retry-After")))


def _hide_secrets(location: str | None) -> str:
    """Return the address without its query and password."""
    parts = urlsplit(location or "")
    return f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.hostname else "somewhere else"


def parse_retry_after(header: str | None) -> float | None:
    """Return Retry-After, a number of seconds or a date, in seconds from now; None: missing or not valid."""
    if header is None:
        return None
    try:
        pause = float(header)
    except ValueError:
        moment = _parse_date(header)
        pause = math.nan if moment is None else moment - time.time()
    return None if math.isnan(pause) else min(max(0.0, pause), _LONGEST_RETRY_AFTER_S)


def _parse_date(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None


def _describe(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no reply in time"
    return " ".join(str(cause).split()) or type(cause).__name__


def _read_data(operation: str, raw: bytes) -> Mapping[str, Any]:
    try:
        reply = json.loads(raw)
    except ValueError:
        raise WandbError(f"The reply to {operation} is not JSON; is the address that of W&B's API?", 502) from None
    if not isinstance(reply, dict) or reply.get("errors") or not isinstance(reply.get("data"), dict):
        raise WandbError(f"W&B refuses {operation}: {_join_error_messages(reply)}", _find_status(reply))
    return dict(reply["data"])


def _find_status(reply: Any) -> int:
    """Return the status that the errors of a reply name. GraphQL sends errors with HTTP 200; 400: none is named."""
    errors = reply.get("errors") if isinstance(reply, dict) else None
    for error in errors if isinstance(errors, list) else []:
        extensions = error.get("extensions") if isinstance(error, dict) else None
        for place in (extensions, error):
            for key in ("status", "statusCode", "code"):
                status = place.get(key) if isinstance(place, dict) else None
                if str(status).isdecimal() and 400 <= int(str(status)) < 600:
                    return int(str(status))
    return 400


def _join_error_messages(reply: Any) -> str:
    errors = reply.get("errors") if isinstance(reply, dict) else None
    if not isinstance(errors, list):
        errors = [reply.get("error")] if isinstance(reply, dict) and reply.get("error") else []
    messages = [str(error.get("message", error)) if isinstance(error, dict) else str(error) for error in errors]
    return " ".join("; ".join(messages).split())[:500] or "no reason given"
