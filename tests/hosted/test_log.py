"""The log of a hosted sweep: its lines, and who may claim a run."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.configurations import RANDOM
from wandbsweep import load_sweep
from wandbsweep.controllers.hosted.log import HostedLog, is_requeued_by_us, read_run
from wandbsweep.controllers.outcome import StoredOutcome

SPEC = load_sweep(RANDOM)


def claim(log, run_id="r0", **options):
    return log.claim(run_id, {"x": {"value": 0.5}}, {"x": 0.5}, "a", **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "wandb.jsonl"


def write_lines(path, *lines):
    start = {"run": "r0", "args": {"x": {"value": 0.5}}, "params": {"x": 0.5}, "agent": "a", "process": "m/1/2/"}
    whole = [start | line if "at" in line and "state" not in line else line for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in whole))


def end(key, state, *, ours=False, at=2.0):
    return {"key": key, "state": state, "reason": "why", "value": None, "ours": ours, "at": at}


def test_lines_of_earlier_versions_are_read(path):
    reports = [{"key": 0, "step": step, "metrics": {"loss": loss, "acc": 1.0}} for step, loss in [(0, 0.5), (1, 0.4)]]
    write_lines(path, {"at": 1.0}, *reports, {"key": 0, "writes": True}, end(0, "queued", ours=True), {"at": 3.0})
    log = HostedLog(path, SPEC)
    (entry,), (record,) = log.entries(), log.records()
    assert read_run(entry).written_by_agent
    assert (record.state, record.attempts, record.started, record.ended) == ("running", 2, 1.0, None)
    assert (record.reports, record.metrics) == ({0: 0.5, 1: 0.4}, {"loss": 0.4, "acc": 1.0})
    assert entry.lost == {1}  # earlier versions did not say so, but queued it themselves


def test_an_attempt_that_is_taken_over_was_lost(path):
    log = HostedLog(path, SPEC)
    first = claim(log)
    key = first.newest.key
    again = log.take_over(first.newest, "b")
    assert (again.number, again.attempts, again.lost, again.agent) == (0, 2, {1}, "b")
    assert not log.report(key, 0, {"loss": 1.0})
    assert not log.close(key, StoredOutcome("finished"))


def test_a_run_that_ended_is_claimed_again_only_if_wandb_resumes_it(path):
    log = HostedLog(path, SPEC)
    entry = claim(log)
    log.close(entry.newest.key, StoredOutcome("finished", value=0.5))
    assert claim(log) is None
    assert claim(log, resumed=True).attempts == 2
    with log.reading() as table:
        assert (table.ended["finished"], [e.state for e in table.open]) == (0, ["running"])
    assert HostedLog(path, SPEC).records() == log.records()


@pytest.mark.parametrize("ours", [False, True])
def test_a_queued_trial_is_given_out_by_whoever_queued_it(path, ours):
    log = HostedLog(path, SPEC)
    log.close(claim(log).newest.key, StoredOutcome("queued", "preempted"), ours=ours)
    (entry,) = HostedLog(path, SPEC).entries()
    assert (entry.state, is_requeued_by_us(entry), entry.lost) == ("queued", ours, set())


def test_of_many_agents_one_claims_a_run(path):
    logs = [HostedLog(path, SPEC) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim, logs))
    assert sum(entry is not None for entry in claimed) == 1


def test_reports_in_memory_are_those_of_a_file(path):
    for log in (HostedLog(None, SPEC), HostedLog(path, SPEC)):
        key = claim(log).newest.key
        for step, loss in [(0, 0.5), (1, float("nan")), (0, 0.4)]:
            log.report(key, step, {"loss": loss})
        (record,) = log.records()
        assert (repr(record.reports), record.value) == ("{0: 0.4, 1: nan}", 0.4)
