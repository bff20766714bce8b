"""Helpers of the tests of hosted sweeps."""

import base64
import json
import time
from dataclasses import replace
from pathlib import Path

from tests.hosted.server import API_KEY, ENTITY, Sweep
from wandbsweep import load_sweep
from wandbsweep.controllers.hosted.controller import HostedController
from wandbsweep.controllers.hosted.transport import BACKOFF
from wandbsweep.wandb_runs.auth import Login

ALL_BUT_THE_NEEDED = (
    "(?!(Viewer|UpsertSweep|CreateAgent|Heartbeat|UpsertBucket|file_stream|GetSweep|SweepWithRuns|Runs)$).*"
)
"""Operations that wandb's client can do without: a server may refuse them."""
QUICK_CLIENT = dict.fromkeys(["WANDB_X_DISABLE_META", "WANDB_X_DISABLE_STATS"], "true")
"""By default wandb inspects the machine, which takes seconds."""
QUICK = replace(BACKOFF, total_s=10.0, first_s=0.01, longest_s=0.05)


class ServerWriter:
    """Writes a run straight into the server's memory, as wandb would over the wire."""

    def __init__(self, server, run):
        self._server, self._run = server, run
        with server.lock:
            server.on_UpsertBucket(name=run.run_id, project=run.project, sweep=run.sweep_id, displayName=run.name)
            self._offset = len(server.runs[run.run_id].history)

    def log(self, step, metrics):
        rows = {"offset": self._offset, "content": [json.dumps({**metrics, "_step": self._offset})]}
        self._server.stream(self._run.run_id, {"files": {"wandb-history.jsonl": rows}})
        self._offset += 1

    def finish(self, exit_code, *, stopped="", preempted=False):
        body = {"complete": True, "exitcode": exit_code, "preempting": preempted}
        self._server.stream(self._run.run_id, body)


def add_sweep(server, config):
    """Add a sweep to the server, as ``wandb.sweep`` would; return its id."""
    sweep = Sweep(f"s{len(server.sweeps):07}", "digits", json.loads(json.dumps(config)))
    server.sweeps[sweep.name] = sweep
    return sweep.name


def make_controller(server, config, sweep_id=None, **options):
    login = Login(server.url, API_KEY, ENTITY, "digits")
    given = {"heartbeat_s": 0.05, "backoff": QUICK, "make_writer": lambda run, place: ServerWriter(server, run)}
    return HostedController(
        load_sweep(config), sweep_id or add_sweep(server, config), login=login, **{**given, **options}
    )


def make_environment(server, home):
    """Return the environment in which clients find ``server`` and none of the user's own settings."""
    places = {name: str(home / name) for name in ("WANDB_DIR", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR")}
    for place in places.values():
        Path(place).mkdir(exist_ok=True)
    login = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": API_KEY, "WANDB_ENTITY": ENTITY, "WANDB_PROJECT": "digits"}
    return {**places, **login, "HOME": str(home), "NETRC": str(home / "netrc"), "WANDB_DATA_DIR": str(home)}


def wait_until(condition, *, within_s=10.0):
    """Wait until another thread or process has made ``condition()`` true; return its value."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition never became true"
        time.sleep(0.01)
    return found


def list_files(directory):
    return [path for path in Path(directory).rglob("*") if path.is_file()]


def find_key(directory, *texts):
    """Return the files below ``directory``, and the positions in ``texts``, that contain the marked API key."""
    marks = [API_KEY.encode(), API_KEY[:20].encode(), base64.b64encode(f"api:{API_KEY}".encode())]
    written = {str(path): path.read_bytes() for path in list_files(directory)}
    written |= {f"text {i}": text.encode() for i, text in enumerate(texts)}
    assert len(written) > 5
    return [name for name, text in written.items() if any(mark in text for mark in marks)]
