"""The seam of stopping rules: the protocol, the view of the trials, the factory, and what a new rule needs."""

from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.configurations import RANDOM
from wandbsweep import Outcome, SweepConfigError, create_sweep, load_sweep
from wandbsweep.controllers.embedded.stopping_rules import FACTORIES
from wandbsweep.spec.early_termination import STOPPING_RULES, EarlyTerminate, Setting
from wandbsweep.spec.findings import Findings
from wandbsweep.stopping.adaptive_halving import AdaptiveHalving, adaptive_halving
from wandbsweep.stopping.history import as_history
from wandbsweep.stopping.successive_halving import SuccessiveHalving, hyperband


@dataclass
class Trials:
    """The fake of ``TrialView``."""

    values: dict
    finished: set = field(default_factory=set)

    def histories(self):
        return {number: as_history(values) for number, values in self.values.items()}

    def find_finished(self):
        return self.finished

    def newest_keys(self):
        return {number: number for number in self.values}


def test_every_rule_has_settings_and_a_factory():
    assert FACTORIES.keys() == STOPPING_RULES.keys()


def test_hyperband_as_a_rule():
    settings, trials = EarlyTerminate(min_iter=1), Trials({n: [float(n)] for n in range(6)})
    rule = SuccessiveHalving(settings, "minimize")
    stops = hyperband(settings, "minimize", trials.values, trials.values.keys())
    assert stops
    assert {n: reason for n in trials.values if (reason := rule.reason_to_stop(n, trials))} == stops


@pytest.mark.parametrize(("learns", "first"), [(False, 0.0), (True, 1 / 16)])
def test_adaptive_halving_as_a_rule(learns, first):
    whole = {n: [n + 1 / (k + 1) for k in range(40)] for n in range(6)}
    trials = Trials(whole | {9: [9.0], 10: [9.0] * 4}, finished=set(whole))
    rule = AdaptiveHalving("minimize", learns=learns)
    stops = adaptive_halving("minimize", trials.values, trials.finished, {9, 10}, first=first)
    assert stops.keys() == ({10} if learns else {9, 10})
    assert {n: reason for n in (9, 10) if (reason := rule.reason_to_stop(n, trials))} == stops


@dataclass(frozen=True)
class Ceiling:
    """A toy: stops what reports more than a limit."""

    limit: float

    def reason_to_stop(self, number, trials):
        last = trials.histories()[number][-1]
        return f"ceiling: {last:g} is above {self.limit:g}" if last > self.limit else None


def test_a_new_rule_is_an_entry_in_each_of_two_tables(monkeypatch):
    monkeypatch.setitem(STOPPING_RULES, "ceiling", {"p": Setting(partial(Findings.read_number, above=0), 0.5)})
    monkeypatch.setitem(FACTORIES, "ceiling", lambda settings, study: Ceiling(settings.p))
    config = RANDOM | {"early_terminate": {"type": "ceiling"}}
    controller = create_sweep(load_sweep(config))
    trial = controller.ask("a")
    assert not controller.report(trial, 0, {"loss": 0.4}).stop
    decision = controller.report(trial, 1, {"loss": 0.6})
    assert decision.reason == "ceiling: 0.6 is above 0.5"
    controller.complete(trial, Outcome.stopped(decision.reason))
    assert [(t.state, t.reason) for t in controller.trials()] == [("stopped", decision.reason)]
    with pytest.raises(SweepConfigError, match="unknown key; ceiling has type and p"):
        load_sweep(config | {"early_terminate": {"type": "ceiling", "eta": 3}})
    with pytest.raises(SweepConfigError, match="0 must be > 0"):
        load_sweep(config | {"early_terminate": {"type": "ceiling", "p": 0}})
