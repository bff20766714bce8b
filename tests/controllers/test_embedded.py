"""The embedded controller, in memory, on a journal and on SQLite."""

import json
import math
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import optuna
import pytest

from tests.controllers.conformance import GRID, RANDOM, ControllerTestCase, everything, record
from wandbsweep import Outcome, SweepConfigError, SweepDirectoryError, create_sweep, load_sweep, open_sweep
from wandbsweep.controllers.embedded.controller import EmbeddedController
from wandbsweep.controllers.open import open_embedded
from wandbsweep.controllers.trial_entry import CLAIM
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.storage.base import NewAttempt
from wandbsweep.storage.optuna_params import OptunaParams
from wandbsweep.sweep.directory import write_spec
from wandbsweep.sweep.launch_record import ControllerOptions


class EmbeddedTestCase(ControllerTestCase):
    """Each ``make`` is a new sweep, ``again`` another controller of the last one."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.tmp_path, self.made = tmp_path, 0
        self.controllers = []
        yield
        for controller in self.controllers:
            controller.close()

    def locate(self):
        return {"path": self.tmp_path / str(self.made)}

    def make(self, config, **options):
        self.made += 1
        self.spec = load_sweep(config)
        return self.again(**options)

    def again(self, seed=None, options=None):
        controller = create_sweep(self.spec, **self.locate(), seed=seed)
        if options:
            controller.close()
            path, options = self.locate().get("path"), replace(options, storage=self.locate().get("storage"))
            controller = open_embedded(path, self.spec, options, study_name=path and path.name)
        self.controllers.append(controller)
        return controller

    # -- what follows from a trial's number alone is foreseen, and stored with the claim

    def test_parameters_are_written_with_the_claim(self):
        controllers = [self.make(RANDOM, seed=3), self.again()]
        for controller in controllers:
            controller._storage.set_params = None
        numbers = [controllers[k % 2].ask("a").number for k in range(6)]
        assert numbers == list(range(6))

    def test_a_number_that_was_foreseen_wrongly_is_put_right(self):
        """Between what an agent read and its claim another one opened a trial, gave it back and took it up again."""
        wanted = [trial.params for trial in everything(self.make(RANDOM | {"run_cap": 2}, seed=3))]
        controller, other, watcher = self.make(RANDOM, seed=3), self.again(), self.again()
        create, set_params = controller._storage.create_attempt, controller._storage.set_params

        def late(study, build):
            controller._storage.create_attempt = create
            other.release(other.ask("b"), "preempted")
            assert other.ask("b").attempt == 2
            return create(study, build)

        def watched(*args):
            assert [trial.params for trial in watcher.trials()] == [wanted[0], {}]
            set_params(*args)

        controller._storage.create_attempt, controller._storage.set_params = late, watched
        trial = controller.ask("a")
        assert (trial.number, trial.params) == (1, wanted[1])
        for one in (watcher, self.again()):
            assert [trial.params for trial in one.trials()] == wanted

    # -- retried trials

    def test_a_failed_trial_that_is_retried_runs_again_with_its_number_parameters_and_reports(self):
        first = self.make(RANDOM | {"run_cap": 2})
        second = self.again()
        failed = first.ask("a")
        first.report(failed, 0, {"loss": 0.5})
        first.complete(failed, Outcome.failed("no space"))
        first.complete(first.ask("a"), Outcome.finished(0.25))
        assert second.completion().exhausted
        second.retry([0, 1])  # what has not failed stays as it is
        first.retry([0])
        assert [trial.state for trial in first.trials()] == ["queued", "finished"]
        assert first.completion() is None
        again = first.ask("a")
        assert (again.number, again.params, first.ask("a")) == (0, failed.params, None)
        assert again.attempt > 1
        first.report(again, 1, {"loss": 0.75})
        first.complete(again, Outcome.finished())
        for controller in (first, second, self.again()):
            (trial, other) = controller.trials()
            assert (trial.state, trial.value, trial.reports, trial.attempts) == ("finished", 0.5, {0: 0.5, 1: 0.75}, 2)
            assert other.state == "finished"

    def test_a_retry_counts_attempts_anew_and_resumes_a_sweep_that_ended_because_trials_failed(self):
        options = ControllerOptions(max_attempts=2, max_failures=2)
        controller, other = self.make(RANDOM | {"run_cap": 9}, options=options), self.again(options=options)
        for _ in range(2):
            controller.crash(controller.ask("a"), "SIGSEGV")
        assert record(controller).state == "crashed"
        controller.complete(controller.ask("a"), Outcome.failed("CUDA"))
        assert controller.completion().aborted
        other.retry([0])
        assert controller.ready("b")
        for lost in (True, False):
            trial = controller.ask("b")
            assert trial.number == 0
            assert record(controller).attempts == 3 + (not lost)
            if lost:
                controller.crash(trial, "SIGSEGV")
        controller.crash(trial, "SIGSEGV")
        assert (record(other).state, record(other).reason) == ("crashed", "SIGSEGV; attempt 2 of 2")
        other.retry([0])
        assert controller.ask("b").number == 0


class TestJournal(EmbeddedTestCase):
    pass


class TestInMemory(EmbeddedTestCase):
    def again(self, seed=None, options=None):
        if seed is None and self.controllers and self.controllers[-1].spec is self.spec:
            first = self.controllers[-1]
            return EmbeddedController(self.spec, first._storage, study_name="sweep", options=options)
        return super().again(seed=seed, options=options)

    def locate(self):
        return {"path": None}

    def test_the_seed_is_the_sweeps(self):
        assert self.make(RANDOM, seed=7).seed == 7


class TestSQLite(EmbeddedTestCase):
    threads = 8  # SQLite has one writer

    @pytest.fixture(autouse=True)
    def fast(self):
        """A commit costs a disk's round trip otherwise."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        def asynchronous(connection, _):
            connection.execute("PRAGMA synchronous=OFF")

        event.listen(Engine, "connect", asynchronous)
        yield
        event.remove(Engine, "connect", asynchronous)

    def locate(self):
        return {"storage": f"sqlite:///{self.tmp_path}/{self.made}.db"}


