"""``wandbsweep dashboard``: Optuna's dashboard on the sweep's storage."""

from __future__ import annotations

import argparse

from wandbsweep.cli.command import Command, read_sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8080, help="the port to listen on (default: 8080)")


def run(options: argparse.Namespace) -> int:
    import logging

    from wandbsweep.errors import SweepError
    from wandbsweep.storage.open import open_storage
    from wandbsweep.sweep.directory import locate_storage

    data = read_sweep(options)
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise SweepError(
            "Optuna's dashboard is not installed: pip install 'wandbsweep[dashboard]'. "
            "`wandbsweep report` needs no further package."
        ) from None
    url, _ = locate_storage(data.directory, data.launch_record)
    storage = open_storage(data.directory, url)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    print(f"http://127.0.0.1:{options.port}/dashboard/ until Ctrl-C", flush=True)
    run_server(storage.open_optuna(), host="127.0.0.1", port=options.port)
    return 0


COMMAND = Command("dashboard", "Serve Optuna's dashboard of the sweep until Ctrl-C.", run, add_arguments)
