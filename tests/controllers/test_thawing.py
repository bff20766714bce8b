"""``early_terminate: {type: thaw}``: which attempts freeze, continue and lose trials, whatever the policy says."""

import logging
import math
import multiprocessing
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest

from tests.configurations import METRICS, RANDOM
from wandbsweep import Outcome, SweepConfigError, create_sweep, load_sweep
from wandbsweep.cli.main import main
from wandbsweep.controllers.hosted.doctor import check_supported
from wandbsweep.controllers.trial_entry import CLAIM, OUTCOME
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.results.analysis.advice import collect_advice
from wandbsweep.results.frames import build_trial_frame
from wandbsweep.results.reader import SweepReader
from wandbsweep.results.report.panels import list_attempt_rows
from wandbsweep.search.thawing import Thawing
from wandbsweep.storage.base import AttemptState, StoredAttempt

FORK = multiprocessing.get_context("fork")
LEASE_S = 0.6
WHOLE = 6
RUNGS = (2, 4)
THAW = RANDOM | {"early_terminate": {"type": "thaw"}}


@pytest.fixture(autouse=True)
def policy(monkeypatch):
    """Every trial is frozen at every rung, and when there are no new ones, the frozen ones are all continued."""

    def choose(self, trials, *, may_start):
        frozen = [trial.number for trial in trials if trial.state == "frozen"]
        return None if may_start else min(frozen, default=None)

    monkeypatch.setattr(Thawing, "is_rung", lambda self, length: length in RUNGS)
    monkeypatch.setattr(Thawing, "reason_to_freeze", lambda self, number, trials: "thaw: it waits")
    monkeypatch.setattr(Thawing, "choose", choose)


@pytest.fixture(params=["journal", "sqlite"])
def opened(request, tmp_path):
    """Makes controllers of one sweep, each as its own process would have it."""
    made = []

    def make(run_cap=1, **options):
        url = f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else None
        spec = load_sweep(THAW | {"run_cap": run_cap})
        made.append(create_sweep(spec, tmp_path / "sweep", storage=url, **{"lease_s": LEASE_S, **options}))
        return made[-1]

    yield make
    for controller in made:
        controller.close()


on_journal = pytest.mark.parametrize("opened", ["journal"], indirect=True)


def train(controller, trial, *, first=None, until=WHOLE):
    """Train as a script that resumes, and complete the trial; return the steps that were trained."""
    first = len(controller.trials()[trial.number].reports) if first is None else first
    for step in range(first, until):
        decision = controller.report(trial, step, {"loss": 1.0 / (step + 1)})
        if decision.stop:
            assert decision.freezes
            controller.complete(trial, Outcome.stopped(decision.reason))
            return list(range(first, step + 1))
    controller.complete(trial, Outcome.finished())
    return list(range(first, until))


def test_frozen_trials_continue_on_any_agent_and_each_step_is_trained_once(opened):
    agents = [opened(run_cap=3), opened(run_cap=3)]
    trained = {0: [], 1: [], 2: []}
    asked = []
    while (trial := agents[len(asked) % 2].ask(str(len(asked) % 2))) is not None:
        assert trial.resumed == bool(trained[trial.number])
        steps = train(agents[len(asked) % 2], trial)
        trained[trial.number] += steps
        asked.append(trial.number)
    assert asked == [0, 1, 2, 0, 0, 1, 1, 2, 2]
    assert trained == {number: list(range(WHOLE)) for number in range(3)}
    for trial in agents[0].trials():
        assert (trial.state, trial.attempts, trial.thaws, len(trial.reports)) == ("finished", 1, 2, WHOLE)
        assert not trial.repeated
    assert agents[1].completion().exhausted
    study = optuna.load_study(study_name="sweep", storage=agents[0]._storage.open_optuna())
    assert [trial.state.name for trial in study.trials] == ["PRUNED"] * 4 + ["COMPLETE", "PRUNED"] * 2 + ["COMPLETE"]
    assert study.best_value == 1.0 / WHOLE
    assert len(study.trials[4].intermediate_values) == WHOLE


def test_a_frozen_trial_has_ended_and_one_that_continues_runs(opened):
    controller, other = opened(), opened()
    trial = controller.ask("a")
    train(controller, trial)
    for one in (controller, other):
        (record,) = one.trials()
        assert (record.state, record.value, record.reason) == ("frozen", 0.5, "thaw: it waits")
        assert record.ended is not None
        assert one.completion() is None
        assert one.ready("b")
    again = other.ask("b")
    assert (again.number, again.params, again.resumed) == (0, trial.params, True)
    (record,) = controller.trials()
    assert (record.state, record.history, record.agent, record.ended) == ("running", [1.0, 0.5], "b", None)
    assert controller.ask("a") is None


