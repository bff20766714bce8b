"""``metric.constraints``: limits of what trials report."""

import json
import logging
import math

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage

from tests.configurations import BAYES, METRICS, RANDOM, UNIT
from wandbsweep import Outcome, SweepConfigError, TrialRecord, create_sweep, load_sweep, open_sweep, optimize
from wandbsweep.cli.evaluation.evaluation import _find_winners
from wandbsweep.cli.main import main
from wandbsweep.controllers.hosted.doctor import check_supported
from wandbsweep.results.analysis.trial_matrix import build_trial_matrix
from wandbsweep.results.doubts import find_finished_best
from wandbsweep.results.report.data import build_page_data
from wandbsweep.search.bayes.feasibility import Feasibility
from wandbsweep.search.bayes.space import Space
from wandbsweep.search.make import make_search
from wandbsweep.spec.limits import Limit
from wandbsweep.storage.append_log import AppendLog
from wandbsweep.storage.optuna_backend import OptunaBackend

LIMITED = {"name": "loss", "constraints": {"memory": {"max": 40}, "latency": {"min": 1, "max": 20}}}
CUBE = {"x": UNIT, "y": UNIT, "z": UNIT}
KEEPS = {"memory": 39.0, "latency": 10.0}


def run(config, reports, path=None):
    """A sweep whose trials each report once, and then finish."""
    controller = create_sweep(load_sweep(config), path, seed=0)
    for metrics in reports:
        trial = controller.ask("a")
        controller.report(trial, 0, metrics)
        controller.complete(trial, Outcome.finished())
    return controller


class TestReading:
    def test_the_limits_are_part_of_the_sweep(self):
        spec = load_sweep(RANDOM | {"metric": LIMITED})
        assert spec.limits == (Limit("memory", None, 40), Limit("latency", 1, 20))
        assert spec.identity["metric.constraints"] == "latency >= 1 and <= 20, memory <= 40"
        assert "metric.constraints" not in load_sweep(RANDOM).identity  # stored sweeps stay the same
        assert load_sweep(spec.dump()).limits == spec.limits
        with pytest.warns(UserWarning, match="is text"):
            text = load_sweep(RANDOM | {"metric": {"name": "loss", "constraints": {"memory": {"max": "4e1"}}}})
        assert text.limits == (Limit("memory", None, 40),)

    @pytest.mark.parametrize(
        ("constraints", "message"),
        [
            ({}, "metric.constraints: is empty"),
            ([1], "metric.constraints: [1] is a list, but must be a mapping such as {peak_memory_gb: {max: 40}}"),
            ({"memory": 40}, "metric.constraints.memory: 40 is a number, but must be a mapping such as {max: 40}"),
            ({"memory": {}}, "metric.constraints.memory: has no bound, but must have min, max or both"),
            ({"memory": {"mx": 4}}, "metric.constraints.memory.mx: unknown key; did you mean max? a constraint has"),
            ({"memory": {"max": "much"}}, "metric.constraints.memory.max: 'much' is text, but must be a finite number"),
            ({"memory": {"min": 3, "max": 2}}, "the value of min is 3, but must be at most max, 2"),
            ({3: {"max": 2}}, "metric.constraints.3: must be the name of a metric"),
        ],
    )
    def test_refuses(self, constraints, message):
        with pytest.raises(SweepConfigError) as caught:
            load_sweep(RANDOM | {"metric": {"name": "loss", "constraints": constraints}})
        assert message in str(caught.value)

    def test_wandb_refuses_them(self):
        with pytest.raises(SweepConfigError, match=r"metric\.constraints: an extension that W&B does not know"):
            check_supported(load_sweep(RANDOM | {"metric": LIMITED}))

    @pytest.mark.parametrize(
        ("metrics", "violation"),
        [
            (KEEPS, ""),
            (KEEPS | {"memory": 40}, ""),
            (KEEPS | {"memory": 40.25}, "memory 40.25 is above 40"),
            (KEEPS | {"latency": 0.5}, "latency 0.5 is below 1"),
            (KEEPS | {"memory": math.nan}, "memory is nan"),
            ({"memory": 50}, "memory 50 is above 40, latency was never reported"),
        ],
    )
    def test_a_trial_that_ends_outside_is_infeasible(self, metrics, violation):
        spec = load_sweep(RANDOM | {"metric": LIMITED})
        for state in ("finished", "stopped"):
            assert spec.describe_infeasibility(TrialRecord(0, state, {}, value=1.0, metrics=metrics)) == violation
        assert spec.describe_infeasibility(TrialRecord(0, "running", {}, metrics=metrics)) == ""