AGENT = """
import sys, json
from wandbsweep import create_sweep, load_sweep, Outcome
controller = create_sweep(load_sweep(json.loads(sys.argv[1])), **json.loads(sys.argv[2]))
sys.stdin.readline()
trials = []
while (trial := controller.ask(sys.argv[3])) is not None:
    trials.append([trial.number, dict(trial.params)])
    if trial.attempt == 1 and trial.number % 7 == 0:
        controller.release(trial, "lost")
        trials.pop()
    else:
        controller.complete(trial, Outcome.finished(0.5))
print(json.dumps(trials))
"""


@pytest.mark.parametrize(("place", "processes", "size"), [("path", 6, 80), ("storage", 3, 12)])
def test_processes_share_a_grid_and_what_is_given_back(tmp_path, place, processes, size):
    config = {"method": "grid", "parameters": {"a": {"values": list(range(size))}}}
    where = {place: str(tmp_path / "sweep") if place == "path" else f"sqlite:///{tmp_path}/sweep.db"}
    create_sweep(load_sweep(config), **where).close()
    agents = [
        subprocess.Popen(
            [sys.executable, "-c", AGENT, json.dumps(config), json.dumps(where), str(k)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for k in range(processes)
    ]
    for agent in agents:
        agent.stdin.write("go\n")
        agent.stdin.flush()
    trials = [trial for agent in agents for trial in json.loads(agent.communicate(timeout=60)[0])]
    assert sorted(trials) == [[n, {"a": n}] for n in range(size)]
    records = create_sweep(load_sweep(config), **where).trials()
    assert [(r.number, r.params["a"], r.state) for r in records] == [(n, n, "finished") for n in range(size)]


# -- which sweep a path holds


def test_a_path_with_another_sweep_is_refused_and_the_differences_are_named(tmp_path):
    create_sweep(load_sweep(RANDOM), tmp_path)
    other = RANDOM | {"metric": {"name": "acc"}, "parameters": {"x": {"min": 0.0, "max": 2.0}}}
    with pytest.raises(SweepDirectoryError) as refused:
        create_sweep(load_sweep(other), tmp_path)
    for part in (str(tmp_path), "metric: minimize loss, now minimize acc", "parameters.x", "parameters.n"):
        assert part in str(refused.value)
    assert load_sweep(tmp_path / "sweep.yaml") == load_sweep(RANDOM)


def test_a_database_with_another_sweep_is_refused_too(tmp_path):
    url = f"sqlite:///{tmp_path}/sweep.db"
    create_sweep(load_sweep(RANDOM), storage=url)
    with pytest.raises(SweepDirectoryError, match="method: random, now grid"):
        create_sweep(load_sweep(GRID), storage=url)


def test_the_same_sweep_may_have_another_run_cap(tmp_path):
    everything(create_sweep(load_sweep(RANDOM | {"run_cap": 2}), tmp_path))
    assert [t.number for t in everything(create_sweep(load_sweep(RANDOM | {"run_cap": 3}), tmp_path))] == [2]


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SweepDirectoryError, match="Cannot write"):
        create_sweep(load_sweep(RANDOM), tmp_path / "file" / "sweep")


def test_what_only_wandb_can_run_is_refused():
    with pytest.raises(SweepConfigError, match="W&B's servers"):
        create_sweep(load_sweep(RANDOM | {"method": "custom"}))


def test_a_sweep_can_be_read_before_it_has_a_journal_and_reading_makes_none(tmp_path):
    write_spec(tmp_path, load_sweep(RANDOM))
    assert open_sweep(tmp_path).trials == []
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


# -- Optuna's view


def test_optuna_reads_what_we_wrote(tmp_path):
    controller = create_sweep(load_sweep(RANDOM), tmp_path, seed=0)
    for value in (0.5, 0.25, None):
        trial = controller.ask("a")
        controller.report(trial, 0, {"loss": float("nan") if value is None else value})
        controller.complete(trial, Outcome.finished())
    study = optuna.load_study(study_name="sweep", storage=controller._storage.open_optuna())
    assert study.best_trial.params == record(controller, 1).params
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]


