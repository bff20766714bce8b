"""The fold: what the stored attempts mean, read from a real study."""

import pytest

from wandbsweep.controllers.outcome import StoredOutcome
from wandbsweep.controllers.trial_entry import CLAIM, OUTCOME, PARAMS
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.storage.base import AttemptState, NewAttempt
from wandbsweep.storage.open import open_storage


class Study:
    """A study that agents write their attempts to."""

    def __init__(self, storage=None):
        self.storage = storage or open_storage(None)
        self.key = self.storage.create_study("sweep", ["minimize"])
        self.feed = self.storage.open_change_feed(self.key)
        self.table = TrialTable()

    def read(self):
        self.table.update(self.feed())
        return self.table

    def claim(self, number=None, attempt=1, cap=None, **attributes):
        claim = {"agent": "a", "number": number, "attempt": attempt, "cap": cap}
        return self.create({CLAIM: claim, **attributes})

    def create(self, attributes, key=None):
        return self.storage.create_attempt(self.key if key is None else key, lambda _: NewAttempt(attributes))

    def close(self, key, state, value=None):
        self.storage.set_attribute(key, OUTCOME, StoredOutcome(state, value=value).encode())
        self.storage.close_attempt(key, AttemptState.FAIL)


def states(table):
    return [record.state for record in table.records()]


def test_numbers_count_up_in_the_order_of_creation():
    study = Study()
    keys = [study.claim() for _ in range(3)]
    assert [study.read().find_number(key) for key in keys] == [0, 1, 2]


def test_a_claim_beyond_the_cap_is_void():
    study = Study()
    keys = [study.claim(cap=2) for _ in range(3)]
    assert [study.read().find_number(key) for key in keys] == [0, 1, None]


def test_void_claims_take_no_number_once_the_cap_is_raised():
    study = Study()
    keys = [study.claim(cap=1), study.claim(cap=1), study.claim(cap=2)]
    assert [study.read().find_number(key) for key in keys] == [0, None, 1]


def test_of_competing_continuations_the_first_wins():
    study = Study()
    study.close(study.claim(), "queued")
    assert study.read().find_queued().number == 0
    keys = [study.claim(number=0, attempt=2) for _ in range(3)]
    table = study.read()
    assert [table.find_number(key) for key in keys] == [0, None, None]
    assert table.find_queued() is None
    assert (table.records()[0].state, table.records()[0].attempts) == ("running", 2)


def test_a_late_continuation_does_not_touch_a_trial_that_ended():
    study = Study()
    study.close(study.claim(), "queued")
    study.close(study.claim(number=0, attempt=2), "finished", value=1.0)
    late = study.claim(number=0, attempt=2)
    study.close(late, "failed")
    table = study.read()
    assert table.find_number(late) is None
    assert (states(table), table.ended) == (["finished"], {"finished": 1})


@pytest.mark.parametrize("place", ["journal", "sqlite"])
def test_a_retry_that_is_not_closed_counts_and_all_readers_agree(tmp_path, place):
    url = None if place == "journal" else f"sqlite:///{tmp_path}/sweep.db"
    study = Study(open_storage(tmp_path, url))
    first = study.claim()
    retry = {"agent": "a", "number": 0, "attempt": 2, "cap": None, "retry": True}
    marked = {CLAIM: retry, OUTCOME: StoredOutcome("queued").encode()}
    early = study.create({CLAIM: retry | {"attempt": 3}, OUTCOME: marked[OUTCOME]})  # it foresees too much
    study.read()
    keys = [study.create(marked) for _ in range(2)]
    study.read()
    study.close(first, "failed")
    assert states(study.read()) == ["queued"]
    assert study.table.ended["failed"] == 0
    study.close(study.claim(number=0, attempt=3), "finished", value=1.0)
    late = Study.__new__(Study)
    late.storage, late.table = open_storage(tmp_path, url), TrialTable()
    late.feed = late.storage.open_change_feed(study.key)
    for table in (study.read(), late.read()):
        assert (states(table), table.ended["finished"], table.records()[0].attempts) == (["finished"], 1, 2)
        assert [table.find_number(key) for key in (*keys, early)] == [0, None, None]
    for each in (study, late):
        each.storage.close()


