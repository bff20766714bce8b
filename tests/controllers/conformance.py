"""What every controller must do: inherit ControllerTestCase and say how to make one."""

import itertools
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numpy as np
import pytest

from tests import configurations
from tests.configurations import UNIT
from wandbsweep import Outcome, load_sweep
from wandbsweep.sweep.launch_record import ControllerOptions

GRID = configurations.GRID | {"parameters": {"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}}}
RANDOM = configurations.RANDOM | {"parameters": {"x": UNIT, "n": {"min": 1, "max": 1000}}}


def everything(controller, agent="a"):
    """All the trials that it gives out."""
    return list(iter(lambda: controller.ask(agent), None))


def record(controller, number=0):
    return controller.trials()[number]


class ControllerTestCase:
    """``make(config, **options)``: a new sweep's controller. ``again(**options)``: another one of the same sweep."""

    make = None
    again = None
    threads = 64
    """How many threads share a controller."""

    @pytest.fixture
    def controller(self):
        return self.make(RANDOM)

    # -- asking

    def test_a_grid_gives_every_point_once_in_sorted_order_and_then_nothing(self):
        controller = self.make(GRID)
        points = [(t.number, t.params["a"], t.params["b"]) for t in everything(controller)]
        assert [point[1:] for point in points] == [(a, b) for a in (1, 2, 3) for b in ("x", "y")]
        assert [point[0] for point in points] == list(range(6))
        assert controller.ask("a") is None

    def test_run_cap_is_a_limit_on_trials(self):
        for config in (GRID, RANDOM):
            assert len(everything(self.make(config | {"run_cap": 4}))) == 4

    def test_threads_on_one_controller_share_a_grid(self):
        points = list(range(self.threads + self.threads // 2))
        controller = self.make({"method": "grid", "parameters": {"a": {"values": points}}})
        start = threading.Barrier(self.threads)

        def agent(k):
            start.wait()
            return everything(controller, str(k))

        with ThreadPoolExecutor(self.threads) as pool:
            trials = [trial for found in pool.map(agent, range(self.threads)) for trial in found]
        assert sorted(trial.number for trial in trials) == points
        assert sorted(trial.params["a"] for trial in trials) == points

    def test_values_of_any_kind_arrive_unchanged(self):
        values = [None, True, 1.5, "true", "", [1, [2]], {"k": {"1": None}}, {1: "one", None: "null"}, 2**70, 1e-7]
        controller = self.make({"method": "grid", "parameters": {"v": {"values": values}}})
        trials = everything(controller)
        for given, value in zip(trials, values, strict=True):
            for seen in (given.params["v"], record(controller, given.number).params["v"]):
                assert (type(seen), repr(seen)) == (type(value), repr(value))

    # -- completion

    @pytest.mark.parametrize("agents", [2, 8])
    def test_max_failures_aborts_a_sweep_of_several_agents(self, agents):
        """Each agent has its own controller, and holds a trial while the others fail theirs."""
        first = self.make(RANDOM, options=ControllerOptions(max_failures=5))
        controllers = [first, *(self.again(options=ControllerOptions(max_failures=5)) for _ in range(agents - 1))]
        held = [controller.ask(str(k)) for k, controller in enumerate(controllers)]
        given = agents
        while any(held):
            assert given < 40
            for k, controller in enumerate(controllers):
                if held[k]:
                    controller.complete(held[k], Outcome.failed("ImportError"))
                    held[k] = controller.ask(str(k))
                    given += held[k] is not None
        assert given < 5 + agents
        for controller in controllers:
            assert controller.completion().aborted
            assert controller.completion().reason == f"the first {given} trials all failed (max_failures=5)"

    def test_failures_of_the_parameters_neither_pause_a_sweep_nor_blame_an_agent(self):
        full = Outcome.failed("out of memory: …", cause="out of memory", metrics={"memory/host_peak_mib": 9.0})
        diverged = Outcome.failed("diverged: the loss is NaN at step 3", cause="diverged")

        def run(controller, agent, *outcomes):
            for outcome in outcomes:
                controller.complete(controller.ask(agent), outcome)

        controller = self.make(RANDOM, options=ControllerOptions(max_failures=3))
        run(controller, "a", Outcome.finished(0.5), full, diverged, full, diverged)
        assert controller.completion() is None
        assert controller.describe_bad_nodes() == []
        assert controller.trials()[1].metrics["memory/host_peak_mib"] == 9.0
        assert [trial.cause for trial in controller.trials()][:3] == ["", "out of memory", "diverged"]
        assert controller.ask("a") is not None

    @pytest.mark.parametrize("cause", ["", "out of memory", "diverged"])
    def test_before_a_success_all_failures_abort_a_sweep(self, cause):
        controller = self.make(RANDOM, options=ControllerOptions(max_failures=3))
        for _ in range(3):
            controller.complete(controller.ask("a"), Outcome.failed("why", cause=cause))
        assert controller.completion().aborted

    @pytest.mark.parametrize("agents", [2, 8])
    def test_max_failures_aborts_a_sweep_of_several_threads(self, agents):
        controller = self.make(RANDOM, options=ControllerOptions(max_failures=5))

        def fail(name):
            for given in itertools.count():
                if given == 40 or (trial := controller.ask(name)) is None:
                    return given
                controller.complete(trial, Outcome.failed("ImportError"))

        with ThreadPoolExecutor(agents) as pool:
            given = sum(pool.map(fail, map(str, range(agents))))
        assert 5 <= given < 5 + agents
        assert controller.completion().aborted

    def test_failures_among_successes_do_not_abort_a_sweep(self):
        controller = self.make(RANDOM, options=ControllerOptions(max_failures=3))
        for outcome in [Outcome.finished(0.5), *[Outcome.failed("")] * 2] * 3:
            controller.complete(controller.ask("a"), outcome)
        assert controller.ask("a") is not None

    def test_failures_in_a_row_pause_a_sweep_that_worked(self):
        options = ControllerOptions(max_failures=3)
        controller = self.make(RANDOM, options=options)
        for outcome in [Outcome.finished(0.5), *[Outcome.failed("")] * 3]:
            controller.complete(controller.ask("a"), outcome)
        assert controller.ask("a") is None
        assert (controller.completion().aborted, controller.completion().paused) == (False, True)
        assert controller.completion().reason == "the last 3 trials all failed (max_failures=3)"
        controller.forgive_failures()
        assert self.again(options=options).completion() is None

    @pytest.mark.parametrize("worked", [True, False])
    @pytest.mark.parametrize("killed", [True, False])
    def test_trials_that_are_killed_from_outside_end_no_sweep(self, killed, worked):
        controller = self.make(RANDOM, options=ControllerOptions(max_failures=3, max_attempts=1))
        if worked:
            controller.complete(controller.ask("a"), Outcome.finished(0.5))
        for _ in range(3):
            controller.crash(controller.ask("a"), "SIGKILL", killed=killed)
        assert (controller.completion() is None) == killed

    @pytest.mark.parametrize("broken", ["task", "process"])
    def test_an_agent_that_breaks_after_a_success_stops_asking(self, broken, caplog):
        options = ControllerOptions(max_attempts=2)
        good, bad = self.make(RANDOM | {"run_cap": 8}, options=options), self.again(options=options)
        good.complete(good.ask("good"), Outcome.finished(0.5))
        bad.complete(bad.ask("bad"), Outcome.finished(0.5))
        held, failed = good.ask("good"), []
        while trial := bad.ask("bad"):
            failed.append(trial.number)
            if broken == "process":
                bad.crash(trial, "SIGSEGV")
            else:
                assert bad.reassign_suspect(trial, "CUDA error")
        assert failed == [3, 4, 5]
        assert "agent bad failed 3 trials in a row while others do well" in caplog.text
        said = "Agent bad failed 3 trials in a row while others do well, and gets no more of them."
        assert good.describe_bad_nodes() == [said]
        good.complete(held, Outcome.finished(0.5))
        while trial := good.ask("good"):
            good.complete(trial, Outcome.finished(0.5))
        assert [trial.state for trial in good.trials()] == ["finished"] * 8

    def test_failures_of_one_agent_do_not_abort_a_sweep_while_another_does_well(self):
        controller = self.make(RANDOM, options=ControllerOptions(max_failures=2))
        controller.complete(controller.ask("good"), Outcome.finished(0.5))
        controller.ask("good")
        for _ in range(2):
            controller.complete(controller.ask("bad"), Outcome.failed(""))
        assert controller.completion() is None

    @pytest.mark.parametrize("fatal", [True, False])
    def test_failures_do_not_abort_a_sweep_while_a_trial_reports_values(self, fatal):
        controller = self.make(RANDOM, options=ControllerOptions(max_failures=2))
        controller.report(controller.ask("a"), 0, {"loss": 0.5})
        for _ in range(3):
            controller.complete(controller.ask("b"), Outcome.finished() if fatal else Outcome.failed(""))
        assert controller.completion() is None
        assert controller.ask("c") is not None

    def test_a_metric_that_is_never_given_aborts_the_sweep_at_once(self):
        controller = self.make(RANDOM, options=ControllerOptions(max_failures=5))
        controller.complete(controller.ask("a"), Outcome.finished())
        assert controller.completion().aborted
        assert "no value of the metric" in controller.completion().reason
        assert controller.ask("a") is None

    @pytest.mark.parametrize("outcome", [Outcome.failed("no such directory"), Outcome.finished()])
    def test_an_aborted_sweep_is_resumed_when_its_failures_are_forgiven(self, outcome):
        options = ControllerOptions(max_failures=2)
        controller = self.make(RANDOM, options=options)
        while trial := controller.ask("a"):
            controller.complete(trial, outcome)
        failed = trial_count = len(controller.trials())
        assert controller.completion().aborted
        controller.forgive_failures()
        other = self.again(options=options)
        for each in (controller, other):
            assert each.completion() is None
        while trial := other.ask("b"):
            other.complete(trial, Outcome.failed("no such directory"))
            trial_count += 1
        assert trial_count == failed + 2
        assert other.completion().reason == "2 trials since the sweep was resumed all failed (max_failures=2)"

    def test_a_sweep_is_complete_when_all_trials_are_given_out_and_reopened_by_a_release(self):
        controller = self.make(RANDOM | {"run_cap": 2})
        assert controller.cap == 2
        trials = [controller.ask("a")]
        assert controller.completion() is None
        trials.append(controller.ask("b"))
        completion = controller.completion()
        assert (completion.reason, completion.aborted) == ("all 2 trials were given out", False)
        controller.release(trials[0], "preempted")
        assert controller.completion() is None
        assert controller.ask("b").number == 0

    def test_a_target_ends_the_sweep_as_soon_as_it_is_reported(self):
        controller = self.make(RANDOM | {"metric": {"name": "loss", "goal": "minimize", "target": 0.1}})
        trial = controller.ask("a")
        controller.report(trial, 0, {"loss": 0.2})
        other = controller.ask("b")
        controller.report(trial, 1, {"loss": 0.1})
        assert controller.ask("c") is None
        assert controller.completion().reason == "the target 0.1 was reached"
        controller.complete(other, Outcome.finished())
        assert record(controller, 1).state == "failed"

    # -- a trial's value

    def test_the_value_is_the_best_one_reported(self, controller):
        trial = controller.ask("a")
        for step, loss in enumerate([0.5, 0.2, 0.4]):
            assert not controller.report(trial, step, {"loss": loss, "other": 9.0}).stop
        controller.complete(trial, Outcome.finished(0.01))
        assert (record(controller).state, record(controller).value) == ("finished", 0.2)
        assert record(controller).history == [0.5, 0.2, 0.4]
        assert record(controller).metrics == {"loss": 0.4, "other": 9.0}

    def test_else_the_number_that_the_task_returned(self, controller):
        controller.complete(controller.ask("a"), Outcome.finished(np.float32(0.5)))
        assert (record(controller).state, record(controller).value) == ("finished", 0.5)

    def test_else_it_failed_and_the_reason_names_the_metric_and_those_seen(self, controller):
        trial = controller.ask("a")
        controller.report(trial, 0, {"val/loss": 0.1, "acc": 0.9})
        controller.complete(trial, Outcome.finished())
        assert record(controller).state == "failed"
        for name in ("'loss'", "acc", "val/loss"):
            assert name in record(controller).reason

    def test_a_grid_needs_no_metric(self):
        controller = self.make(GRID)
        controller.complete(controller.ask("a"), Outcome.finished())
        assert (record(controller).state, record(controller).value) == ("finished", None)

    def test_reporting_a_step_again_replaces_it(self, controller):
        trial = controller.ask("a")
        for step, loss in [(0, 0.1), (1, 0.5), (0, 0.7)]:
            controller.report(trial, step, {"loss": loss})
        controller.complete(trial, Outcome.finished())
        assert (record(controller).history, record(controller).value) == ([0.7, 0.5], 0.5)

    @pytest.mark.parametrize("goal", ["minimize", "maximize"])
    def test_what_is_not_finite_is_never_best(self, goal):
        controller = self.make(RANDOM | {"metric": {"name": "loss", "goal": goal}})
        trial = controller.ask("a")
        for step, loss in enumerate([math.nan, math.inf, 0.5, -math.inf]):
            controller.report(trial, step, {"loss": loss})
        assert record(controller).value == 0.5
        controller.complete(trial, Outcome.finished())
        assert record(controller).value == 0.5

    def test_nothing_but_nan_is_finished_without_a_value(self, controller):
        trial = controller.ask("a")
        controller.report(trial, 0, {"loss": math.nan})
        controller.complete(trial, Outcome.finished())
        assert (record(controller).state, record(controller).value) == ("finished", None)

    @pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), Decimal("0.5"), np.float64(0.5)])
    def test_a_number_of_any_library_is_a_number(self, controller, value):
        controller.report(controller.ask("a"), 0, {"loss": value})
        assert record(controller).history == [0.5]

    @pytest.mark.parametrize("value", [None, True, "0.5", [0.5], np.array([0.5, 1.0])])
    def test_what_is_no_number_is_no_report(self, controller, value):
        controller.report(controller.ask("a"), 0, {"loss": value})
        assert record(controller).history == []

    def test_an_integer_beyond_all_floats_is_infinite(self, controller):
        controller.report(controller.ask("a"), 0, {"loss": 10**400})
        assert record(controller).history == [math.inf]

    def test_steps_are_whole_numbers(self, controller):
        trial = controller.ask("a")
        for step in (-1, 2.0, np.int64(3)):
            controller.report(trial, step, {"loss": float(step)})
        assert list(record(controller).reports) == [-1, 2, 3]
        with pytest.raises(ValueError, match=r"`step` is 0\.5"):
            controller.report(trial, 0.5, {"loss": 1.0})

    # -- ending

    @pytest.mark.parametrize("outcome", [Outcome.failed("CUDA"), Outcome.stopped("hyperband")])
    def test_the_reason_of_an_ending_is_kept(self, controller, outcome):
        controller.complete(controller.ask("a"), outcome)
        assert (record(controller).state, record(controller).reason) == (outcome.state, outcome.reason)

    def test_completing_what_is_complete_changes_nothing(self, controller):
        trial = controller.ask("a")
        controller.complete(trial, Outcome.finished(0.1))
        controller.complete(trial, Outcome.failed("late"))
        controller.release(trial, "late")
        assert (record(controller).state, record(controller).value) == ("finished", 0.1)

    @pytest.mark.parametrize("metrics", [{"loss": 0.1}, {"other": 0.1}])
    def test_a_report_after_the_end_is_told_to_stop(self, controller, metrics):
        trial = controller.ask("a")
        controller.complete(trial, Outcome.finished(0.5))
        assert controller.report(trial, 0, metrics).stop
        assert record(controller).reports == {}

    def test_a_released_trial_is_given_out_again_as_it_was(self, controller):
        trial, other = controller.ask("a"), controller.ask("a")
        controller.report(trial, 0, {"loss": 0.5, "acc": 0.1})
        controller.release(trial, "preempted")
        assert (record(controller).state, record(controller).reason) == ("queued", "preempted")
        assert record(controller).value == 0.5
        again = controller.ask("b")
        assert (again.number, again.params, again.attempt) == (trial.number, trial.params, 2)
        controller.report(again, 1, {"loss": 0.6})
        controller.complete(again, Outcome.finished())
        assert record(controller).history == [0.5, 0.6]
        assert record(controller).metrics == {"loss": 0.6, "acc": 0.1}
        assert (record(controller).value, record(controller).attempts) == (0.5, 2)
        assert controller.ask("b").number == other.number + 1

    def test_the_earlier_attempt_can_do_nothing_any_more(self, controller):
        first = controller.ask("a")
        controller.release(first, "preempted")
        second = controller.ask("b")
        assert controller.report(first, 0, {"loss": 0.0}).stop
        controller.complete(first, Outcome.failed("late"))
        controller.complete(second, Outcome.finished(0.5))
        assert (record(controller).state, record(controller).value) == ("finished", 0.5)

    def test_a_released_grid_point_is_given_out_again(self):
        controller = self.make(GRID)
        trials = everything(controller)
        controller.release(trials[4], "lost")
        controller.release(trials[2], "lost")
        assert [trial.params for trial in everything(controller)] == [trials[2].params, trials[4].params]

    def test_a_crashed_trial_is_given_out_again_until_its_attempts_are_spent(self):
        controller = self.make(RANDOM, options=ControllerOptions(max_attempts=2))
        first = controller.ask("a")
        controller.report(first, 0, {"loss": 0.5})
        controller.crash(first, "SIGSEGV")
        assert (record(controller).state, record(controller).reason) == ("queued", "SIGSEGV")
        again = controller.ask("b")
        assert (again.number, again.params, again.attempt) == (0, first.params, 2)
        controller.crash(again, "SIGSEGV")
        crashed = record(controller)
        assert (crashed.state, crashed.attempts, crashed.value) == ("crashed", 2, 0.5)
        assert crashed.reason == "SIGSEGV; attempt 2 of 2"
        assert controller.ask("a").number == 1

    def test_a_trial_takes_as_long_as_its_attempts_worked(self):
        options = ControllerOptions(max_attempts=9)
        controller = self.make(RANDOM, options=options)
        for give_back in (controller.release, controller.crash, controller.release):
            trial = controller.ask("a")
            controller.note_work(trial, 100.0)
            give_back(trial, "")
            assert (record(controller).state, record(controller).duration_s) == ("queued", None)
        trial = controller.ask("a")
        assert (record(controller).worked_s, record(controller).resumed > 0) == (300.0, True)
        controller.note_work(trial, 20.0)
        controller.complete(trial, Outcome.finished(0.5))
        for each in (controller, self.again(options=options)):
            assert record(each).duration_s == 320.0
        controller.complete(controller.ask("a"), Outcome.finished(0.5))  # nobody says how long it worked
        assert 0 <= record(controller, 1).duration_s < 20

    def test_a_release_is_not_a_lost_attempt(self):
        controller = self.make(RANDOM, options=ControllerOptions(max_attempts=1))
        for attempt in (1, 2, 3):
            trial = controller.ask("a")
            assert (trial.number, trial.attempt) == (0, attempt)
            controller.release(trial, "preempted")
        controller.crash(controller.ask("a"), "SIGSEGV")
        assert (record(controller).state, record(controller).attempts) == ("crashed", 4)

    @pytest.mark.parametrize("outcome", [Outcome.failed("CUDA"), Outcome.stopped("hyperband")])
    def test_a_trial_that_did_not_finish_has_the_best_value_that_it_reported(self, controller, outcome):
        trial = controller.ask("a")
        for step, loss in enumerate([0.5, 0.2, 0.4]):
            controller.report(trial, step, {"loss": loss})
        controller.complete(trial, outcome)
        assert (record(controller).state, record(controller).value) == (outcome.state, 0.2)
        assert record(controller).metrics == {"loss": 0.4}
        assert record(controller).ended >= record(controller).started

    # -- commands

    def test_a_command_reaches_every_controller(self):
        first = self.make(RANDOM)
        second = self.again()
        for command in ("paused", "running", "stopped", "cancelled"):
            first.command = command
            assert second.command == command

    def test_a_paused_sweep_is_not_ready(self, controller):
        assert controller.ready("a")
        controller.command = "paused"
        assert not controller.ready("a")
        assert controller.completion() is None

    def test_a_stopped_sweep_gives_out_no_more_and_lets_trials_finish(self, controller):
        trial = controller.ask("a")
        controller.command = "stopped"
        assert not controller.completion().aborted
        assert controller.ask("a") is None
        assert not controller.report(trial, 0, {"loss": 0.5}).stop
        controller.complete(trial, Outcome.finished())
        assert (record(controller).state, record(controller).value) == ("finished", 0.5)

    # -- one sweep, several controllers

    def test_random_draws_depend_on_seed_and_number_alone(self):
        alone = [trial.params for trial in everything(self.make(RANDOM | {"run_cap": 12}, seed=3))]
        first = self.make(RANDOM | {"run_cap": 12}, seed=3)
        others = [first, *(self.again() for _ in range(3))]
        shared = [others[i % 4].ask(str(i)) for i in range(12)]
        assert [trial.number for trial in shared] == list(range(12))
        assert [trial.params for trial in shared] == alone
        assert alone != [trial.params for trial in everything(self.make(RANDOM | {"run_cap": 12}, seed=4))]

    def test_the_seed_is_the_sweeps(self):
        first = self.make(RANDOM, seed=7)
        assert self.again(seed=8).seed == first.seed == 7

    def test_another_controller_goes_on_where_the_first_stopped(self):
        first = self.make(RANDOM)
        trial = first.ask("a")
        first.report(trial, 0, {"loss": 0.5})
        first.close()
        second = self.again()
        second.complete(trial, Outcome.finished())
        assert (record(second).state, record(second).value) == ("finished", 0.5)
        assert second.ask("b").number == 1

    def test_bayes_never_gives_two_agents_one_point(self):
        controller = self.make(RANDOM | {"method": "bayes", "parameters": {"x": {"min": 0.0, "max": 1.0}}})
        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                for trial in list(pool.map(controller.ask, "abcd"))[1:]:
                    controller.complete(trial, Outcome.finished(trial.params["x"] ** 2))
        points = [trial.params["x"] for trial in controller.trials()]
        assert len(points) == len(set(points)) == 16

    def test_hyperband_decides_at_the_report_that_reaches_the_band(self):
        config = RANDOM | {"early_terminate": {"type": "hyperband", "min_iter": 2}}
        first = self.make(config)
        for loss in (0.3, 0.2, 0.1):
            trial = first.ask("a")
            assert not any(first.report(trial, step, {"loss": loss}).stop for step in range(2))
            first.complete(trial, Outcome.finished(loss))
        second = self.again()
        trial = second.ask("b")
        decisions = [second.report(trial, step, {"loss": 0.9}) for step in range(2)]
        assert [decision.stop for decision in decisions] == [False, True]
        assert decisions[1].reason == "hyperband: 0.9 at iteration 2 is above the threshold 0.2 of band 2"

    def test_threads_that_report_at_once_lose_nothing(self, controller):
        trials = [controller.ask(str(k)) for k in range(8)]

        def train(trial):
            for step in range(20):
                controller.report(trial, step, {"loss": float(step)})
            controller.complete(trial, Outcome.finished())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(train, trials))
        assert [(t.state, len(t.reports)) for t in controller.trials()] == [("finished", 20)] * 8

    def test_a_spec_can_be_loaded_from_what_it_was_given(self, controller):
        assert load_sweep(controller.spec.dump()) == controller.spec
