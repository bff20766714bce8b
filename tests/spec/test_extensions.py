"""The rules of our extensions of W&B's format."""

import pickle
import warnings

import pytest

from wandbsweep import SweepConfigError, create_sweep, load_sweep
from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.sweep_spec import Prior, Repeats
from wandbsweep.sweep import directory as sweepdir

PARAMETERS = {
    "lr": {"distribution": "log_uniform_values", "min": 1.0e-5, "max": 0.1},
    "optimizer": {"values": ["adamw", "sgd"]},
    "momentum": {"min": 0.0, "max": 0.9, "when": {"optimizer": "sgd"}},
}
METRIC = {"name": "loss"}
METRICS = [{"name": "loss"}, {"name": "accuracy", "goal": "maximize"}]


def sweep(**keys):
    return {"method": "bayes", "metric": METRIC, "parameters": PARAMETERS} | keys


def violations(**keys):
    config = {key: value for key, value in sweep(**keys).items() if value is not ...}
    with pytest.raises(SweepConfigError) as caught:
        load_sweep(config)
    return caught.value.violations


FULL = [
    sweep(prior={"configurations": [{"lr": 0.001, "optimizer": "sgd", "momentum": 0.5}], "sweeps": ["abcd1234"]}),
    sweep(repeats={"parameter": "seed", "values": [0, 1]}),
    {"method": "random", "metrics": METRICS, "parameters": PARAMETERS},
    sweep(early_terminate={"type": "median", "min_iter": 2}),
    sweep(early_terminate={"type": "auto"}),
    sweep(early_terminate={"type": "asha", "eta": 3}),
    sweep(early_terminate={"type": "wilcoxon", "p": 0.05}),
]


@pytest.mark.parametrize("config", FULL)
def test_every_extension_survives_a_round_trip_through_yaml(config, tmp_path):
    spec = load_sweep(config)
    (tmp_path / "sweep.yaml").write_text(spec.to_yaml())
    for copy in (load_sweep(spec.dump()), load_sweep(tmp_path / "sweep.yaml"), pickle.loads(pickle.dumps(spec))):
        assert copy == spec
        assert copy.identity == spec.identity


def test_they_are_off_by_default():
    spec = load_sweep(sweep(parameters={"lr": {"min": 0.0, "max": 1.0}}))
    assert (spec.repeats, spec.prior, spec.metrics, spec.early_terminate) == (None, None, (), None)
    assert spec.parameters["lr"].when == ()
    assert "when" not in spec.parameters["lr"].config
    assert spec.identity.keys() == {"method", "metric", "parameters.lr"}


def test_what_is_read():
    spec = load_sweep(sweep(repeats={"parameter": "seed", "values": [1, 2]}, prior={"configurations": [{"lr": 0.01}]}))
    assert spec.repeats == Repeats("seed", (1, 2))
    assert spec.prior == Prior(({"lr": 0.01},), ())
    assert spec.parameters["momentum"].when == (("optimizer", ("sgd",)),)


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({"type": "auto"}, EarlyTerminate("auto")),
        ({"type": "median"}, EarlyTerminate("median", startup=5)),
        ({"type": "median", "startup": 0}, EarlyTerminate("median", startup=0)),
        ({"type": "asha"}, EarlyTerminate("asha", eta=4)),
        ({"type": "wilcoxon"}, EarlyTerminate("wilcoxon", startup=2, p=0.1)),
    ],
)
def test_stopping_rules_have_their_defaults(given, settings):
    assert load_sweep(sweep(early_terminate=given)).early_terminate == settings