ODD = {
    "huge": {"min": 0, "max": 10**400},
    "big": {"min": -(2**60), "max": 2**60},
    "same": {"values": [1, 1.0, True, "1"]},
    "odd": {"values": [None, [1, 2], {"k": 1}, {1: 2}, float("nan"), ""]},
    "many": {"values": list(range(1000))},
    "names": {"values": [f"n{i}" for i in range(1000)]},
    "constant": {"value": {"a": [1]}},
    "weighted": {"values": [1, 2], "probabilities": [0.0, 1.0]},
    "normal": {"distribution": "normal"},
    "quantised": {"distribution": "q_log_uniform_values", "min": 0.1, "max": 1e6, "q": 0.4},
    "wide": {"min": -1.7e308, "max": 1.7e308},
    "tiny": {"distribution": "log_uniform", "min": -700.0, "max": 700.0},
    "beta": {"distribution": "q_beta", "a": 0.01, "b": 0.01, "q": 0.3},
}


@pytest.mark.parametrize("name", ODD)
def test_no_parameter_is_too_odd_for_optuna(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that log_uniform takes exponents
        parameters = load_sweep({"method": "random", "parameters": {name: ODD[name]}}).parameters
    optuna_params = OptunaParams(parameters)
    for u in (0.0, 1e-9, 0.3, 0.5, 0.999999999, 1.0):
        for param in optuna_params.encode({name: parameters[name].ppf(u)}).values():
            assert optuna.distributions.json_to_distribution(param.distribution)._contains(param.value)


def test_what_the_journal_holds_of_a_long_list_is_short(tmp_path):
    spec = load_sweep({"method": "grid", "parameters": {"a": {"values": [f"n{i}" for i in range(5000)]}}})
    controller = create_sweep(spec, tmp_path)
    for _ in range(10):
        controller.ask("a")
    assert (tmp_path / "journal.log").stat().st_size < 10_000


# -- an agent that dies or fails while it chooses


def test_an_interrupted_choice_is_given_out_again(monkeypatch):
    controller = create_sweep(load_sweep(RANDOM | {"method": "bayes"}))

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(controller._proposals.search), "propose", interrupted)
        with pytest.raises(KeyboardInterrupt):
            controller.ask("a")
    assert record(controller).state == "queued"
    trial = controller.ask("b")
    assert (trial.number, trial.attempt) == (0, 2)
    assert set(trial.params) == {"x", "n"}


def claim_without_params(controller, agent):
    claims = controller._claims
    claims._create(lambda _: NewAttempt({CLAIM: claims._sign(agent)}))


def test_an_agent_that_died_while_choosing_is_waited_for_once(monkeypatch):
    monkeypatch.setattr("wandbsweep.controllers.embedded.proposals.DEAD_S", 0.05)
    controller = create_sweep(load_sweep(RANDOM | {"method": "bayes"}))
    claim_without_params(controller, "dead")
    trials = [controller.ask("a") for _ in range(3)]
    assert [trial.number for trial in trials] == [1, 2, 3]
    assert controller._proposals._queue._dead == {0}


