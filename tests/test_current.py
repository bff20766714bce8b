"""``current_trial()``, as training code sees it."""

import pickle
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


def test_another_process_of_the_trial_gets_its_values_and_none_of_its_callbacks(trial, sent):
    trial.report(9, {"loss": 1.0})
    copy = pickle.loads(pickle.dumps(trial))
    assert (copy.number, copy.params, copy.sweep_id, copy.metric, copy.goal) == (3, {"x": 1}, None, None, "minimize")
    assert not copy.report(10, {"loss": 0.5}).stop
    assert len(sent) == 1


def test_an_interruption_is_known_when_the_training_asks(trial):
    trial.interrupt("interrupted (SIGTERM)")
    assert not trial.interrupt_requested  # the training does not know yet
    assert trial.preempted
    assert trial.interrupt_requested
    assert trial.decision == Decision(stop=True, reason="interrupted (SIGTERM)")
    trial.clear()
    assert (trial.interrupt_requested, trial.decision.stop) == (False, False)


def test_a_trial_that_was_stopped_is_not_preempted(trial):
    trial.report(9, {"loss": 1.0})
    trial.interrupt("interrupted (SIGTERM)")
    assert not trial.preempted
    assert trial.decision.reason == "enough"


def test_the_options_of_its_wandb_run(monkeypatch):
    assert current_trial().wandb == {}
    trial = CurrentTrial(number=3, sweep_id="abc")
    named = {"group": "abc", "name": "abc-3", "tags": ["wandbsweep", "abc"]}
    assert trial.wandb == {**named, "id": "abc-3", "resume": None}
    assert CurrentTrial(number=3, sweep_id="abc", resumed=True).wandb["resume"] == "allow"
    assert CurrentTrial(number=3).wandb == {"group": None, "name": "trial-3", "tags": ["wandbsweep"]}
    monkeypatch.setenv("WANDB_SWEEP_ID", "theirs")  # W&B has chosen the run
    assert trial.wandb == named
