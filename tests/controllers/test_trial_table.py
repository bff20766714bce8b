"""The fold: what the stored attempts mean, read from a real store."""

from datetime import datetime

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from wandbsweep.storage.change_feed import feed_of

from wandbsweep.controllers.trial_table import CLAIM, OUTCOME, PARAMS, TrialTable
from wandbsweep.storage.database import open_database
from wandbsweep.storage.journal import JournalFile, JournalInMemory, WatchedJournal


class Store:
    """A study that agents write their attempts to."""

    def __init__(self, storage=None):
        self.storage = storage or WatchedJournal(JournalInMemory())
        self.study = self.storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "sweep")
        self.feed = feed_of(self.storage, self.study)
        self.ledger = TrialTable()

    def read(self):
        self.ledger.update(self.feed.changes())
        return self.ledger

    def claim(self, number=None, attempt=1, cap=None, **attributes):
        claim = {"agent": "a", "number": number, "attempt": attempt, "cap": cap}
        return self.storage.create_new_trial(self.study, trial(system_attrs={CLAIM: claim, **attributes}))

    def close(self, key, state, value=None):
        outcome = {"state": state, "reason": "", "value": value, "metrics": {}, "hopeless": False}
        self.storage.set_trial_system_attr(key, OUTCOME, outcome)
        self.storage.set_trial_state_values(key, TrialState.FAIL)


def trial(**fields):
    empty = {"params": {}, "distributions": {}, "user_attrs": {}, "intermediate_values": {}}
    times = {"datetime_start": datetime.now(), "datetime_complete": None}
    return FrozenTrial(number=-1, trial_id=-1, state=TrialState.RUNNING, value=None, **{**empty, **times, **fields})


def states(ledger):
    return [record.state for record in ledger.records()]


def test_numbers_count_up_in_the_order_of_creation():
    store = Store()
    keys = [store.claim() for _ in range(3)]
    assert [store.read().find_number(key) for key in keys] == [0, 1, 2]


def test_a_claim_beyond_the_cap_is_void():
    store = Store()
    keys = [store.claim(cap=2) for _ in range(3)]
    assert [store.read().find_number(key) for key in keys] == [0, 1, None]


def test_void_claims_take_no_number_once_the_cap_is_raised():
    store = Store()
    keys = [store.claim(cap=1), store.claim(cap=1), store.claim(cap=2)]
    assert [store.read().find_number(key) for key in keys] == [0, None, 1]


def test_of_competing_continuations_the_first_wins():
    store = Store()
    store.close(store.claim(), "queued")
    assert store.read().find_queued().number == 0
    keys = [store.claim(number=0, attempt=2) for _ in range(3)]
    ledger = store.read()
    assert [ledger.find_number(key) for key in keys] == [0, None, None]
    assert ledger.find_queued() is None
    assert (ledger.records()[0].state, ledger.records()[0].attempts) == ("running", 2)


def test_a_late_continuation_does_not_touch_a_trial_that_ended():
    store = Store()
    store.close(store.claim(), "queued")
    store.close(store.claim(number=0, attempt=2), "finished", value=1.0)
    late = store.claim(number=0, attempt=2)
    store.close(late, "failed")
    ledger = store.read()
    assert ledger.find_number(late) is None
    assert (states(ledger), ledger.ended) == (["finished"], {"finished": 1})


def test_trials_that_somebody_else_made_in_the_study_are_not_ours():
    store = Store()
    store.storage.create_new_trial(store.study)
    mine = store.claim()
    store.storage.create_new_trial(store.study)
    assert store.read().find_number(mine) == 0
    assert len(store.ledger.entries) == 1


def test_another_study_in_the_journal_is_not_ours():
    store = Store()
    other = store.storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "other")
    foreign = store.storage.create_new_trial(other)
    mine = store.claim()
    store.read()
    store.storage.set_trial_intermediate_value(foreign, 0, 1.0)
    store.storage.set_trial_intermediate_value(mine, 0, 2.0)
    assert [record.reports for record in store.read().records()] == [{0: 2.0}]


def test_a_trial_closed_by_another_program_has_crashed():
    store = Store()
    store.storage.set_trial_state_values(store.claim(), TrialState.FAIL)
    (record,) = store.read().records()
    assert (record.state, record.reason, record.value) == ("crashed", "closed by another program", None)


def test_parameters_count_only_for_the_number_they_were_meant_for():
    store = Store()
    hoped = {"number": 0, "values": {"x": 1}}
    store.claim(**{PARAMS: hoped})
    second = store.claim(**{PARAMS: hoped})
    assert [record.params for record in store.read().records()] == [{"x": 1}, {}]
    store.storage.set_trial_system_attr(second, PARAMS, {"number": 1, "values": {"x": 2}})
    assert [record.params for record in store.read().records()] == [{"x": 1}, {"x": 2}]


def test_what_ended_is_counted_once_however_often_it_is_read():
    store = Store()
    keys = [store.claim() for _ in range(4)]
    for key, value in zip(keys, [3.0, 1.0, 2.0], strict=False):
        store.close(key, "finished", value)
        store.read()
        store.ledger.update(store.storage.get_all_trials(store.study))
    assert (store.ledger.ended, store.ledger.best) == ({"finished": 3}, 1.0)
    assert [entry.number for entry in store.ledger.running] == [3]


def test_histories_follow_the_reports_in_the_order_of_steps_and_leave_out_what_is_no_number():
    store = Store()
    key = store.claim()
    for step, value in [(2, 0.2), (0, 0.0), (1, float("nan")), (2, 0.3)]:
        store.storage.set_trial_intermediate_value(key, step, value)
        store.read().histories()
    assert store.ledger.histories() == {0: (0.0, 0.3)}


@pytest.mark.parametrize("place", ["journal", "sqlite"])
def test_the_same_answer_whenever_and_however_one_reads(tmp_path, place):
    def opened():
        if place == "journal":
            return WatchedJournal(JournalFile(tmp_path / "journal.log"))
        return open_database(f"sqlite:///{tmp_path}/sweep.db", wait_s=0)

    store = Store(opened())
    late = Store.__new__(Store)
    for round_ in range(3):
        keys = [store.claim(cap=4) for _ in range(2)]
        store.storage.set_trial_intermediate_value(keys[1], 0, 0.5)
        store.read()
        store.storage.set_trial_intermediate_value(keys[1], 1, 0.25)
        store.close(keys[0], ["queued", "finished", "failed"][round_])
        store.read()
        store.claim(number=0, attempt=2)
    late.storage, late.ledger, late.study = opened(), TrialTable(), store.study
    late.feed = feed_of(late.storage, store.study)
    assert late.read().records() == store.read().records()
    assert len(late.ledger.entries) == 4
    assert [record.history for record in late.ledger.records()] == [[], [0.5, 0.25], [], [0.5, 0.25]]
    for each in (store, late):
        each.storage.remove_session()


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_the_best_value_by_goal(goal):
    store = Store()
    store.ledger.goal = goal
    for value in (2.0, None, 1.0, 3.0):
        store.close(store.claim(), "finished", value)
    assert store.read().best == {"minimize": 1.0, "maximize": 3.0}[goal]