@pytest.mark.parametrize("other", [False, True])
def test_an_ask_that_took_long_does_without_the_model_where_others_choose(monkeypatch, other):
    monkeypatch.setattr("wandbsweep.controllers.embedded.proposals.PATIENCE_S", -1.0)
    monkeypatch.setattr("wandbsweep.search.bayes.model.fit", None)
    controller = create_sweep(load_sweep(RANDOM | {"method": "bayes"}))
    trials = [controller.ask("a") for _ in range(5)]
    for trial in trials:
        controller.complete(trial, Outcome.finished(0.5))
    if not other:
        with pytest.raises(TypeError):
            controller.ask("a")
        return
    claim_without_params(controller, "b")
    trials += [controller.ask("a") for _ in range(5)]
    assert len({trial.params["x"] for trial in trials}) == 10


def test_threads_that_ask_at_once_do_not_all_wait_for_a_model(monkeypatch):
    from wandbsweep.search.bayes import model as bayes

    chosen = []

    def slow(spec, trials, rng, **options):
        chosen.append(sum(bool(trial.params) for trial in trials))
        time.sleep(0.2)
        return bayes.vary(spec, trials, rng=rng, **options)

    monkeypatch.setattr(bayes, "suggest", slow)
    monkeypatch.setattr("wandbsweep.controllers.embedded.proposals.PATIENCE_S", 0.5)
    controller = create_sweep(load_sweep(RANDOM | {"method": "bayes"}))
    with ThreadPoolExecutor(40) as pool:
        trials = list(pool.map(controller.ask, map(str, range(40))))
    assert sorted(trial.number for trial in trials) == list(range(40))
    assert len({trial.params["x"] for trial in trials}) == 40
    assert 0 < len(chosen) < 10
    assert chosen == sorted(set(chosen))  # one after another, each with one more to see


LISTED = {"a": {"values": list(range(10))}, "b": {"values": list(range(10))}}


@pytest.mark.parametrize(
    "config", [{"parameters": LISTED}, {"repeats": {"parameter": "seed", "values": list(range(8))}}], ids=str
)
def test_what_can_come_again_does_not_where_all_choose_at_once(tmp_path, monkeypatch, config):
    monkeypatch.setattr("wandbsweep.controllers.embedded.proposals.PATIENCE_S", -1.0)
    spec = load_sweep(RANDOM | {"method": "bayes"} | config)
    controllers = [create_sweep(spec, tmp_path) for _ in range(4)]
    first = controllers[0].ask("a")
    controllers[0].complete(first, Outcome.finished(0.5))
    with ThreadPoolExecutor(24) as pool:
        trials = [first, *pool.map(lambda k: controllers[k % 4].ask("a"), range(24))]
    assert len({json.dumps(trial.params) for trial in trials}) == 25


@pytest.mark.parametrize("path", [False, True])
def test_an_ask_reads_what_is_new_and_not_all_trials(tmp_path, monkeypatch, path):
    read = []
    update = TrialTable.update

    def count(table, attempts):
        read.append(len(attempts))
        update(table, attempts)

    monkeypatch.setattr(TrialTable, "update", count)
    parameters = {"a": {"values": list(range(50))}, "b": {"values": list(range(40))}}
    controller = create_sweep(load_sweep({"method": "grid", "parameters": parameters}), tmp_path if path else None)
    points = {(t.params["a"], t.params["b"]) for t in everything(controller)}
    assert len(points) == 2000
    assert sum(read) < 2 * 2000
    controller.close()


def test_a_returned_number_that_stands_in_for_a_metric_is_told_once(caplog):
    controller = create_sweep(load_sweep(RANDOM | {"metric": {"name": "val_loss"}}))
    for value in (0.5, 0.25):
        trial = controller.ask("a")
        controller.report(trial, 0, {"loss": value})
        controller.complete(trial, Outcome.finished(value))
    (record,) = caplog.records
    assert record.getMessage() == (
        "'val_loss' was never reported (reported: 'loss'; did you mean 'loss'?); "
        "the number that the task returned is taken for it."
    )
    assert [trial.value for trial in controller.trials()] == [0.5, 0.25]


@pytest.mark.parametrize("metrics", [{}, {"val_loss": math.nan}])
def test_nothing_is_told_where_the_metric_or_nothing_was_reported(caplog, metrics):
    controller = create_sweep(load_sweep(RANDOM | {"metric": {"name": "val_loss"}}))
    trial = controller.ask("a")
    controller.report(trial, 0, metrics)
    controller.complete(trial, Outcome.finished(0.5))
    assert not caplog.records