def test_trials_that_somebody_else_made_in_the_study_are_not_ours():
    study = Study()
    study.create({})
    mine = study.claim()
    study.create({})
    assert study.read().find_number(mine) == 0
    assert len(study.table.entries) == 1


def test_another_study_in_the_journal_is_not_ours():
    study = Study()
    other = study.storage.create_study("other", ["minimize"])
    foreign = study.create({}, other)
    mine = study.claim()
    study.read()
    study.storage.report(foreign, 0, 1.0)
    study.storage.report(mine, 0, 2.0)
    assert [record.reports for record in study.read().records()] == [{0: 2.0}]


def test_a_trial_closed_by_another_program_has_crashed():
    study = Study()
    study.storage.close_attempt(study.claim(), AttemptState.FAIL)
    (record,) = study.read().records()
    assert (record.state, record.reason, record.value) == ("crashed", "closed by another program", None)


def test_parameters_count_only_for_the_number_they_were_meant_for():
    study = Study()
    hoped = {"number": 0, "values": {"x": 1}}
    study.claim(**{PARAMS: hoped})
    second = study.claim(**{PARAMS: hoped})
    assert [record.params for record in study.read().records()] == [{"x": 1}, {}]
    study.storage.set_attribute(second, PARAMS, {"number": 1, "values": {"x": 2}})
    assert [record.params for record in study.read().records()] == [{"x": 1}, {"x": 2}]


def test_what_ended_is_counted_once_however_often_it_is_read():
    study = Study()
    keys = [study.claim() for _ in range(4)]
    for key, value in zip(keys, [3.0, 1.0, 2.0], strict=False):
        study.close(key, "finished", value)
        study.read()
        study.table.update(study.storage.open_change_feed(study.key)())
    assert (study.table.ended, study.table.best) == ({"finished": 3}, 1.0)
    assert [entry.number for entry in study.table.running] == [3]


def test_histories_follow_the_reports_in_the_order_of_steps_and_leave_out_what_is_no_number():
    study = Study()
    key = study.claim()
    for step, value in [(2, 0.2), (0, 0.0), (1, float("nan")), (2, 0.3)]:
        study.storage.report(key, step, value)
        study.read().histories()
    assert study.table.histories() == {0: (0.0, 0.3)}


@pytest.mark.parametrize("place", ["journal", "sqlite"])
def test_the_same_answer_whenever_and_however_one_reads(tmp_path, place):
    def opened():
        return open_storage(tmp_path, None if place == "journal" else f"sqlite:///{tmp_path}/sweep.db")

    study = Study(opened())
    late = Study.__new__(Study)
    for round_ in range(3):
        keys = [study.claim(cap=4) for _ in range(2)]
        study.storage.report(keys[1], 0, 0.5)
        study.read()
        study.storage.report(keys[1], 1, 0.25)
        study.close(keys[0], ["queued", "finished", "failed"][round_])
        study.read()
        study.claim(number=0, attempt=2)
    late.storage, late.table = opened(), TrialTable()
    late.feed = late.storage.open_change_feed(study.key)
    assert late.read().records() == study.read().records()
    assert len(late.table.entries) == 4
    assert [record.history for record in late.table.records()] == [[], [0.5, 0.25], [], [0.5, 0.25]]
    for each in (study, late):
        each.storage.close()


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_the_best_value_by_goal(goal):
    study = Study()
    study.table.goal = goal
    for value in (2.0, None, 1.0, 3.0):
        study.close(study.claim(), "finished", value)
    assert study.read().best == {"minimize": 1.0, "maximize": 3.0}[goal]
