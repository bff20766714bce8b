"""The W&B login: server, API key, entity and project.

They are read from the places that wandb reads: the environment, the netrc file and wandb's settings files. wandb itself
is not imported, because it reads its settings once per process, while an agent's process outlives many runs.
"""

from __future__ import annotations

import configparser
import netrc
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from wandbsweep.errors import SweepError

DEFAULT_URL = "https://api.forge.coreweave.com"
"""wandb 0.31's default; ``api.wandb.ai`` is the same service under its older name."""

_FORGE = "forge.coreweave.com"
_OLD_NAME = "api.wandb.ai"


class LoginError(SweepError):
    """Logging in at W&B is not possible; the message says what to set."""


@dataclass(frozen=True)
class Login:
    """A W&B account.

    ``repr`` does not show the key, and pickles do not hold it: unpickling reads it from the machine's own login.
    """

    base_url: str
    api_key: str = field(repr=False)
    entity: str = ""
    project: str = ""
    """Empty: not set. W&B then takes the account's default."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return partial(read_login, base_url=self.base_url, entity=self.entity, project=self.project), ()


def read_login(
    *, base_url: str | None = None, entity: str | None = None, project: str | None = None, need_key: bool = True
) -> Login:
    """Return the login that wandb would use.

    Args:
        base_url: Replaces the server that wandb would use.
        entity: Replaces the entity that wandb would use.
        project: Replaces the project that wandb would use.
        need_key: Whether a missing API key is an error; if not, the key may be empty.

    Raises:
        LoginError: There is no API key.
    """
    settings = _read_settings_files()

    def choose(name: str, given: str | None) -> str:
        return given or os.environ.get(f"WANDB_{name.upper()}") or settings.get(name) or ""

    url = (choose("base_url", base_url) or DEFAULT_URL).rstrip("/")
    if urlsplit(url).hostname == _FORGE:  # the address of the web pages, not of the API
        url = DEFAULT_URL
    if "@" in (place := urlsplit(url).netloc):  # remove a password, which requests and messages would show
        url = url.replace(place, place.rpartition("@")[2], 1)
    key = os.environ.get("WANDB_API_KEY") or _read_netrc_key(url) or settings.get("api_key") or ""
    if need_key and not key:
        raise LoginError(_explain_missing_key(url))
    return Login(url, key.strip(), choose("entity", entity), choose("project", project))


def read_stored_mode() -> str | None:
    """Return the mode that ``wandb offline`` or ``wandb disabled`` has stored here, if they were run."""
    return _read_settings_files().get("mode")


def _explain_missing_key(url: str) -> str:
    if os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return "WANDB_IDENTITY_TOKEN_FILE is set, but sweeps at W&B need an API key: set WANDB_API_KEY instead."
    return f"There is no API key for {url}: run `wandb login`, or set WANDB_API_KEY."


def _read_netrc_key(url: str) -> str | None:
    try:
        stored = netrc.netrc(_find_netrc())
    except (OSError, netrc.NetrcParseError):  # wandb ignores such a file, too
        return None
    host = urlsplit(url).netloc
    for name in [host, _OLD_NAME] if host.endswith(_FORGE) else [host]:
        if entry := stored.authenticators(name):
            return entry[2] or None
    return None


def _find_netrc() -> Path:
    if given := os.environ.get("NETRC"):
        return Path(given).expanduser()
    candidates = [Path(name).expanduser() for name in ("~/.netrc", "~/_netrc")]
    return next((path for path in candidates if path.exists()), candidates[0])


def _read_settings_files() -> dict[str, str]:
    """Return the contents of wandb's settings files; the working directory's file overrides the user's."""
    config = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    local = Path(os.environ.get("WANDB_DIR") or ".")
    found: dict[str, str] = {}
    for path in (config / "settings", local / "wandb" / "settings"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path)
        except (OSError, configparser.Error, UnicodeError):  # wandb ignores such a file, too
            continue
        if parser.has_section("default"):
            found.update(parser.items("default"))
    return found