def test_every_violation_is_listed_at_once():
    found = violations(
        method="grid",
        metric=...,
        parameters=PARAMETERS | {"a": {"value": 1, "when": {"b": 1}}, "c": {"value": 1, "when": {"optimizer": "adam"}}},
        repeats={"parameter": "optimizer", "values": [0, 0], "seeds": 3},
        prior={"configurations": [{"lr": 1.0, "lrr": 0.1, "momentum": 0.5}], "sweeps": "abcd"},
        early_terminate={"type": "median", "eta": 2},
    )
    wanted = [
        "early_terminate.eta: unknown key; median has type, min_iter and startup",
        "repeats.seeds: unknown key",
        "repeats.parameter: optimizer is among the parameters that are searched",
        "repeats.values: [0, 0] must be a list of two or more different values",
        "metric: is required by repeats",
        "prior: cannot be combined with method grid",
        "prior.configurations[0].lrr: unknown key; did you mean lr?",
        "prior.configurations[0].lr: 1.0 is outside of 1e-05 to 0.1",
        "prior.configurations[0].momentum: exists only with optimizer: sgd, which the configuration does not say",
        "prior.sweeps: 'abcd' must be a list of sweeps",
        "parameters.a.when.b: is not a parameter of this sweep; the others are lr, optimizer, momentum, c",
        "parameters.c.when.optimizer: 'adam' is not a value of optimizer; its values are adamw, sgd",
        "metric: is required by early_terminate",
    ]
    for message in wanted:
        assert any(line.startswith(message) for line in found), (message, found)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"repeats": [0, 1]}, "repeats: [0, 1] is a list, but must be a mapping"),
        ({"repeats": {"parameter": "a b", "values": [0, 1]}}, "repeats.parameter: 'a b' must be a key"),
        ({"repeats": {"parameter": "seed", "values": [1, 1.0]}}, "repeats.values: [1, 1.0] must be"),
        ({"repeats": {"parameter": "seed"}}, "repeats.values: None must be"),
        ({"repeats": {"parameter": "s", "values": [0, 1]}, "metrics": METRICS, "metric": ...}, "repeats: cannot be"),
        ({"prior": {}}, "prior: is empty, but must have configurations, sweeps or expect"),
        ({"prior": {"configurations": {"lr": 0.1}}}, "prior.configurations: {'lr': 0.1} must be a list of mappings"),
        ({"prior": {"configurations": [0.1]}}, "prior.configurations[0]: 0.1 is a number, but must be a mapping"),
        ({"prior": {"configurations": [{}]}}, "prior.configurations[0]: is empty"),
        ({"prior": {"configurations": [{"lr": "fast"}]}}, "prior.configurations[0].lr: 'fast' is text"),
        ({"prior": {"configurations": [{"lr": True}]}}, "prior.configurations[0].lr: True is not a number"),
        ({"prior": {"configurations": [{"lr": float("nan")}]}}, "prior.configurations[0].lr: nan is not a number"),
        ({"prior": {"configurations": [{"optimizer": "lion"}]}}, "prior.configurations[0].optimizer: 'lion' is no"),
        ({"method": "random", "prior": {"sweeps": ["a"]}}, "prior.sweeps: cannot be combined with method random"),
        ({"early_terminate": {"type": "auto", "eta": 3}}, "early_terminate.eta: unknown key; auto has type"),
        ({"early_terminate": {"type": "asha", "eta": 1}}, "early_terminate.eta: 1 must be an integer >= 2"),
        ({"early_terminate": {"type": "wilcoxon", "p": 1}}, "early_terminate.p: 1 must be < 1"),
        ({"early_terminate": {"type": "mediam"}}, "early_terminate.type: 'mediam' is not known; did you mean median?"),
        ({"early_terminate": {"type": "median"}, "metrics": METRICS, "metric": ...}, "metric: is required by early_"),
        ({"metrics": METRICS}, "metrics: cannot be combined with metric"),
        ({"metrics": METRICS[:1], "metric": ...}, "metrics: [{'name': 'loss'}] must be a list of two or more"),
        ({"metrics": [METRIC, METRIC], "metric": ...}, "metrics[1].name: 'loss' is listed twice"),
    ],
)
def test_a_violation_says_the_value_and_the_rule(keys, message):
    found = violations(**keys)
    assert len([line for line in found if line.startswith(message)]) == 1, found


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("sgd", "momentum.when: 'sgd' is text, but must be a mapping such as {optimizer: sgd}"),
        ({}, "momentum.when: is empty"),
        ({"optimizer": []}, "momentum.when.optimizer: is an empty list, so the condition could never be met"),
        ({"lr": 0.1}, "momentum.when.lr: lr has no listed values (log_uniform_values)"),
        ({"momentum": 1}, "momentum.when.momentum: momentum has no listed values (uniform)"),
        ({"layers": 4}, "momentum.when.layers: 4 is not a value of layers; its values are the integers from 1 to 3"),
        ({"layers": True}, "momentum.when.layers: True is not a value of layers"),
        ({"flag": 1}, "momentum.when.flag: 1 is not a value of flag; its values are True, False"),
    ],
)
def test_invalid_conditions(when, message):
    more = {"momentum": {"min": 0.0, "max": 0.9, "when": when}, "layers": {"min": 1, "max": 3}}
    found = violations(parameters=PARAMETERS | more | {"flag": {"values": [True, False]}})
    assert [line for line in found if line.startswith(f"parameters.{message}")], found