class TestResults:
    """Four trials: the best two are infeasible."""

    @pytest.fixture(scope="class")
    @classmethod
    def swept(cls, tmp_path_factory):
        path = tmp_path_factory.mktemp("limits") / "s"
        reports = [
            {"loss": 0.3, **KEEPS},
            {"loss": 0.1, **KEEPS, "memory": 41.0},
            {"loss": 0.2, "memory": 1.0},
            {"loss": 0.4, **KEEPS},
        ]
        run(RANDOM | {"metric": LIMITED}, reports, path)
        return path

    def test_no_infeasible_trial_is_named_best(self, swept):
        data = open_sweep(swept)
        assert data.best.number == 0
        assert [trial.number for trial in data.ranked] == [0, 3, 1, 2]
        assert data.rank_by("last").best.number == 0
        assert find_finished_best(data).number == 0
        assert [trial.number for trial in _find_winners(data, 9)] == [0, 3]
        assert build_trial_matrix(data).order.tolist() == [0, 3, 1, 2]
        assert "best loss 0.3 (trial 0)" in repr(data)
        page = build_page_data(data)
        assert [best["n"] for best in page["best"]] == [0]
        assert page["trials"][1]["infeasible"] == "memory 41 is above 40"

    def test_tables_name_the_reason(self, swept, capsys):
        main(["table", str(swept)])
        shown = capsys.readouterr().out
        assert shown.count("finished, infeasible") == 2
        assert "trial 1 infeasible: memory 41 is above 40" in shown
        assert "trial 2 infeasible: latency was never reported" in shown
        main(["status", str(swept), "--json"])
        assert json.loads(capsys.readouterr().out)["best"]["number"] == 0
        main(["best", str(swept), "--json"])
        best = json.loads(capsys.readouterr().out)
        assert (best["number"], best["infeasible"]) == (0, "")
        assert list(open_sweep(swept).frame["infeasible"]) == [
            "",
            "memory 41 is above 40",
            "latency was never reported",
            "",
        ]

    def test_optuna_knows_what_is_feasible(self, swept):
        (study,) = optuna.get_all_study_summaries(JournalStorage(OptunaBackend(AppendLog(swept / "journal.log"))))
        loaded = optuna.load_study(
            study_name=study.study_name, storage=JournalStorage(OptunaBackend(AppendLog(swept / "journal.log")))
        )
        found = [trial.system_attrs.get("constraints") for trial in loaded.trials]
        assert found == [[-1.0, -9.0, -10.0], [1.0, -9.0, -10.0], None, [-1.0, -9.0, -10.0]]

    def test_without_a_feasible_trial_there_is_no_best(self, tmp_path, capsys):
        run(
            RANDOM | {"metric": LIMITED},
            [{"loss": 1, "memory": 50, "latency": 0}, {"loss": 2, **KEEPS, "memory": 41}],
            tmp_path,
        )
        data = open_sweep(tmp_path)
        assert data.best is None
        assert main(["best", str(tmp_path)]) == 1
        assert "meets metric.constraints yet" in capsys.readouterr().err
        assert data.closest_to_feasible.number == 1


def test_several_metrics_have_a_front_of_feasible_trials():
    metrics = [METRICS["metrics"][0] | {"constraints": {"memory": {"max": 40}}}, METRICS["metrics"][1]]
    good, better = {"loss": 0.3, "accuracy": 0.5, "memory": 1}, {"loss": 0.1, "accuracy": 0.9, "memory": 41}
    controller = run(METRICS | {"metrics": metrics}, [good, better, good | {"loss": 0.4}])
    spec = controller.spec
    from wandbsweep.search.pareto import find_front

    assert [trial.number for trial in find_front(controller.trials(), spec.metrics)] == [0]
    bayes = make_search(load_sweep(METRICS | {"metrics": metrics, "method": "bayes"}), seed=0)
    assert 0 <= bayes.propose(3, controller.trials())["x"] <= 1


