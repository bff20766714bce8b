"""The applications of the suite, each a text file in ``applications/``.

Such a file begins with a line that says what the application shows. A line ``$ command`` is its multirun, a plain
comma grid. The application's files follow, each under a line ``-- its/path --``. Without an ``app.py`` it has
``DEFAULT_APP``. ``(For Hydra: the basic launcher.)`` marks what other launchers of Hydra's own sweeper cannot run.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "applications"
_BASIC = "(For Hydra: the basic launcher.)"
_FILE = re.compile(r"^-- (\S+) --\n", re.MULTILINE)

DEFAULT_APP = """\
import hydra
from recorder import record


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    record(cfg)


if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True)
class Application:
    name: str
    about: str
    """What it shows."""
    command: list[str]
    """The words that start its multirun, without sweeper and launcher."""
    is_basic: bool
    """Whether Hydra's own sweeper can run it under its basic launcher alone, where the script runs the task itself."""
    environment: dict[str, str]
    """The variables that the command sets."""
    files: dict[str, str]

    def write(self, directory: Path) -> None:
        for name, text in self.files.items():
            file = directory / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")


def read_applications() -> list[Application]:
    return [_read(path) for path in sorted(_DIRECTORY.glob("*.txt"))]


def _read(path: Path) -> Application:
    head, *rest = _FILE.split(path.read_text(encoding="utf-8"))
    about, _, command = head.rstrip().partition("\n$ ")
    is_basic = about.endswith(_BASIC)
    words = shlex.split(command)
    assert words, f"{path}: the first lines must say what it shows, and the command"
    environment = {}
    while re.match(r"[A-Z_]+=", words[0]):
        name, _, environment_value = words.pop(0).partition("=")
        environment[name] = environment_value
    if words[0] == "python":
        words[0] = sys.executable
    files = dict(zip(rest[::2], rest[1::2], strict=True))
    if "app.py" in words:
        files.setdefault("app.py", DEFAULT_APP)
    return Application(path.stem, about, words, is_basic, environment, files)
