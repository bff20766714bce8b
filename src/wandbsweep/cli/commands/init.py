"""``wandbsweep init``: a new project with a small training and its first sweep."""

from __future__ import annotations

import argparse
import json
import os
from importlib.resources import files
from pathlib import Path

from wandbsweep.cli.command import Command

FILES = {
    "train.py.template": "train.py",
    "conf/config.yaml": "conf/config.yaml",
    "conf/sweep/first.yaml": "conf/sweep/first.yaml",
    "gitignore": ".gitignore",
}
"""File of the template -> file of the project."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", nargs="?", default=".", metavar="DIRECTORY", help="where to create it (default: here)"
    )


def run(options: argparse.Namespace) -> int:
    from wandbsweep.errors import SweepError

    directory = Path(options.directory)
    existing = [name for name in FILES.values() if name != ".gitignore" and (directory / name).exists()]
    if existing:
        raise SweepError(f"{directory.absolute()} has {', '.join(existing)} already; nothing was written.")
    template = files("wandbsweep.cli.commands") / "template"
    written = []
    try:
        for name, target in FILES.items():
            path = directory / target
            if path.exists():  # only a .gitignore may exist
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
    prefix = "" if directory.resolve() == Path.cwd() else f"cd {os.path.relpath(directory)} && "
    print(f"Run it:    {prefix}python train.py")
    print(f"Sweep it:  {prefix}python train.py -m hydra/sweeper=wandbsweep")
    return 0


COMMAND = Command(
    "init",
    "Create a project: a small training, to be replaced by yours, and its first sweep.",
    run,
    add_arguments,
    takes_sweep=False,
)