def test_of_many_agents_one_takes_a_frozen_trial_up(opened):
    lease_s = 60.0  # on busy cores a shorter one may expire before all have asked
    first = opened(lease_s=lease_s)
    train(first, first.ask("a"))
    with ThreadPoolExecutor(6) as pool:
        controllers = list(pool.map(lambda _: opened(lease_s=lease_s), range(6)))
        trials = list(pool.map(lambda controller: controller.ask("b"), controllers))
    assert [trial.number for trial in trials if trial is not None] == [0]


def test_two_that_have_chosen_the_same(opened):
    first, second = opened(), opened()
    train(first, first.ask("a"))
    chosen = [controller._thaws.choose(may_start=False) for controller in (first, second)]
    won = [c._claims.continue_trial("b", entry) for c, entry in zip((first, second), chosen, strict=True)]
    assert [trial is not None for trial in won] == [True, False]
    assert train(first, won[0]) == [2, 3]


@on_journal
def test_a_thawed_trial_whose_agent_is_killed_continues_elsewhere(opened):
    """It has lost one attempt. That it was frozen before does not count."""
    ready, sender = FORK.Pipe(duplex=False)

    def agent():
        controller = opened(max_attempts=2)
        train(controller, controller.ask("a"))
        trial = controller.ask("a")
        controller.report(trial, 2, {"loss": 0.25})
        sender.send(trial.attempt)
        while True:
            time.sleep(0.02)

    process = FORK.Process(target=agent)
    process.start()
    assert ready.recv() == 2
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    controller = opened(max_attempts=2)
    again = controller.ask("b")
    (record,) = controller.trials()
    assert (again.number, record.attempts, record.thaws, record.history) == (0, 2, 1, [1.0, 0.5, 0.25])
    assert train(controller, again, first=2) == [2, 3]  # its last checkpoint was older
    assert train(controller, controller.ask("b")) == [4, 5]
    (record,) = controller.trials()
    assert (record.state, record.attempts, record.thaws) == ("finished", 2, 2)


@on_journal
def test_a_released_trial_is_continued_before_a_frozen_one_and_may_freeze_again(opened):
    controller = opened(run_cap=2)
    train(controller, controller.ask("a"))
    trial = controller.ask("a")
    controller.report(trial, 0, {"loss": 1.0})
    controller.release(trial, "preempted")
    again = controller.ask("a")
    assert (again.number, again.resumed) == (1, True)
    train(controller, again)
    assert [(t.state, t.attempts, t.thaws) for t in controller.trials()] == [("frozen", 1, 0), ("frozen", 2, 0)]


@on_journal
@pytest.mark.parametrize("how", ["cancelled", "no report", "nothing new"])
def test_what_is_stopped_for_good(opened, how):
    controller = opened()
    trial = controller.ask("a")
    if how == "nothing new":
        train(controller, trial)
        trial = controller.ask("a")
    if how == "cancelled":
        controller.report(trial, 0, {"loss": 1.0})
        controller.command = "cancelled"
        assert not controller.check(trial).freezes
    controller.complete(trial, Outcome.stopped("as its caller wants"))
    assert controller.trials()[0].state == "stopped"
    assert controller.ask("a") is None


@on_journal
def test_a_script_that_begins_anew_is_told_of_once_and_gets_further(opened, caplog):
    controller = opened()
    for first, steps in ((0, 2), (0, 4), (0, 6)):
        with caplog.at_level(logging.WARNING):
            assert train(controller, controller.ask("a"), first=first) == list(range(steps))
    (record,) = controller.trials()
    assert (record.state, len(record.reports), record.thaws) == ("finished", WHOLE, 2)
    (message,) = [r.getMessage() for r in caplog.records if "begins" in r.getMessage() or "repeats" in r.getMessage()]
    assert message.startswith("Trial 0 was frozen after step 1 and taken up again, but its training reports step 0")
    assert record.repeated
    assert any("epochs are trained twice" in text for text in collect_advice(controller.spec, [record]))


@on_journal
def test_a_report_of_nan_counts_as_any_other(opened):
    controller = opened(run_cap=2)
    trial = controller.ask("a")
    assert not controller.report(trial, 0, {"loss": math.nan}).stop
    assert controller.report(trial, 1, {"loss": 0.5}).freezes


@on_journal
def test_status_says_whether_frozen_trials_may_continue(opened, tmp_path, monkeypatch, capsys):
    controller = opened()
    train(controller, controller.ask("a"))
    assert main(["status", str(tmp_path / "sweep")]) == 0
    assert "Frozen: 1 trial, with checkpoints. Any of them may be taken up again." in capsys.readouterr().out
    assert main(["table", str(tmp_path / "sweep")]) == 0
    assert "frozen" in capsys.readouterr().out
    monkeypatch.setattr(Thawing, "choose", lambda self, trials, *, may_start: None)
    assert main(["status", str(tmp_path / "sweep")]) == 0
    assert "Frozen for good, since the sweep is over: 1 trial." in capsys.readouterr().out
    assert opened().ask("a") is None
    data = SweepReader(tmp_path / "sweep").read()
    assert [row[1:3] + row[5:6] for row in list_attempt_rows(data)] == [[0, 1, "frozen"]]
    assert build_trial_frame(data)["state"].tolist() == ["frozen"]
    assert data.best is not None


