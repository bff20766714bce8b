"""The next sweep: around planted optima, no narrower than the trials justify, and a file that says why."""

import math

import pytest
import yaml

from tests.configurations import LOG, UNIT
from tests.results.sweeps import SPACE, TRADE_OFF, TRAINING, plant_sweep, train_sweep
from wandbsweep import Outcome, SweepError, create_sweep, load_sweep, open_sweep
from wandbsweep.results.narrowing.narrow import narrow
from wandbsweep.results.narrowing.ranges import narrow_range
from wandbsweep.results.narrowing.sweep_writer import format_sweep_file
from wandbsweep.spec.distributions import DISTRIBUTIONS


def load_parameter(config):
    return load_sweep({"method": "random", "parameters": {"a": config}}).parameters["a"]


def valley(name, at, width=0.05):
    return lambda p: abs(p[name] - at) / width


def test_a_planted_region_is_found(tmp_path):
    results = plant_sweep(tmp_path, {"a": UNIT, "b": UNIT}, lambda p: (p["a"] - 0.7) ** 2, 100)
    a = results.narrow().parameters["a"]
    assert 0.5 < a.min < 0.7 < a.max < 0.9


def test_on_the_parameters_own_scale(tmp_path):
    results = plant_sweep(tmp_path, {"a": LOG, "b": UNIT}, lambda p: (math.log10(p["a"]) + 3) ** 2, 100)
    a = results.narrow().parameters["a"]
    assert a.distribution == "log_uniform_values"
    assert 1e-4 < a.min < 1e-3 < a.max < 1e-2


@pytest.mark.parametrize("top", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_stay_inside(tmp_path, top, seed):
    results = train_sweep(tmp_path, TRAINING, 50, steps=2, seed=seed)
    found = narrow(results, top=top)
    ended = sorted((t for t in results.trials if t.value is not None), key=lambda t: t.value)
    narrowed = [name for name, change in found.changes.items() if change.kind == "narrowed"]
    assert "optimizer.lr" in narrowed
    for name in narrowed:
        parameter = found.spec.parameters[name]
        for value in (trial.params[name] for trial in ended[: found.best]):
            assert value in parameter.values if parameter.values else parameter.min <= value <= parameter.max


def test_fewer_trials_leave_a_wider_range():
    parameter = load_parameter(UNIT)
    widths = []
    for count in (5, 10, 20, 40):
        config, _, _ = narrow_range(parameter, [0.4 + 0.2 * i / (count - 1) for i in range(count)])
        widths.append(config["max"] - config["min"])
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == pytest.approx(0.2 * 2.92, abs=0.01)
    assert widths[-1] < 0.24


def test_the_confidence_by_simulation():
    """In 95 % of cases, the widened range of 12 uniform draws is as long as the range that they come from."""
    import random

    from wandbsweep.results.narrowing.ranges import _widen

    chance = random.Random(0)
    covered = 0
    for _ in range(2000):
        draws = [0.4 + 0.2 * chance.random() for _ in range(12)]
        low, high = _widen(min(draws), max(draws), 12)
        covered += high - low >= 0.2
    assert covered / 2000 == pytest.approx(0.95, abs=0.02)


def test_what_was_hardly_tried_is_not_left_out():
    """A bayes search that dwells at 0.6: nothing is known of what is below, and enough of what is above."""
    parameter = load_parameter(UNIT)
    best = [0.58, 0.59, 0.6, 0.61, 0.62]
    dwelling = [*best, *(0.5 + i / 200 for i in range(20)), *(0.7 + i / 40 for i in range(12))]
    config, reasons, _ = narrow_range(parameter, best, dwelling)
    assert config["min"] == 0.0
    assert "too little was tried below to tell" in reasons["min"]
    assert config["max"] < 0.7
    everywhere = [*best, *(i / 40 for i in range(40))]
    config, _, _ = narrow_range(parameter, best, everywhere)
    assert config["min"] > 0.5


def test_equal_values_are_not_taken_for_certainty():
    parameter = load_parameter(UNIT)
    config, _, _ = narrow_range(parameter, [0.5] * 30)
    assert config["max"] - config["min"] >= 0.1


@pytest.mark.parametrize(
    ("old", "wanted"),
    [
        ({"min": 0, "max": 500}, "int_uniform"),
        ({"distribution": "q_uniform", "min": 0.0, "max": 500.0, "q": 10}, "q_uniform"),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 1000, "q": 1}, "q_log_uniform_values"),
        ({"distribution": "log_uniform", "min": -10.0, "max": 0.0}, "log_uniform"),
        ({"distribution": "inv_log_uniform", "min": 0.0, "max": 10.0}, "inv_log_uniform"),
        ({"distribution": "inv_log_uniform_values", "min": 1e-4, "max": 1.0}, "inv_log_uniform_values"),
        ({"distribution": "normal", "mu": 3.0, "sigma": 2.0}, "uniform"),
        ({"distribution": "log_normal", "mu": 0.0, "sigma": 2.0}, "log_uniform_values"),
        ({"distribution": "q_normal", "mu": 30.0, "sigma": 9.0, "q": 2}, "q_uniform"),
        ({"distribution": "q_log_normal", "mu": 3.0, "sigma": 1.0, "q": 1}, "q_log_uniform_values"),
        ({"distribution": "beta", "a": 2, "b": 2}, "uniform"),
        ({"distribution": "q_beta", "a": 2, "b": 2, "q": 0.05}, "q_uniform"),
    ],
    ids=lambda x: x if isinstance(x, str) else x.get("distribution", "int_uniform"),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_distribution(old, wanted):
    parameter = load_parameter(old)
    best = [parameter.ppf(u) for u in (0.4, 0.42, 0.45, 0.5, 0.5, 0.52, 0.55, 0.57, 0.6, 0.6)]
    config, reasons, kept = narrow_range(parameter, best)
    assert (config["distribution"], kept) == (wanted, False)
    narrower = load_parameter(config)
    low, high = narrower.ppf(0.0), narrower.ppf(1.0)
    assert low <= min(best) <= max(best) <= high
    assert parameter.cdf(high) - parameter.cdf(low) < 0.6
    assert {"min", "max"} <= reasons.keys()


