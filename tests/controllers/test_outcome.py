"""Outcomes of attempts: how they are computed and stored."""

import math

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, create_sweep, load_sweep, open_sweep
from wandbsweep.controllers.outcome import StoredOutcome, compute_loss, describe_reported

SPEC = load_sweep(RANDOM)


def test_the_stored_form_is_that_of_earlier_versions():
    outcome = StoredOutcome("failed", "why", 0.5, {"loss": 0.5}, fatal=True)
    stored = {"state": "failed", "reason": "why", "value": 0.5, "metrics": {"loss": 0.5}, "hopeless": True}
    assert outcome.encode() == stored
    assert StoredOutcome.decode(stored) == outcome


@pytest.mark.parametrize(("field", "key"), [("lost", "lost"), ("suspect", "doubted")])
def test_rare_facts_are_stored_only_if_they_are_so(field, key):
    outcome = StoredOutcome("queued", **{field: True})
    assert outcome.encode()[key] is True
    assert key not in StoredOutcome("queued").encode()
    assert StoredOutcome.decode(outcome.encode()) == outcome


def test_a_cause_is_stored_and_read(tmp_path):
    assert "cause" not in StoredOutcome("failed", "why").encode()
    controller = create_sweep(SPEC, tmp_path / "sweep")
    trial = controller.ask("a")
    controller.report(trial, 0, {"loss": 1.0})
    peaks = {"memory/host_peak_mib": 512.0}
    controller.complete(trial, Outcome.failed("out of memory: …", cause="out of memory", metrics=peaks))
    controller.close()
    (stored,) = open_sweep(tmp_path / "sweep").trials
    assert (stored.state, stored.cause, stored.reason) == ("failed", "out of memory", "out of memory: …")
    assert stored.metrics == {"loss": 1.0, **peaks}


@pytest.mark.parametrize(
    ("lost", "final", "expected"),
    [
        (1, False, ("queued", "SIGKILL", None)),
        (2, False, ("crashed", "SIGKILL; attempt 2 of 2", 0.25)),
        (1, True, ("crashed", "SIGKILL", 0.25)),
    ],
)
def test_a_lost_trial_is_queued_until_its_attempts_are_spent(lost, final, expected):
    reports = {0: 0.5, 1: 0.25, 2: math.nan}
    outcome = compute_loss(SPEC, "SIGKILL", lost=lost, max_attempts=2, reports=reports, final=final)
    assert outcome.lost
    assert (outcome.state, outcome.reason, outcome.value) == expected


@pytest.mark.parametrize(
    ("wanted", "seen", "expected"),
    [
        ("loss", [], "reported: nothing"),
        ("test_acc_avg", ["lr", "test_acc_avg "], "reported: 'lr', 'test_acc_avg '; did you mean 'test_acc_avg '?"),
        ("auroc.max", ["auroc", "x"], "reported: 'auroc', 'x'; did you mean 'auroc', whose best value counts?"),
        ("m_min", ["m"], "reported: 'm'; did you mean 'm', whose best value counts?"),
        ("loss", ["caf\udce9"], "reported: 'caf\\udce9'"),
    ],
)
def test_metrics_that_were_reported_instead(wanted, seen, expected):
    assert describe_reported([wanted], seen) == expected
