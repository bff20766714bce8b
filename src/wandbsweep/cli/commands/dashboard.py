"""``wandbsweep dashboard``: Optuna's own dashboard on the sweep's storage."""

from __future__ import annotations

import argparse

from wandbsweep.cli.commands import Command, opened


def add(command: Command) -> None:
    parser = command("dashboard", run, "Open Optuna's dashboard on its storage, until Ctrl-C.")
    parser.add_argument("--port", type=int, default=8080, help="default: 8080")


def run(options: argparse.Namespace) -> int:
    import logging

    from wandbsweep.errors import SweepError
    from wandbsweep.storage.open import open_storage
    from wandbsweep.sweep.directory import locate_storage

    results = opened(options)
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise SweepError(
            "Optuna's dashboard is not installed: pip install 'wandbsweep[dashboard]'. "
            "`wandbsweep report` needs nothing more."
        ) from None
    url, _ = locate_storage(results.directory, results.launch_record)
    storage = open_storage(results.directory, url).open_optuna()
    logging.getLogger("optuna").setLevel(logging.WARNING)
    print(f"http://127.0.0.1:{options.port}/dashboard/ until Ctrl-C", flush=True)
    run_server(storage.open_optuna(), host="127.0.0.1", port=options.port)
    return 0