def test_only_a_feasible_trial_reaches_the_target():
    controller = run(RANDOM | {"metric": LIMITED | {"target": 0.5}}, [{"loss": 0.1, **KEEPS, "memory": 99}])
    assert controller.completion() is None
    trial = controller.ask("a")
    controller.report(trial, 0, {"loss": 0.2})
    assert controller.completion() is None  # whether it keeps the limits is not known yet
    controller.report(trial, 1, {"loss": 0.2, **KEEPS})
    controller.complete(trial, Outcome.finished())
    assert "target" in controller.completion().reason


def test_configurations_with_an_infeasible_run_get_no_more(tmp_path):
    config = RANDOM | {"metric": LIMITED, "repeats": {"parameter": "seed", "values": [1, 2, 3]}}
    controller = create_sweep(load_sweep(config), tmp_path, seed=0)
    for number in range(6):
        trial = controller.ask("a")
        controller.report(trial, 0, {"loss": 1.0 + number, **KEEPS, "memory": 41 if number == 0 else 1})
        controller.complete(trial, Outcome.finished())
    params = [trial.params for trial in controller.trials()]
    assert sum(p["x"] == params[0]["x"] for p in params) == 1
    assert open_sweep(tmp_path).best.number == 1


def test_an_unknown_limit_is_warned_of_once(caplog):
    config = RANDOM | {"metric": {"name": "loss", "constraints": {"peak_memory": {"max": 1}}}}
    with caplog.at_level(logging.WARNING):
        run(config, [{"loss": 1, "peak_memory_gb": 3}] * 2)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "limits 'peak_memory', which a trial that finished never reported" in line
    assert "did you mean 'peak_memory_gb'" in line


def test_optimize_returns_the_best_feasible_trial():
    from wandbsweep import current_trial

    def train(params):
        current_trial().report(0, {"loss": params["x"], "memory": 10 * (1 - params["x"])})

    config = RANDOM | {"metric": {"name": "loss", "constraints": {"memory": {"max": 5}}}, "run_cap": 12}
    best = optimize(train, config, seed=1, progress=False).best
    assert best.value >= 0.5


class TestSearch:
    """A bowl in three dimensions whose minimum violates a limit."""

    def search(self, metric, limit, trials, seed=0):
        spec = load_sweep(BAYES | {"metric": metric, "parameters": CUBE})
        search, records = make_search(spec, seed=seed), []
        for number in range(trials):
            p = search.propose(number, records)
            loss = (p["x"] - 0.8) ** 2 + (p["y"] - 0.5) ** 2 + (p["z"] - 0.5) ** 2
            values = {"memory": math.exp(5 * p["x"])}
            records.append(TrialRecord(number, "finished", p, {0: loss}, loss, values))
        return [trial for trial in records if trial.metrics["memory"] <= limit]

    def test_finds_the_edge(self):
        limit = math.exp(5 * 0.4)
        limited = {"name": "loss", "constraints": {"memory": {"max": limit}}}
        found = self.search(limited, limit, 25)
        assert len(found) > 10
        assert min(trial.value for trial in found) < 0.17  # 0.16 at the edge
        assert len(self.search({"name": "loss"}, limit, 25)) < 8

    def test_looks_for_feasible_configurations_first(self):
        limit = math.exp(5 * 0.01)
        limited = {"name": "loss", "constraints": {"memory": {"max": limit}}}
        assert self.search(limited, limit, 12)
        assert not self.search({"name": "loss"}, limit, 12)

    def test_the_gradient_is_that_of_the_value(self):
        rng = np.random.default_rng(0)
        spec = load_sweep(BAYES | {"metric": LIMITED, "parameters": CUBE})
        trials = []
        for number in range(12):
            x, y, z = rng.random(3).tolist()
            metrics = {"memory": 80 * x, "latency": 30 * y + z}
            trials.append(TrialRecord(number, "finished", {"x": x, "y": y, "z": z}, value=0.0, metrics=metrics))
        model = Feasibility(Space(spec.parameters), spec.limits, trials)
        assert model.feasible == [i for i, t in enumerate(trials) if not spec.describe_infeasibility(t)]
        point = np.array([0.3, 0.6, 0.4])
        value, slope = model.with_slope(point)
        assert value == pytest.approx(float(model(point[None])[0]))
        steps = [model(np.array([point + 1e-6 * unit, point - 1e-6 * unit])) for unit in np.eye(3)]
        assert slope == pytest.approx([(up - down) / 2e-6 for up, down in steps], rel=1e-4, abs=1e-8)