def test_bounds_are_never_left(tmp_path):
    results = plant_sweep(tmp_path, {"a": UNIT, "b": UNIT}, lambda p: p["a"], 60)
    a = results.narrow().parameters["a"]
    assert a.min == 0.0
    assert a.max < 0.5
    assert "better ones may lie below" in narrow(results).changes["a"].reasons["min"]


def test_what_does_not_matter_is_fixed_at_its_best(tmp_path):
    results = plant_sweep(tmp_path, {"a": UNIT, "b": UNIT, "c": {"values": ["x", "y"]}}, valley("a", 0.5), 100)
    found = narrow(results)
    assert {name: change.kind for name, change in found.changes.items()} == {
        "a": "narrowed",
        "b": "fixed",
        "c": "fixed",
    }
    assert found.spec.parameters["b"].value == results.best.params["b"]
    assert "importance 0." in found.changes["b"].why


def test_what_decides_among_the_best_is_not_fixed_though_it_is_little_of_all(tmp_path):
    """Diverging takes all the variance; where nothing diverges, b is what counts."""
    results = plant_sweep(tmp_path, {"a": UNIT, "b": UNIT}, lambda p: (10 if p["a"] > 0.5 else 0) + p["b"], 150)
    found = narrow(results, top=0.1)
    assert found.changes["b"].kind == "narrowed"


def test_with_few_trials_nothing_is_fixed(tmp_path):
    found = narrow(plant_sweep(tmp_path, {"a": UNIT, "b": UNIT}, valley("a", 0.5), 15))
    assert "fixed" not in {change.kind for change in found.changes.values()}
    assert found.notes[0].startswith("Only 15 trials")


def test_values_that_were_tried_often_and_never_good_go(tmp_path):
    space = {"a": {"values": ["x", "y", "z"]}, "b": UNIT}
    results = plant_sweep(tmp_path, space, lambda p: {"x": 0, "y": 0.1, "z": 9}[p["a"]] + p["b"], 60)
    found = narrow(results)
    assert found.spec.parameters["a"].values == ("x", "y")
    assert "without z (tried " in found.changes["a"].reasons["values"]


def test_values_that_were_hardly_tried_stay(tmp_path):
    space = {"a": {"values": ["x", "y", "z"], "probabilities": [0.49, 0.49, 0.02]}, "b": UNIT}
    results = plant_sweep(tmp_path, space, lambda p: {"x": 0, "y": 9, "z": 9}[p["a"]] + p["b"], 60)
    a = results.narrow().parameters["a"]
    assert "z" in a.values
    assert "y" not in a.values
    assert sum(a.probabilities) == pytest.approx(1.0)


def test_zipped_values_go_together(tmp_path):
    lists = {"a": {"values": [1, 2, 3, 4]}, "b": {"values": ["w", "x", "y", "z"]}, "c": UNIT}
    spec = {"method": "random", "metric": {"name": "loss"}, "run_cap": 80, "parameters": lists, "zip": [["a", "b"]]}
    controller = create_sweep(spec, tmp_path / "s", seed=1)
    while (trial := controller.ask("k")) is not None:
        controller.report(trial, 0, {"loss": abs(trial.params["a"] - 3) + 0.01 * trial.params["c"]})
        controller.complete(trial, Outcome.finished())
    data = open_sweep(tmp_path / "s")
    found = narrow(data)
    assert found.spec.zip == (("a", "b"),)
    assert [found.spec.parameters[name].values for name in "ab"] == [(3,), ("y",)]
    assert "zipped with b" in found.changes["a"].why
    (tmp_path / "next.yaml").write_text(format_sweep_file(data, found))
    assert load_sweep(tmp_path / "next.yaml") == found.spec


