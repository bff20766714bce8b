"""``current_trial()``, as training code sees it."""

from decimal import Decimal

import numpy as np
import pytest

from wandbsweep import CurrentTrial, Decision, current_trial
from wandbsweep.current import running


@pytest.fixture
def sent():
    return []


@pytest.fixture
def trial(sent):
    def send(step, metrics):
        sent.append((step, dict(metrics)))
        return Decision(stop=True, reason="enough") if step == 9 else Decision()

    return CurrentTrial(number=3, params={"x": 1}, send=send)


def test_outside_a_sweep_there_is_none_and_reports_go_nowhere():
    trial = current_trial()
    assert not trial
    assert (trial.number, trial.params, trial.resumed) == (None, {}, False)
    assert not trial.report(0, {"loss": 1.0}).stop


def test_it_is_current_for_as_long_as_it_runs(trial):
    with running(trial):
        assert current_trial() is trial
        with running(CurrentTrial(number=0)) as inner:
            assert current_trial() is inner
            assert inner
        assert current_trial() is trial
    assert not current_trial()


def test_it_stops_being_current_when_it_fails(trial):
    with pytest.raises(RuntimeError), running(trial):
        raise RuntimeError
    assert not current_trial()


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), Decimal("0.5"), 0.5])
def test_values_are_sent_as_floats(trial, sent, value):
    trial.report(np.int64(2), {"loss": value, "done": True})
    assert sent == [(2, {"loss": 0.5, "done": 1.0})]
    assert [type(number) for number in (sent[0][0], *sent[0][1].values())] == [int, float, float]


@pytest.mark.parametrize("value", ["0.5", None, np.array([1.0, 2.0])])
def test_what_is_no_number_is_refused_by_name(trial, sent, value):
    with pytest.raises(ValueError, match="'loss'"):
        trial.report(0, {"loss": value})
    assert sent == []


def test_a_stop_is_final(trial, sent):
    assert trial.report(9, {"loss": 1.0}).reason == "enough"
    assert trial.report(10, {"loss": 0.0}).reason == "enough"
    assert len(sent) == 1
