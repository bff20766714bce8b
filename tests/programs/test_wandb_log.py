"""Reading the log of a run that the real client has written, and files that are none."""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest

from wandbsweep.programs.listening import WandbListener
from wandbsweep.programs.wandb_log import LogFollower, Row, find_open_logs, list_logs

SCRIPT = """
    import wandb

    run = wandb.init(config={"lr": 5})
    assert run.config.lr == 5
    wandb.log({"loss": 1.5, "epoch": 0, "name": "text", "fine": True, "nested": {"a": {"b": 2}}})
    wandb.log({"loss": float("nan"), "up": float("inf"), "down": float("-inf"), "picture": wandb.Histogram([1, 2])})
    wandb.log({"loss": 0.5, "long": "x" * 100_000, "-1": -1})  # longer than three blocks of the log
    wandb.log({"loss": 0.25}, step=10)
    wandb.log({"accuracy": 0.75}, step=10)
    run.summary["best"] = {"loss": 0.25}
    run.finish()
"""


def run_client(directory: Path, script: str = SCRIPT, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    quick = dict.fromkeys(["WANDB_X_DISABLE_META", "WANDB_X_DISABLE_STATS", "WANDB_SILENT"], "true")
    own |= quick | {"WANDB_DIR": str(directory), "WANDB_MODE": "offline", "WANDB_RUN_ID": "r1", **environment}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, env=own, cwd=directory, capture_output=True, text=True, check=True, timeout=60)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    run_client(directory)
    (found,) = list_logs(directory / "wandb")
    return found


def as_text(rows: list[Row]) -> list[tuple[int, str]]:
    """The rows in a form in which NaN equals itself."""
    return [(row.step, str(sorted(row.metrics.items()))) for row in rows]


def test_the_rows_of_a_run(written: Path) -> None:
    follower = LogFollower(written)
    rows = follower.read()
    assert follower.fault == ""
    assert not follower.unknown
    assert [row.step for row in rows] == [0, 1, 2, 10]
    assert rows[0].metrics == {"loss": 1.5, "epoch": 0.0, "nested.a.b": 2.0}
    assert math.isnan(rows[1].metrics.pop("loss"))
    assert rows[1].metrics == {"up": math.inf, "down": -math.inf}
    assert rows[2].metrics == {"loss": 0.5, "-1": -1.0}
    assert rows[3].metrics == {"loss": 0.25, "accuracy": 0.75}
    assert all(row.logged_at for row in rows)
    assert follower.summary["best.loss"] == 0.25
    assert follower.read() == []


@pytest.mark.parametrize("size", [1, 997, 32_768])
def test_a_log_that_grows(written: Path, size: int, tmp_path: Path) -> None:
    data, growing = written.read_bytes(), tmp_path / "run-r1.wandb"
    size = max(size, len(data) // 2000) if size > 1 else len(data) // 500
    follower, rows = LogFollower(growing), []
    assert follower.read() == []
    with growing.open("wb", buffering=0) as file:
        for start in range(0, len(data), size):
            file.write(data[start : start + size])
            rows += follower.read()
    assert follower.fault == ""
    assert as_text(rows) == as_text(LogFollower(written).read())


def frame(record: bytes) -> bytes:
    """A record as one whole chunk of the log."""
    return struct.pack("<IHB", zlib.crc32(b"\1" + record), len(record), 1) + record


def write_log(directory: Path, *records: bytes) -> Path:
    place = directory / "offline-run-1" / "run-r1.wandb"
    place.parent.mkdir()
    place.write_bytes(b":W&B\xe1\xbe\0" + b"".join(map(frame, records)))
    return place


def test_typed_values_are_read_too(tmp_path: Path) -> None:
    """The client's messages have a typed form of each value, and may leave the JSON form out one day."""
    from wandb.proto.wandb_internal_pb2 import Record

    record = Record()
    record.history.step.num = 3
    given = {"number": 0.5, "integer": -3, "json": '{"a": 1}', "text": "x", "boolean": True}
    for name, value in given.items():
        setattr(record.history.item.add(key=name), name, value)
    (row,) = LogFollower(write_log(tmp_path, record.SerializeToString())).read()
    assert row == Row(3, {"number": 0.5, "integer": -3.0, "json.a": 1.0})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda data: b"SQLite format 3\0" + data, "this version of W&B's client writes another format"),
        (lambda data: data[:6] + b"\1" + data[7:], "this version of W&B's client writes another format"),
        (lambda data: data[:40] + b"\0" + data[41:], "its checksum is wrong at byte 7, so it is damaged"),
    ],
)
def test_what_is_no_log_is_no_empty_one(written: Path, change, fault: str, tmp_path: Path) -> None:
    place = tmp_path / "offline-run-1" / "run-r1.wandb"
    place.parent.mkdir()
    place.write_bytes(change(written.read_bytes()))
    listener = WandbListener(tmp_path, b"none")
    assert listener.read(is_over=True) == []
    assert fault in listener.describe_fault()


def test_records_of_unknown_kinds_are_counted(tmp_path: Path) -> None:
    """A later client may write the history in another record."""
    write_log(tmp_path, b"\x08\x01", b"\xf2\x02\x00", b"\xf2\x02\x00")  # twice field 46, empty
    listener = WandbListener(tmp_path, b"none")
    listener.read()
    assert "records of the unknown kinds 46 (2 times)" in listener.describe_fault()


def test_a_log_elsewhere_is_found_by_who_has_it_open(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "run-x.wandb"
    elsewhere.parent.mkdir()
    program = "import sys; file = open(sys.argv[1], 'w'); print(flush=True); sys.stdin.read()"
    marker = f"WANDBSWEEP_REPORTS={os.urandom(8).hex()}"
    name, _, value = marker.partition("=")
    command = [sys.executable, "-c", program, str(elsewhere)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, name: value}, **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert find_open_logs(marker.encode()) == [elsewhere]
        process.communicate()
    assert find_open_logs(marker.encode()) == []
