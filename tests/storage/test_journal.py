"""The journal file: what dead writers, full disks and many writers at once do to it."""

import errno
import json
import resource
import signal
import subprocess
import sys
import threading

import pytest
from optuna.distributions import FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState, create_trial

from wandbsweep.storage import journal
from wandbsweep.storage.journal import JournalFile, JournalInMemory, WatchedJournal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.log"


def logs_of(path):
    return list(JournalFile(path).read_logs(0))


def python(code, *args, **kwargs):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, text=True, **kwargs)


class TestOptunasOwnSuiteOnTheFile(StorageTestCase):
    @pytest.fixture
    def storage(self, path):
        return WatchedJournal(JournalFile(path))


class TestOptunasOwnSuiteInMemory(StorageTestCase):
    @pytest.fixture
    def storage(self):
        return WatchedJournal(JournalInMemory())


@pytest.mark.parametrize("torn", ['{"a": 1', "\0" * 100, "x" * 10_000])
def test_a_torn_tail_is_not_read_and_cut_by_the_next_writer(path, torn):
    journal = JournalFile(path)
    journal.append_logs([{"n": 0}])
    with open(path, "a") as file:
        file.write(torn)
    assert list(journal.read_logs(0)) == [{"n": 0}]
    JournalFile(path).append_logs([{"n": 1}])
    assert list(journal.read_logs(1)) == [{"n": 1}]
    assert path.read_text() == '{"n":0}\n{"n":1}\n'


def test_a_file_that_is_nothing_but_a_torn_line(path):
    path.write_text('{"n"')
    JournalFile(path).append_logs([{"n": 1}])
    assert logs_of(path) == [{"n": 1}]


def test_a_writer_killed_while_it_holds_the_lock_stalls_nobody(path):
    JournalFile(path).append_logs([{"n": 0}])
    code = (
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1], 'r+b', buffering=0)\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "file.seek(0, 2); file.write(b'{\"half')\n"
        "print('locked', flush=True); time.sleep(60)\n"
    )
    with python(code, path) as writer:
        assert writer.stdout.readline() == "locked\n"
        waiting = threading.Thread(target=JournalFile(path).append_logs, args=([{"n": 1}],))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        writer.send_signal(signal.SIGKILL)
        waiting.join(5)
        assert not waiting.is_alive()
    assert logs_of(path) == [{"n": 0}, {"n": 1}]


def test_an_append_that_the_disk_has_no_room_for_leaves_the_file_as_it_was(path):
    JournalFile(path).append_logs([{"n": 0}])

    def full_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))

    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from wandbsweep.storage.journal import JournalFile\n"
        "try: JournalFile(Path(sys.argv[1])).append_logs([{'long': 'x' * 100}])\n"
        "except OSError as error: print(error.strerror)\n"
    )
    with python(code, path, preexec_fn=full_disk) as writer:
        assert writer.stdout.read() == "File too large\n"
    assert path.read_text() == '{"n":0}\n'
    JournalFile(path).append_logs([{"n": 1}])
    assert logs_of(path) == [{"n": 0}, {"n": 1}]


def test_eight_processes_append_at_once_while_another_reads(path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from wandbsweep.storage.journal import JournalFile\n"
        "journal = JournalFile(Path(sys.argv[1]))\n"
        "for n in range(200): journal.append_logs([{'writer': int(sys.argv[2]), 'n': n, 'pad': 'x' * (n % 50)}])\n"
    )
    reader = JournalFile(path)
    writers = [python(code, path, k) for k in range(8)]
    seen = []
    while any(writer.poll() is None for writer in writers):
        seen.extend(reader.read_logs(len(seen)))
    seen.extend(reader.read_logs(len(seen)))
    for writer in writers:
        writer.stdout.close()
        assert writer.returncode == 0
    assert seen == logs_of(path)
    for k in range(8):
        assert [log["n"] for log in seen if log["writer"] == k] == list(range(200))


def test_logs_can_be_read_again_from_any_number(path):
    journal = JournalFile(path)
    journal.append_logs([{"n": n} for n in range(5)])
    assert [log["n"] for log in journal.read_logs(3)] == [3, 4]
    assert [log["n"] for log in journal.read_logs(1)] == [1, 2, 3, 4]
    assert list(journal.read_logs(5)) == []


