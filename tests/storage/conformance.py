"""What every storage does. A backend's tests inherit ``StorageTestCase`` and provide its fixture ``open``."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, distribution_to_json

from wandbsweep.storage.base import AttemptClosedError, AttemptState, NewAttempt, Storage, StoredAttempt, StoredParam

Open = Callable[[], Storage]
NEW = NewAttempt({"claim": {"agent": "ä", "number": None}}, {3: 0.5})
PARAM = StoredParam(0.25, distribution_to_json(FloatDistribution(0.0, 1.0)))


def create(storage: Storage, study: int, new: NewAttempt = NEW) -> int:
    return storage.create_attempt(study, lambda _: new)


def read_all(storage: Storage, study: int) -> list[StoredAttempt]:
    return list(storage.open_change_feed(study)())


def same(one: StoredAttempt, other: StoredAttempt) -> bool:
    """Compared as text, because NaN equals NaN there. A database has no order of rows."""

    def normalize(attempt: StoredAttempt) -> list[str]:
        times = attempt.key, attempt.state, attempt.started, attempt.ended
        return [repr(value) for value in (*times, sorted(attempt.attributes.items()), sorted(attempt.reports.items()))]

    return normalize(one) == normalize(other)


class StorageTestCase:
    """``open`` returns the same storage as another process would open it; in memory, the one there is."""

    @pytest.fixture
    def storage(self, open: Open) -> Storage:
        return open()

    @pytest.fixture
    def study(self, storage: Storage) -> int:
        study = storage.create_study("sweep", ["minimize"])
        assert study is not None
        return study

    def test_a_study_is_created_once(self, open: Open) -> None:
        one, other = open(), open()
        assert one.find_study("sweep") is None
        study = one.create_study("sweep", ["maximize", "minimize"])
        assert study is not None
        assert other.create_study("sweep", ["minimize"]) is None
        assert other.find_study("sweep") == study
        assert one.create_study("other", ["minimize"]) not in (None, study)

    def test_study_attributes(self, open: Open, storage: Storage, study: int) -> None:
        storage.set_study_attribute(study, "a:1", {"x": [1, None, "ä"]})
        storage.set_study_attribute(study, "a:2", 1)
        storage.set_study_attribute(study, "b%_", 2)
        storage.set_study_attribute(study, "a:2", None)
        other = open()
        assert other.read_study_attributes(study) == {"a:1": {"x": [1, None, "ä"]}, "a:2": None, "b%_": 2}
        assert other.read_study_attributes(study, "a:") == {"a:1": {"x": [1, None, "ä"]}, "a:2": None}
        assert other.read_study_attributes(study, "b%") == {"b%_": 2}
        assert other.read_study_attributes(study, "%") == {}

    def test_an_attempt_is_created_running(self, open: Open, storage: Storage, study: int) -> None:
        before = time.time()
        key = create(storage, study, NewAttempt({"a": 1}, {0: 1.5, 2: math.inf}, {"x": PARAM}))
        attempt = open().read_attempt(key)
        assert (attempt.key, attempt.state, attempt.closed) == (key, AttemptState.RUNNING, False)
        assert (attempt.attributes, attempt.reports, attempt.ended) == ({"a": 1}, {0: 1.5, 2: math.inf}, None)
        assert attempt.started == pytest.approx(before, abs=60)
        assert read_all(open(), study) == [attempt]

    def test_the_builder_learns_how_many_there_are(self, open: Open, study: int) -> None:
        one, other = open(), open()
        seen: list[int] = []

        def build(before: int) -> NewAttempt:
            seen.append(before)
            return NEW

        keys = [storage.create_attempt(study, build) for storage in (one, other, other, other, one, other)]
        assert seen == list(range(6))
        assert keys == sorted(set(keys))

    def test_attempts_of_two_studies(self, storage: Storage, study: int) -> None:
        other = storage.create_study("other", ["minimize"])
        assert other is not None
        keys = [create(storage, number) for number in (study, other, study)]
        assert [attempt.key for attempt in read_all(storage, study)] == [keys[0], keys[2]]
        assert [attempt.key for attempt in read_all(storage, other)] == [keys[1]]

    def test_attributes_and_reports_are_replaced(self, open: Open, storage: Storage, study: int) -> None:
        key = create(storage, study)
        for value in (1, {"a": [2]}):
            storage.set_attribute(key, "name", value)
        for step, number in ((0, 1.0), (1, math.nan), (2, -math.inf), (0, 0.75), (3, -1e-9)):
            storage.report(key, step, number)
        other = open()
        attempt = other.read_attempt(key)
        assert attempt.attributes == {**NEW.attributes, "name": {"a": [2]}}
        assert {step: repr(value) for step, value in attempt.reports.items()} == {
            3: "-1e-09",
            0: "0.75",
            1: "nan",
            2: "-inf",
        }
        assert sorted(map(repr, other.read_reports(key).values())) == ["-1e-09", "-inf", "0.75", "nan"]

    def test_params_are_replaced_with_their_attributes(self, open: Open, storage: Storage, study: int) -> None:
        key = create(storage, study, NewAttempt({"params": 1, "claim": 2}, params={"x": PARAM}))
        other = open()
        feed = other.open_change_feed(study)
        feed()
        storage.set_params(key, {"params": 3}, {"x": StoredParam(0.5, PARAM.distribution), "y": PARAM})
        (changed,) = feed()
        assert {name: value for name, value in changed.attributes.items() if ":" not in name} == {
            "params": 3,
            "claim": 2,
        }
        (trial,) = other.open_optuna().get_all_trials(study)
        assert trial.params == {"x": 0.5, "y": 0.25}

    @pytest.mark.parametrize("state", [AttemptState.COMPLETE, AttemptState.PRUNED, AttemptState.FAIL])
    def test_a_closed_attempt_is_not_written_to(
        self, open: Open, storage: Storage, study: int, state: AttemptState
    ) -> None:
        key = create(storage, study)
        storage.set_attribute(key, "a", 1)
        other = open()
        other.close_attempt(key, state, [0.25] if state is AttemptState.COMPLETE else None)
        for write in (
            lambda: storage.set_attribute(key, "a", 2),
            lambda: storage.set_attribute(key, "b", 2),
            lambda: storage.report(key, 9, 1.0),
            lambda: storage.report(key, 3, 1.0),
            lambda: storage.set_params(key, {"c": 2}, {"x": PARAM}),
            lambda: storage.close_attempt(key, AttemptState.FAIL),
        ):
            with pytest.raises(AttemptClosedError):
                write()
        attempt = storage.read_attempt(key)
        assert (attempt.state, attempt.closed) == (state, True)
        assert (attempt.attributes, attempt.reports) == ({**NEW.attributes, "a": 1}, NEW.reports)
        assert attempt.ended is not None
        assert attempt.started is not None
        assert 0 <= attempt.ended - attempt.started < 60

    def test_what_was_handed_out_does_not_change(self, storage: Storage, study: int) -> None:
        key = create(storage, study)
        (listed,) = read_all(storage, study)
        (fed,) = storage.open_change_feed(study)()
        read = storage.read_attempt(key)
        storage.report(key, 9, 1.0)
        storage.set_attribute(key, "a", 1)
        storage.close_attempt(key, AttemptState.FAIL)
        for attempt in (listed, fed, read):
            assert (attempt.closed, attempt.attributes, attempt.reports) == (False, NEW.attributes, NEW.reports)

    def test_a_feed_tells_what_changed(self, open: Open, storage: Storage, study: int) -> None:
        first, second = create(storage, study), create(storage, study)
        feed, another = open().open_change_feed(study), storage.open_change_feed(study)
        assert [attempt.key for attempt in feed()] == [first, second]
        storage.report(first, 0, 0.5)
        third = create(storage, study)
        assert third in [attempt.key for attempt in feed(created_only=True)]
        storage.report(third, 0, 0.5)
        storage.close_attempt(second, AttemptState.COMPLETE)
        changed = {attempt.key: attempt for attempt in feed()}
        assert changed.keys() >= {second, third}
        assert changed[second].closed
        assert {attempt.key for attempt in feed()} <= {first, third}  # what is closed does not change again
        assert [attempt.key for attempt in another()] == [first, second, third]

    def test_feeds_see_whatever_happens(self, open: Open, study: int) -> None:
        """Two processes write to two studies at random; each feed knows all of it at the end."""
        rng, storages = random.Random(0), [open(), open()]
        other = storages[0].create_study("other", ["minimize"])
        assert other is not None
        feeds = {number: open().open_change_feed(number) for number in (study, other)}
        known: dict[int, dict[int, StoredAttempt]] = {study: {}, other: {}}
        keys = [create(storages[0], study), create(storages[0], other)]
        for round_ in range(12):
            for at in range(15):
                disturb(rng, rng.choice(storages), [study, other], keys, at)
            number = rng.choice([study, other]) if round_ < 11 else study
            for attempt in feeds[number]():
                known[number][attempt.key] = attempt
        for number, feed in feeds.items():
            known[number] |= {attempt.key: attempt for attempt in feed()}
            stored = read_all(open(), number)
            assert len(stored) == len(known[number])
            for attempt in stored:
                seen = known[number][attempt.key]
                # What replaced something else may be seen later, but not once the attempt is closed.
                assert attempt.closed == seen.closed
                assert attempt.attributes.keys() == seen.attributes.keys()
                assert attempt.reports.keys() == seen.reports.keys()
                assert not attempt.closed or same(attempt, seen)

    def test_threads_create_attempts_through_one_storage(self, storage: Storage, study: int) -> None:
        threads = [
            threading.Thread(target=lambda: [create(storage, study) for _ in range(20)], daemon=True) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(read_all(storage, study)) == 60

    def test_leases(self, open: Open, storage: Storage, study: int) -> None:
        leases, others = storage.open_leases(study), open().open_leases(study)
        if leases is None or others is None:  # in memory
            assert leases is others is None
            return
        leases.renew("a")
        before = others.read_heartbeats({"a", "b"})
        leases.renew("a")
        after = others.read_heartbeats({"a", "b"})
        assert before["a"] not in (None, after["a"])
        assert before["b"] is after["b"] is None
        leases.release("a")
        assert others.read_heartbeats({"a"}) == {"a": None}

    def test_optuna_sees_the_same(self, storage: Storage, study: int) -> None:
        key = create(storage, study, NewAttempt({"a": 1}, {2: 0.5}, {"x": PARAM}))
        storage.report(key, 3, math.nan)
        storage.close_attempt(key, AttemptState.COMPLETE, [0.5])
        (trial,) = storage.open_optuna().get_all_trials(study)
        assert (trial.state.name, trial.value, trial.params, trial.system_attrs) == (
            "COMPLETE",
            0.5,
            {"x": 0.25},
            {"a": 1},
        )
        assert {step: repr(value) for step, value in trial.intermediate_values.items()} == {2: "0.5", 3: "nan"}
        attempt = storage.read_attempt(key)
        assert trial.datetime_start.timestamp() == pytest.approx(attempt.started, abs=1e-3)
        assert trial.datetime_complete.timestamp() == pytest.approx(attempt.ended, abs=1e-3)

    def test_calls_share_a_connection(self, storage: Storage, study: int) -> None:
        with storage.connected(), storage.connected():
            create(storage, study)
            storage.release_connection()
            assert len(read_all(storage, study)) == 1
        storage.close()


def disturb(rng: random.Random, storage: Storage, studies: list[int], keys: list[int], at: int) -> None:
    """Do one thing that agents do, or should not do."""
    key: int = rng.choice(keys)
    number: Any = rng.choice([0.25, -1e-9, math.nan, math.inf, -math.inf, 1e300])
    try:
        match rng.choice(["create", "report", "report", "attribute", "study", "params", "close"]):
            case "create":
                keys.append(create(storage, rng.choice(studies), NewAttempt({"at": at}, {3: number})))
            case "report":
                storage.report(key, rng.randrange(4), number)
            case "attribute":
                storage.set_attribute(key, rng.choice("ab"), {"ä": at})
            case "study":
                storage.set_study_attribute(rng.choice(studies), rng.choice("ab"), at)
            case "params":
                storage.set_params(key, {"p": at}, {"x": PARAM})
            case "close" if rng.random() < 0.5:
                storage.close_attempt(key, rng.choice([AttemptState.COMPLETE, AttemptState.FAIL]), [0.5])
    except AttemptClosedError:
        pass