def train_until_over(opened, directory, name):
    """An agent whose training writes down each epoch and saves a checkpoint before it reports."""
    controller = opened(run_cap=20, lease_s=2.0, max_attempts=100)
    while (trial := controller.ask(name)) is not None:
        checkpoint = directory / f"{trial.number}.ckpt"
        first = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for step in range(first, WHOLE):
            time.sleep(random.random() * 0.1)
            with (directory / f"{trial.number}.epochs").open("a") as epochs:
                epochs.write(f"{step} ")
            checkpoint.with_suffix(".new").write_text(str(step + 1))
            checkpoint.with_suffix(".new").replace(checkpoint)
            if (decision := controller.report(trial, step, {"loss": 1.0 / (step + 1)})).stop:
                controller.complete(trial, Outcome.stopped(decision.reason))
                break
        else:
            controller.complete(trial, Outcome.finished(0.0))
    controller.close()


@pytest.mark.slow
@on_journal
def test_agents_that_are_killed_at_random_lose_no_trial(opened, tmp_path):
    controller, rng = opened(run_cap=20, lease_s=2.0, max_attempts=100), random.Random(0)
    agents = []
    kills = started = 0
    while controller.completion() is None or any(trial.state == "running" for trial in controller.trials()):
        agents = [agent for agent in agents if agent.is_alive()]
        while len(agents) < 4:
            agents.append(FORK.Process(target=train_until_over, args=(opened, tmp_path, str(started))))
            agents[-1].start()
            started += 1
        time.sleep(rng.random())
        if kills < 12:
            os.kill(rng.choice(agents).pid, signal.SIGKILL)
            kills += 1
    for agent in agents:
        agent.join()
    assert {(trial.state, trial.thaws) for trial in controller.trials()} == {("finished", 2)}
    assert sum(trial.attempts for trial in controller.trials()) > 20
    for number in range(20):
        # A kill between an epoch's note and its checkpoint has it trained again.
        assert set((tmp_path / f"{number}.epochs").read_text().split()) == set(map(str, range(WHOLE)))
    trained = sum(len((tmp_path / f"{number}.epochs").read_text().split()) for number in range(20))
    assert trained <= 20 * WHOLE + kills


# -- the order of claims, whatever order they are read in


def attempt(key, attempt, *, outcome=None, **claim):
    number = {"number": None if attempt == 1 else 0}
    attributes = {CLAIM: {"agent": f"a{key}", "attempt": attempt, "cap": 1, **number, **claim}}
    if outcome is not None:
        stored = {"state": outcome, "reason": "", "value": None, "metrics": {}, "hopeless": False}
        attributes[OUTCOME] = stored
    state = AttemptState.RUNNING if outcome is None else AttemptState.PRUNED
    return StoredAttempt(key, state, 0.0, None, attributes, {0: 1.0})


@pytest.mark.parametrize(
    ("ended", "winner"), [("frozen", 2), ("queued", 1), ("finished", None), ("stopped", None), ("crashed", None)]
)
def test_what_ended_decides_whether_a_thaw_or_a_takeover_counts(ended, winner):
    """A takeover of an agent that is silent, but closes its trial after all, and a thaw, in the storage's order."""
    table = TrialTable()
    claims = [attempt(1, 2), attempt(2, 2, thaw=True), attempt(3, 2, thaw=True)]
    table.update([attempt(0, 1), *claims])
    assert not table.is_decided(1)
    table.update([attempt(0, 1, outcome=ended)])
    assert [table.find_number(key) for key in (1, 2, 3)] == [0 if key == winner else None for key in (1, 2, 3)]
    (record,) = table.records()
    assert record.state == (ended if winner is None else "running")
    assert (record.attempts, record.thaws) == {2: (1, 1), 1: (2, 0), None: (1, 0)}[winner]
    assert sum(table.ended.values()) == (winner is None)


# -- the sweep file


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"min_iter": 0}, r"early_terminate.min_iter.*0"),
        ({"eta": 1}, r"early_terminate.eta.*1"),
        ({"max_iter": 2.5}, r"early_terminate.max_iter.*2.5"),
        ({"s": 3}, r"early_terminate.*s"),
    ],
)
def test_bad_settings_are_refused(settings, refusal):
    with pytest.raises(SweepConfigError, match=refusal):
        load_sweep(RANDOM | {"early_terminate": {"type": "thaw", **settings}})


def test_several_metrics_and_wandbs_servers_refuse_it():
    with pytest.raises(SweepConfigError, match="early_terminate"):
        load_sweep(METRICS | {"early_terminate": {"type": "thaw"}})
    with pytest.raises(SweepConfigError, match=r"not thaw, since its servers stop runs for good; use controller=embed"):
        check_supported(load_sweep(THAW))