def test_a_log_is_one_line_whatever_it_holds(path):
    JournalFile(path).append_logs([{"text": "a\nb\u2028c\ud800"}])
    assert len(path.read_bytes().splitlines()) == 1
    assert json.loads(path.read_bytes()) == {"text": "a\nb\u2028c\ud800"}


def test_what_was_written_to_is_told_once(path):
    mine, other = (WatchedJournal(JournalFile(path)) for _ in range(2))
    study = mine.create_new_study([1])
    key = mine.create_new_trial(study)
    other.set_trial_intermediate_value(key, 0, 0.5)
    mine.get_trial(key)
    assert mine.written() == {key}
    assert mine.written() == set()


def test_whoever_creates_a_trial_knows_how_many_there_are(path):
    mine, other = (WatchedJournal(JournalFile(path)) for _ in range(2))
    study = mine.create_new_study([StudyDirection.MINIMIZE], "sweep")
    seen = []

    def made(before):
        seen.append(before)
        return create_trial(state=TrialState.RUNNING, params={}, distributions={})

    keys = [storage.create_trial(study, made) for storage in (mine, other, other, other, mine, other)]
    assert seen == list(range(6))
    assert len(set(keys)) == 6


def test_threads_create_trials_through_one_store(path):
    storage = WatchedJournal(JournalFile(path))
    study = storage.create_new_study([StudyDirection.MINIMIZE], "sweep")

    def create():
        for _ in range(100):
            storage.create_trial(study, lambda _: create_trial(state=TrialState.RUNNING, params={}, distributions={}))

    threads = [threading.Thread(target=create, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(storage.get_all_trials(study)) == 300


def test_others_can_write_while_what_was_written_is_read(path):
    mine, other = JournalFile(path), JournalFile(path)
    with mine.alone():
        mine.append_logs([{"a": 1}])
        late = threading.Thread(target=other.append_logs, args=([{"b": 1}],), daemon=True)
        late.start()
        late.join(10)
        assert list(mine.read_logs(0)) == [{"a": 1}, {"b": 1}]


def test_room_on_a_full_disk_is_waited_for(tmp_path, monkeypatch, caplog):
    write, full = journal._write_all, iter([errno.ENOSPC, errno.EDQUOT])

    def on_full_disk(file, data):
        write(file, data[:5])
        if (number := next(full, None)) is not None:
            raise OSError(number, "no room")
        write(file, data[5:])

    monkeypatch.setattr(journal, "_write_all", on_full_disk)
    monkeypatch.setattr(journal, "_RETRY_S", 0.0)
    backend = JournalFile(tmp_path / "journal.log")
    backend.append_logs([{"a": 1}])
    assert list(backend.read_logs(0)) == [{"a": 1}]
    assert caplog.text.count("no room") == 1


def test_but_not_for_ever(tmp_path, monkeypatch):
    def on_full_disk(file, data):
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(journal, "_write_all", on_full_disk)
    with pytest.raises(OSError, match="no room"):
        JournalFile(tmp_path / "journal.log", patience_s=0.0).append_logs([{"a": 1}])


def test_a_choice_is_written_at_once(path):
    """However many parameters it has: hundreds of agents wait for the same file."""
    appended = []

    class Counting(JournalFile):
        def append_logs(self, logs):
            appended.append(len(logs))
            super().append_logs(logs)

    storage = WatchedJournal(Counting(path))
    study = storage.create_new_study([StudyDirection.MINIMIZE], "sweep")
    trial = storage.create_new_trial(study)
    appended.clear()
    uniform = FloatDistribution(0.0, 1.0)
    storage.choose(trial, {"a": 1}, {"x": (0.25, uniform), "y": (0.5, uniform)})
    assert appended == [3]
    assert storage.get_trial(trial).params == {"x": 0.25, "y": 0.5}
    assert storage.get_trial(trial).system_attrs == {"a": 1}
    storage.set_trial_state_values(trial, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        storage.choose(trial, {"a": 2}, {})