def test_conditions_on_what_is_gone(tmp_path):
    space = {
        "opt": {"values": ["sgd", "adam", "lion"]},
        "momentum": {**UNIT, "when": {"opt": "sgd"}},
        "beta": {**UNIT, "when": {"opt": ["adam", "sgd"]}},
    }
    results = plant_sweep(tmp_path, space, lambda p: {"sgd": 9, "adam": 0, "lion": 1}[p["opt"]] + p.get("beta", 0), 90)
    found = narrow(results)
    assert "sgd" not in found.spec.parameters["opt"].values
    assert list(found.dropped) == ["momentum"]
    assert found.spec.parameters["beta"].when == (("opt", ("adam",)),)


def test_a_maximizing_sweep(tmp_path):
    a = plant_sweep(tmp_path, {"a": UNIT}, lambda p: p["a"], 60, goal="maximize").narrow().parameters["a"]
    assert a.min > 0.5
    assert a.max == 1.0


def test_repeats_and_several_metrics(tmp_path):
    repeats = {"parameter": "seed", "values": [0, 1]}
    results = plant_sweep(tmp_path / "a", {"x": UNIT}, lambda p: p["x"] + p["seed"], 60, repeats=repeats)
    assert results.narrow().parameters["x"].max < 0.9
    assert results.narrow().repeats is not None
    controller = create_sweep(load_sweep(TRADE_OFF), tmp_path / "b", seed=0)
    for _ in range(30):
        trial = controller.ask("a")
        controller.report(trial, 0, {"loss": trial.params["x"], "size": trial.params["y"]})
        controller.complete(trial, Outcome.finished())
    assert open_sweep(tmp_path / "b").narrow().metrics


def test_a_fork_learns_from_the_sweep(tmp_path):
    results = train_sweep(tmp_path / "old", TRAINING, 40, steps=2)
    found = narrow(results, fork=True)
    assert found.spec.method == "bayes"
    assert found.spec.prior.sweeps == (str(tmp_path / "old"),)
    assert "fixed" not in {change.kind for change in found.changes.values()}
    created = create_sweep(found.spec, tmp_path / "new", seed=0)  # which reads the old one's trials
    assert created.ask("a") is not None
    assert "W&B refuses this file" in format_sweep_file(results, found)


def test_bad_input(tmp_path):
    results = plant_sweep(tmp_path, {"a": UNIT}, lambda p: p["a"], 4)
    with pytest.raises(SweepError, match="has 4 trials with a value; it takes 5"):
        results.narrow()
    with pytest.raises(SweepError, match="above 0 and at most 1"):
        results.narrow(top=20)


WANDB_KEYS = {"method", "metric", "run_cap", "early_terminate", "parameters", "program", "name", "description"}


class TestFile:
    @pytest.fixture
    def found(self, tmp_path):
        config = TRAINING | {"program": "train.py", "early_terminate": {"type": "hyperband", "min_iter": 3}}
        results = train_sweep(tmp_path, config, 50)
        return results, narrow(results)

    def test_it_loads_as_the_narrowed_sweep(self, found, tmp_path):
        file = tmp_path / "next.yaml"
        file.write_text(format_sweep_file(*found))
        assert load_sweep(file) == found[1].spec

    def test_wandb_reads_the_same(self, found):
        """Which reads YAML as PyYAML does, and knows these keys alone."""
        config = yaml.safe_load(format_sweep_file(*found))
        assert config == found[1].spec.config
        assert config.keys() <= WANDB_KEYS
        for parameter in config["parameters"].values():
            distribution = parameter.get("distribution", "constant" if "value" in parameter else "categorical")
            assert parameter.keys() <= {"distribution", *DISTRIBUTIONS[distribution].keys}
            assert all(isinstance(parameter[key], int | float) for key in ("min", "max") if key in parameter)

    def test_every_parameter_says_why(self, found):
        lines = format_sweep_file(*found).splitlines()
        for name in SPACE:
            (line,) = (line for line in lines if line.startswith(f"  {name}:"))
            assert "importance" in line.partition("#")[2]
        assert all("#" in line for line in lines if line.strip().startswith(("value:", "values:")))

    def test_nested_parameters_and_odd_text(self, tmp_path):
        space = {
            "data": {"parameters": {"size": {"values": [1, 2]}}},
            "note": {"values": ["# no: comment", "a\nb", "1e5"]},
        }
        results = plant_sweep(tmp_path, space, lambda p: p["data.size"], 30)
        found = narrow(results)
        assert load_sweep(yaml.safe_load(format_sweep_file(results, found))) == found.spec
