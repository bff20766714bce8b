"""The append-only log: what killed writers, full disks and many writers at once do to it."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from wandbsweep.errors import SweepDirectoryError
from wandbsweep.storage import append_log
from wandbsweep.storage.append_log import AppendLog, LockedLog, Tail, parse_lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def python(code: str, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("torn", ['{"a": 1', "\0" * 100, "x" * 10_000])
def test_a_torn_tail_is_not_read_and_cut_by_the_next_writer(path: Path, torn: str) -> None:
    AppendLog(path).append(b'{"n":0}\n')
    with path.open("a") as file:
        file.write(torn)
    assert AppendLog(path).read() == b'{"n":0}\n'
    AppendLog(path).append(b'{"n":1}\n')
    assert path.read_text() == '{"n":0}\n{"n":1}\n'


def test_a_file_that_holds_only_a_torn_line(path: Path) -> None:
    path.write_text('{"n"')
    AppendLog(path).append(b"1\n")
    assert path.read_bytes() == b"1\n"


def test_lines_are_read_from_an_offset(path: Path) -> None:
    log = AppendLog(path)
    assert log.read() == b""
    log.append(b"1\n22\n")
    assert (log.read(2), log.read(5)) == (b"22\n", b"")


def test_a_writer_reads_what_others_wrote_before_it_appends(path: Path) -> None:
    def count(file: LockedLog) -> None:
        file.append(b"%d\n" % len(file.read().splitlines()))

    threads = [threading.Thread(target=AppendLog(path).update, args=(count,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text().splitlines() == [str(n) for n in range(20)]


def test_a_writer_killed_while_it_holds_the_lock_stalls_nobody(path: Path) -> None:
    AppendLog(path).append(b"0\n")
    code = (
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1], 'r+b', buffering=0)\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "file.seek(0, 2); file.write(b'{\"half')\n"
        "print('locked', flush=True); time.sleep(60)\n"
    )
    with python(code, path) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "locked\n"
        waiting = threading.Thread(target=AppendLog(path).append, args=(b"1\n",))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        writer.send_signal(signal.SIGKILL)
        waiting.join(30)
        assert not waiting.is_alive()
    assert path.read_bytes() == b"0\n1\n"


def test_a_forked_process_does_not_keep_the_lock(path: Path) -> None:
    """It shares the open file, and with it the lock, for as long as it lives."""
    code = (
        "import os, pathlib, sys, time\n"
        "from wandbsweep.storage.append_log import AppendLog\n"
        "with AppendLog(pathlib.Path(sys.argv[1])).locked():\n"
        "    if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "AppendLog(pathlib.Path(sys.argv[1])).append(b'1\\n')\n"
        "print('appended', flush=True)\n"
    )
    with python(code, path, start_new_session=True) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "appended\n"
        os.killpg(writer.pid, signal.SIGKILL)


def test_an_append_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    AppendLog(path).append(b"0\n")

    def limit_file_size() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))

    code = (
        "import pathlib, sys\n"
        "from wandbsweep.storage.append_log import AppendLog\n"
        "try: AppendLog(pathlib.Path(sys.argv[1])).append(b'x' * 100 + b'\\n')\n"
        "except OSError as error: print(error.strerror)\n"
    )
    with python(code, path, preexec_fn=limit_file_size) as writer:
        assert writer.stdout
        assert writer.stdout.read() == "File too large\n"
    assert path.read_bytes() == b"0\n"


def test_eight_processes_append_at_once_while_another_reads(path: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "from wandbsweep.storage.append_log import AppendLog\n"
        "log = AppendLog(pathlib.Path(sys.argv[1]))\n"
        "for n in range(200): log.append(b'[%d,%d,\"%s\"]\\n' % (int(sys.argv[2]), n, b'x' * (n % 50)))\n"
    )
    writers = [python(code, path, k) for k in range(8)]
    log, read = AppendLog(path), b""
    while any(writer.poll() is None for writer in writers):
        read += log.read(len(read))
    read += log.read(len(read))
    for writer in writers:
        assert writer.stdout
        writer.stdout.close()
        assert writer.returncode == 0
    lines = [json.loads(line) for line in read.splitlines()]
    for k in range(8):
        assert [n for writer, n, _ in lines if writer == k] == list(range(200))


def test_space_on_a_full_disk_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, full = append_log._write_all, iter([errno.ENOSPC, errno.EDQUOT])

    def write_on_full_disk(file: Any, data: bytes) -> None:
        write(file, data[:5])
        if (number := next(full, None)) is not None:
            raise OSError(number, "no room")
        write(file, data[5:])

    monkeypatch.setattr(append_log, "_write_all", write_on_full_disk)
    monkeypatch.setattr(append_log, "_RETRY_S", 0.0)
    AppendLog(path).append(b"0123456789\n")
    assert path.read_bytes() == b"0123456789\n"
    assert caplog.text.count("no room") == 1


def test_but_not_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_on_full_disk(file: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(append_log, "_write_all", write_on_full_disk)
    with pytest.raises(OSError, match="no room"):
        AppendLog(path, patience_s=0.0).append(b"1\n")


@pytest.mark.parametrize("damaged", [b"not json", b"[1]", b"1, 2"])
def test_a_damaged_line_is_named(path: Path, damaged: bytes) -> None:
    lines = b'{"n":0}\n' * 600 + damaged + b"\n"
    with pytest.raises(
        SweepDirectoryError, match=r"log.jsonl, line 611: the journal is damaged: .* is not a JSON object"
    ):
        list(parse_lines(lines, path, before=10))


def test_a_path_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(SweepDirectoryError, match="Cannot read"):
        AppendLog(tmp_path).read()
    with pytest.raises(SweepDirectoryError, match="Cannot write to"):
        AppendLog(tmp_path).append(b"1\n")


def test_the_tail_of_a_log_is_read_once(path: Path) -> None:
    log = AppendLog(path)
    tail = Tail(log)
    log.append(b'{"n":0}\n{"n":1}\n')
    assert tail.read_new() == [{"n": 0}, {"n": 1}]
    log.append(b'{"n":2}\n')
    assert tail.read_new() == [{"n": 2}]
    log.append(b'{"n":3}\n[]\n')
    for _ in range(2):
        with pytest.raises(SweepDirectoryError, match="line 5"):
            tail.read_new()
