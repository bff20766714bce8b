"""Who one is at W&B: server, key, entity and project, found where wandb finds them.

Read from the environment, the netrc file and wandb's settings files, without importing wandb: its settings are read
once per process, and an agent's processes outlive many runs.
"""

from __future__ import annotations

import configparser
import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from wandbsweep.errors import SweepError

DEFAULT_URL = "https://api.forge.coreweave.com"
"""wandb 0.31's default; ``api.wandb.ai`` is the same service under its older name."""

_FORGE = "forge.coreweave.com"
_OLD_NAME = "api.wandb.ai"


class LoginError(SweepError):
    """No way to log in at W&B: the message says what to set."""


@dataclass(frozen=True)
class Login:
    """A W&B account. The key shows in no ``repr`` and is in no pickle: where one is loaded, it is read anew."""

    base_url: str
    api_key: str = field(repr=False)
    entity: str | None = None
    project: str | None = None

    def __reduce__(self) -> tuple[object, tuple[str | None, ...]]:
        return _again, (self.base_url, self.entity, self.project)


def read_login(
    *, base_url: str | None = None, entity: str | None = None, project: str | None = None, need_key: bool = True
) -> Login:
    """The login that wandb would use, with what is given in place of what it would find.

    Raises LoginError where there is no API key, unless ``need_key`` is false (the key is empty then).
    """
    settings = _settings_files(os.environ)

    def found(name: str, given: str | None = None) -> str | None:
        return given or os.environ.get(f"WANDB_{name.upper()}") or settings.get(name) or None

    url = (found("base_url", base_url) or DEFAULT_URL).rstrip("/")
    if urlsplit(url).hostname == _FORGE:  # the address of the web pages' proxy
        url = DEFAULT_URL
    if "@" in (place := urlsplit(url).netloc):  # a password, which neither requests nor messages are to hold
        url = url.replace(place, place.rpartition("@")[2], 1)
    key = os.environ.get("WANDB_API_KEY") or _netrc_key(url) or settings.get("api_key") or ""
    if need_key and not key:
        raise LoginError(_no_key(url))
    return Login(url, key.strip(), found("entity", entity), found("project", project))


def _again(base_url: str, entity: str | None, project: str | None) -> Login:
    return read_login(base_url=base_url, entity=entity, project=project)


def _no_key(url: str) -> str:
    if os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return "WANDB_IDENTITY_TOKEN_FILE is set, but sweeps at W&B need an API key: set WANDB_API_KEY instead."
    return f"There is no API key for {url}: run `wandb login`, or set WANDB_API_KEY."


def _netrc_key(url: str) -> str | None:
    path = netrc_path()
    try:
        stored = netrc.netrc(path)
    except (OSError, netrc.NetrcParseError):  # missing or unreadable, for W&B as well
        return None
    for host in hosts(url):
        if entry := stored.authenticators(host):
            return entry[2] or None
    return None


def netrc_path() -> Path:
    if given := os.environ.get("NETRC"):
        return Path(given).expanduser()
    candidates = [Path(name).expanduser() for name in ("~/.netrc", "~/_netrc")]
    return next((path for path in candidates if path.exists()), candidates[0])


def hosts(url: str) -> list[str]:
    """The names, with port, under which wandb looks for a login."""
    host = urlsplit(url).netloc
    return [host, _OLD_NAME] if host.endswith(_FORGE) else [host]


def read_stored_mode() -> str | None:
    """What ``wandb offline`` and ``wandb disabled`` have written here, if they were run."""
    return _settings_files(os.environ).get("mode")


def _settings_files(environ: Mapping[str, str]) -> dict[str, str]:
    """What stands in wandb's settings files: the user's, and over it the working directory's."""
    config = Path(environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    local = Path(environ.get("WANDB_DIR") or ".")
    places = [config / "settings", local / "wandb" / "settings"]
    found: dict[str, str] = {}
    for place in places:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(place)
        except (OSError, configparser.Error, UnicodeError):  # unreadable for W&B, too
            continue
        if parser.has_section("default"):
            found.update(parser.items("default"))
    return found