def test_conditions_that_form_a_cycle():
    cycle = {name: {"values": [1, 2], "when": {other: 1}} for name, other in ("ab", "bc", "ca")}
    (found,) = violations(parameters=cycle)
    assert "form a cycle" in found
    (found,) = violations(parameters={"a": {"values": [1, 2], "when": {"a": 1}}})
    assert "form a cycle (a → a)" in found


def test_what_depends_on_a_broken_parameter_is_not_refused():
    broken = PARAMETERS | {"optimizer": {"values": []}}
    configurations = [{"lr": 0.1, "optimizer": "sgd"}]
    (found,) = violations(parameters=broken, prior={"configurations": configurations})
    assert found.startswith("parameters.optimizer.values")


def test_numbers_that_are_written_as_text_are_read_once():
    momentum = {"min": "0.1", "max": 0.9, "when": {"optimizer": "sgd"}}
    config = sweep(parameters=PARAMETERS | {"momentum": momentum}, prior={"configurations": [{"lr": "1e-3"}]})
    with pytest.warns(UserWarning, match="is text to W&B") as caught:
        spec = load_sweep(config)
    assert len(caught) == 2
    assert spec.prior == Prior(({"lr": 0.001},), ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_sweep(spec.dump()) == spec


def test_a_target_among_several_metrics_is_ignored_with_a_warning():
    with pytest.warns(UserWarning, match=r"metrics\[0\].target: is ignored"):
        load_sweep(
            {"method": "random", "metrics": [METRICS[0] | {"target": 0.1}, METRICS[1]], "parameters": PARAMETERS}
        )


OTHERS = {
    "when": sweep(parameters=PARAMETERS | {"momentum": {"min": 0.0, "max": 0.9, "when": {"optimizer": "adamw"}}}),
    "no when": sweep(parameters=PARAMETERS | {"momentum": {"min": 0.0, "max": 0.9}}),
    "repeats": sweep(repeats={"parameter": "seed", "values": [0, 1]}),
    "prior": sweep(prior={"configurations": [{"lr": 0.01}]}),
    "metrics": {"method": "bayes", "metrics": METRICS, "parameters": PARAMETERS},
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_extension_is_another_sweep(other, tmp_path):
    one, another = load_sweep(sweep()), load_sweep(OTHERS[other])
    assert len(sweepdir.find_differences(one.identity, another.identity)) == 1
    create_sweep(one, tmp_path / "one").close()
    with pytest.raises(sweepdir.SweepDirectoryError, match="holds another sweep"):
        create_sweep(another, tmp_path / "one")
    storage = f"sqlite:///{tmp_path}/sweep.db"
    create_sweep(another, storage=storage).close()
    with pytest.raises(sweepdir.SweepDirectoryError, match="The storage holds another sweep"):
        create_sweep(one, storage=storage)
    create_sweep(another, storage=storage).close()


def test_the_order_of_keys_makes_no_other_sweep():
    one = sweep(
        repeats={"parameter": "s", "values": [0, 1]}, prior={"configurations": [{"lr": 0.01, "optimizer": "sgd"}]}
    )
    other = sweep(
        repeats={"values": [0, 1], "parameter": "s"}, prior={"configurations": [{"optimizer": "sgd", "lr": 0.01}]}
    )
    assert sweepdir.find_differences(load_sweep(one).identity, load_sweep(other).identity) == []


def test_where_a_metric_is_heard():
    heard = {source: load_sweep(sweep(metric={"name": "a", "from": source})) for source in ("wandb", "stdout")}
    assert {source: spec.metric_source for source, spec in heard.items()} == {"wandb": "wandb", "stdout": "stdout"}
    assert load_sweep(sweep(metric={"name": "a"})).metric_source == "wandb"
    assert load_sweep(heard["stdout"].dump()) == heard["stdout"]
    for wrong in ({"from": "stderr"}, {"source": "stdout"}):
        (violation,) = violations(metric={"name": "a", **wrong})
        assert violation.startswith(f"metric.{next(iter(wrong))}") or "source" in violation
