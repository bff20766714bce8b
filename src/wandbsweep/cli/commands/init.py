"""``wandbsweep init``: a project of one's own, to be changed from there."""

from __future__ import annotations

import argparse
import json
import os
from importlib.resources import files
from pathlib import Path

from wandbsweep.cli.commands import Command

FILES = {
    "train.py.template": "train.py",
    "conf/config.yaml": "conf/config.yaml",
    "conf/sweep/first.yaml": "conf/sweep/first.yaml",
    "gitignore": ".gitignore",
}
"""By their names in the template: what they are in the project."""


def add(command: Command) -> None:
    parser = command("init", run, "Start a project: a training to replace by yours, and its first sweep.", sweep=False)
    parser.add_argument("directory", nargs="?", default=".", metavar="DIRECTORY", help="default: this one")


def run(options: argparse.Namespace) -> int:
    from wandbsweep.errors import SweepError

    directory = Path(options.directory)
    there = [name for name in FILES.values() if name != ".gitignore" and (directory / name).exists()]
    if there:
        raise SweepError(f"{directory.absolute()} has {', '.join(there)} already; nothing was written.")
    template = files("wandbsweep.cli.commands") / "template"
    written = []
    try:
        for name, own in FILES.items():
            path = directory / own
            if path.exists():  # a .gitignore
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(template.joinpath(name).read_text(encoding="utf-8"), encoding="utf-8")
            written.append(str(path))
    except OSError as error:
        raise SweepError(f"Cannot write to {directory}: {error.strerror}.") from None
    if options.json:
        print(json.dumps({"directory": str(directory.absolute()), "files": written}))
        return 0
    print("\n".join(written))
    place = "" if directory.resolve() == Path.cwd() else f"cd {os.path.relpath(directory)} && "
    print(f"Run it:    {place}python train.py")
    print(f"Sweep it:  {place}python train.py -m hydra/sweeper=wandbsweep")
    return 0
