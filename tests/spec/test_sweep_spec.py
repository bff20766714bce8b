"""Sweep configurations: what W&B's engine infers and refuses, all violations at once, files, the way back."""

import copy
import json
import pickle
import re
import subprocess
import sys
import warnings
from collections import UserDict
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.configurations import RANDOM
from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.distributions import DISTRIBUTIONS
from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import Metric

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "wandb-vectors.json").read_text(encoding="utf-8"))
LOSS = {"name": "loss"}
X = {"x": {"value": 1}}
quickly = settings(derandomize=True, database=None, deadline=None, max_examples=60)


def sweep(**keys):
    return {"method": "random", "parameters": X, **keys}


def with_parameter(**config):
    return sweep(parameters={"p": config})


def violations(source):
    with pytest.raises(SweepConfigError) as caught:
        load_sweep(source)
    return caught.value.violations


def path_of(violation):
    return violation.partition(": ")[0]


# -- W&B's own verdicts -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*base-e exponents")
@pytest.mark.parametrize(("config", "result"), VECTORS["inference"])
def test_a_distribution_is_inferred_and_filled_as_wandbs_engine_does(config, result):
    source = sweep(parameters={"p": config})
    if isinstance(result, list):
        p = load_sweep(source).parameters["p"]
        assert p.config == result[1]
        assert p.distribution == result[1]["distribution"]
    elif isinstance(config, dict) and config.get("parameters"):
        assert list(load_sweep(source).parameters) == ["p.a"]
    else:
        assert all(path.startswith("parameters.p") for path in map(path_of, violations(source)))


EXTENSIONS = [{"early_terminate": {"type": "median"}}, {"extra": 1}]  # accepted here, and documented as such


@pytest.mark.filterwarnings("ignore:.*(base-e exponents|is ignored|no effect)")
@pytest.mark.parametrize(("keys", "messages"), VECTORS["violations"])
def test_what_wandbs_schema_refuses_is_refused(keys, messages):
    # Base-e exponents are but a warning. The schema takes early_terminate without a metric, and W&B's engine
    # raises then: here it is given one.
    source = sweep(**keys) if "metric" in keys else sweep(**keys, metric=LOSS)
    if messages and "base-e exponents" not in messages[0] and keys not in EXTENSIONS:
        assert violations(source)
    else:
        load_sweep(source)


@pytest.mark.parametrize("source", [case for case in VECTORS["grid_misc"] if case.startswith("{")])
def test_a_grid_needs_a_grid_of_every_parameter(source):
    assert "disallowed type with grid search" in VECTORS["grid_misc"][source]
    (violation,) = violations({"method": "grid", "parameters": json.loads(source)})
    assert re.match(r"parameters\.a: \w+ has no grid; .* constant, categorical, int_uniform, q_uniform$", violation)


# -- What a spec holds --------------------------------------------------------------------------------


def test_a_minimal_spec_has_wandbs_defaults():
    spec = load_sweep(sweep(metric=LOSS, early_terminate={"type": "hyperband", "min_iter": 3}))
    assert spec.metric == Metric("loss", "minimize", None, "worst", False)
    assert spec.early_terminate == EarlyTerminate("hyperband", 3, None, None, 3, True)
    assert (spec.run_cap, spec.name, spec.description, spec.program) == (None, None, None, None)
    assert spec.goal == "minimize"


def test_a_full_spec():
    source = {
        "program": "train.py",
        "name": "n",
        "description": "d",
        "project": "p",
        "entity": "e",
        "command": ["${env}", "python", "${program}"],
        "controller": {"type": "local"},
        "kind": "sweep",
        "apiVersion": "v1",
        "job": "j",
        "image_uri": "i",
        "method": "bayes",
        "metric": {
            "name": "val/accuracy",
            "goal": "maximize",
            "target": 0.99,
            "impute": "latest",
            "impute_while_running": "best",
        },
        "early_terminate": {"type": "hyperband", "max_iter": 27, "s": 2, "eta": 2.5, "strict": False},
        "run_cap": 7,
        "parameters": X,
    }
    spec = load_sweep(source)
    assert spec.metric == Metric("val/accuracy", "maximize", 0.99, "latest", "best")
    assert spec.early_terminate == EarlyTerminate("hyperband", None, 27, 2, 2.5, False)
    assert (spec.run_cap, spec.name, spec.description, spec.program) == (7, "n", "d", "train.py")
    assert (spec.method, spec.goal) == ("bayes", "maximize")
    assert spec.dump() == source


def test_parameters_are_flat_sorted_and_read_only():
    nested = {"parameters": {"lr": {"min": 0.1, "max": 1}, "deep": {"parameters": {"n": {"values": [1]}}}}}
    spec = load_sweep(sweep(parameters={"z": {"value": 1}, "optimizer": nested, "a.b": {"value": 2}}))
    assert list(spec.parameters) == ["a.b", "optimizer.deep.n", "optimizer.lr", "z"]
    assert spec.parameters["optimizer.lr"].name == "optimizer.lr"
    with pytest.raises(TypeError):
        spec.parameters["z"] = None


def test_a_dotted_name_may_look_like_the_path_of_a_nested_one():
    names = {"a": {"parameters": {"x": {"value": 1}}}, "a.parameters.x": {"value": 2}}
    assert list(load_sweep(sweep(parameters=names)).parameters) == ["a.parameters.x", "a.x"]


def test_a_dumped_copy_may_be_changed():
    source = with_parameter(values=[1, 2])
    spec = load_sweep(source)
    spec.dump()["parameters"]["p"]["values"].append(3)
    source["parameters"]["p"]["values"].append(3)
    assert spec.dump() == with_parameter(values=[1, 2])


def test_a_spec_survives_pickling_and_copying():
    spec = load_sweep(with_parameter(values=[1, [2]]))
    for twin in (pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec)):
        assert twin == spec
        with pytest.raises(TypeError):
            twin.parameters["q"] = None


def test_wandb_refuses_the_names_of_hydras_groups():
    names = ["db@pkg", "model/encoder", "optimizer.lr"]
    spec = load_sweep(sweep(parameters={name: {"value": 1} for name in names}))
    assert spec.names_wandb_refuses == ("db@pkg", "model/encoder")


def test_several_metrics():
    metrics = [{"name": "loss"}, {"name": "accuracy", "goal": "maximize"}]
    spec = load_sweep(sweep(metrics=metrics))
    assert spec.metrics == (Metric("loss"), Metric("accuracy", "maximize"))
    assert spec.metric is None


def test_a_custom_scheduler_may_bring_the_search_space():
    scheduler = {"engine": "optuna", "source": "search.py", "search_space": "space"}
    assert load_sweep({"method": "custom", "scheduler": scheduler}).parameters == {}


def test_null_removes_an_optional_key():
    spec = load_sweep(sweep(run_cap=None, early_terminate=None, metric={"name": "loss", "target": None}))
    assert (spec.run_cap, spec.early_terminate, spec.metric) == (None, None, Metric("loss"))
    assert spec.dump() == sweep(metric=LOSS)


@pytest.mark.parametrize("value", [False, "false"])
def test_impute_while_running_false_is_the_text_that_wandb_wants(value):
    spec = load_sweep(sweep(metric=LOSS | {"impute_while_running": value}))
    assert spec.metric.impute_while_running is False
    assert spec.config["metric"]["impute_while_running"] == "false"


def test_any_mapping_and_numpys_values_become_plain_objects():
    values = (np.int64(3), np.float64(0.5), np.float32(2.0), np.bool_(True), np.array([1, 2]), "a", None)
    spec = load_sweep(UserDict(sweep(parameters=UserDict(p={"values": values}, r={"values": range(2)}))))
    got = spec.parameters["p"].values
    assert got == (3, 0.5, 2.0, True, [1, 2], "a", None)
    assert [type(value) for value in got] == [int, float, float, bool, list, str, type(None)]
    assert spec.parameters["r"].values == (0, 1)


# -- Violations ---------------------------------------------------------------------------------------


def test_every_violation_is_listed_at_once_with_its_key_path():
    source = {
        "methd": "grid",
        "name": 3,
        "metric": {"name": "", "goal": "min", "impute": "mean", "target": "much", "weight": 1},
        "early_terminate": {"type": "hyperbrand", "eta": 1, "strict": "yes", "min_iter": 0},
        "run_cap": 0,
        "command": "python",
        "parameters": {
            "lr": {"min": 0.1, "max": 0.01},
            "1st": {"value": 1},
            "plain": 3,
            "model": {"parameters": {"dim": {"distribution": "q_unifrom", "min": 1}, "act": {"values": []}}},
            "drop": {"distribution": "normal", "sigma": -1, "min": 0},
            "w": {"values": ["a", "b"], "probabilities": [0.5, 0.6]},
        },
    }
    assert sorted(map(path_of, violations(source))) == sorted(
        [
            "methd",
            "method",
            "name",
            "metric.name",
            "metric.goal",
            "metric.impute",
            "metric.target",
            "metric.weight",
            "early_terminate.type",
            "early_terminate.eta",
            "early_terminate.strict",
            "early_terminate.min_iter",
            "run_cap",
            "command",
            "parameters.lr.min",
            "parameters.1st",
            "parameters.plain",
            "parameters.model.parameters.dim.distribution",
            "parameters.model.parameters.act.values",
            "parameters.drop.sigma",
            "parameters.drop.min",
            "parameters.w.probabilities",
        ]
    )


@pytest.mark.parametrize(
    ("source", "violation"),
    [
        (
            sweep(method="bays"),
            "method: 'bays' is not known; did you mean bayes? It must be grid, random, bayes or custom",
        ),
        (
            sweep(method=["grid"]),
            "method: ['grid'] is not known; did you mean grid? It must be grid, random, bayes or custom",
        ),
        ({"parameters": X}, "method: is required; it must be grid, random, bayes or custom"),
        (sweep(run_cap=2.5), "run_cap: 2.5 must be an integer >= 1"),
        (sweep(run_cap=True), "run_cap: True is a boolean, but must be a finite number"),
        (
            sweep(metric="val/loss"),
            "metric: 'val/loss' is text, but must be a mapping such as {name: val/loss, goal: minimize}",
        ),
        (sweep(metric={}), "metric.name: is required; it is the name that training reports, such as val/loss"),
        (sweep(method="bayes"), "metric: is required by method bayes: {name: …, goal: minimize or maximize}"),
        (
            sweep(metrics=[LOSS]),
            "metrics: [{'name': 'loss'}] must be a list of two or more metrics; a single one is `metric`",
        ),
        (sweep(metrics=[LOSS, LOSS]), "metrics[1].name: 'loss' is listed twice"),
        (
            sweep(metric=LOSS, metrics=[LOSS, {"name": "a"}]),
            "metrics: cannot be combined with metric: one objective is `metric`, more are `metrics`",
        ),
        (
            sweep(controller={"type": "remote"}),
            "controller.type: 'remote' is not known; it must be local or cloud",
        ),
        (sweep(kind="swep"), "kind: 'swep' is not known; did you mean sweep? It must be sweep"),
        (sweep(scheduler={"engine": "ax"}), "scheduler.engine: ax needs method custom"),
        (sweep(parameters={}), "parameters: is empty, but must name one parameter at least"),
        (
            sweep(parameters=["lr"]),
            "parameters: ['lr'] is a list, but must be a mapping such as {lr: {min: 0.001, max: 0.1}}",
        ),
        (
            sweep(parameters={"lr": [1, 2]}),
            "parameters.lr: [1, 2] is a list, but must be a mapping such as {values: [1, 2]}",
        ),
        (
            sweep(parameters={"lr": 1}),
            "parameters.lr: 1 is a number, but must be a mapping such as {value: 1}",
        ),
        (
            sweep(parameters={3: {"value": 1}}),
            "parameters.3: the name 3 must be letters, digits and _ . - / @, a letter or _ first",
        ),
        (
            sweep(parameters={"a": {"parameters": {"b": {"value": 1}}}, "a.b": {"value": 2}}),
            "parameters.a.b: a.b is given twice, also at parameters.a.parameters.b",
        ),
        (
            sweep(parameters={"a": {"parameters": {"b": {"value": 1}}}, "a.b": {"values": [[]] * 99}}),
            "parameters.a.b: a.b is given twice, also at parameters.a.parameters.b",
        ),
        (
            with_parameter(mu=0, a=1),
            "parameters.p: mu and a without a distribution; no distribution has all of these keys",
        ),
        (with_parameter(min=5, max=5), "parameters.p.min: 5 must be less than max, 5"),
        (
            with_parameter(min=float("nan"), max=5),
            "parameters.p.min: nan is a number, but must be a finite number",
        ),
        (
            with_parameter(min=0.0, max=10**400),
            "parameters.p.max: an integer of 1329 bits is too large for a float",
        ),
        (with_parameter(min=None, max=5), "parameters.p.min: None is null, but must be a finite number"),
        (with_parameter(min="low", max=5), "parameters.p.min: 'low' is text, but must be a finite number"),
        (with_parameter(min=1), "parameters.p.max: is required with min"),
        (
            with_parameter(mu=0, q=1),
            "parameters.p: mu and q without a distribution; give one: q_normal or q_log_normal",
        ),
        (
            with_parameter(min=0.0, max=1.0, mx=2),
            "parameters.p.mx: unknown key; did you mean max? uniform has distribution, min and max",
        ),
        (
            with_parameter(min=0.0, max=1.0, q=0.1),
            "parameters.p.q: 0.1 is not used: uniform (inferred) has min and max; q goes with q_uniform, "
            "q_log_uniform, q_log_uniform_values, q_normal, q_log_normal or q_beta",
        ),
        (
            with_parameter(distribution="int_uniform", min=1.0, max=3),
            "parameters.p.min: 1.0 is a float, but int_uniform needs an integer; use uniform",
        ),
        (
            with_parameter(distribution="log_uniform_values", min=0, max=1),
            "parameters.p.min: 0 must be > 0, as log_uniform_values takes its logarithm",
        ),
        (
            with_parameter(distribution="log_uniform", min=1, max=1000),
            "parameters.p.max: 1000: the bounds of log_uniform are exponents of e, within ±709; "
            "log_uniform_values takes the values themselves",
        ),
        (with_parameter(distribution="normal", sigma=0), "parameters.p.sigma: 0 must be > 0"),
        (with_parameter(distribution="q_beta", q=0), "parameters.p.q: 0 must be > 0"),
        (with_parameter(values="ab"), "parameters.p.values: 'ab' must be a list of one value at least"),
        (
            with_parameter(values=[1, 2], probabilities=[1.0]),
            "parameters.p.probabilities: 1 probabilities for 2 values: each value needs one",
        ),
        (
            with_parameter(values=[1, 2], probabilities=[-0.5, 1.5]),
            "parameters.p.probabilities[0]: -0.5 must be >= 0",
        ),
        (
            with_parameter(values=[{1, 2}]),
            "parameters.p.values[0]: {1, 2} is a set, but must be text, a number, true, false, null, "
            "a list or a mapping",
        ),
    ],
)
def test_a_violation_says_the_value_the_rule_and_the_choices(source, violation):
    assert violations(source) == (violation,)


@pytest.mark.parametrize(
    ("config", "violation"),
    [
        ({"max_iter": 9}, "early_terminate: needs min_iter, or both max_iter and s; given: max_iter"),
        (
            {"max_iter": 2, "s": 1},
            "early_terminate.max_iter: 2 with eta 3 gives no band: "
            "the largest band is max_iter / eta, and must be at least 1",
        ),
        ({"max_iter": 9, "s": 0}, "early_terminate.s: 0 must be an integer >= 1"),
        ({"min_iter": 1.5}, "early_terminate.min_iter: 1.5 must be an integer >= 1"),
        ({"min_iter": 1, "eta": 1.0}, "early_terminate.eta: 1.0 must be > 1"),
    ],
)
def test_early_terminate(config, violation):
    source = sweep(metric=LOSS, early_terminate={"type": "hyperband", **config})
    assert violations(source) == (violation,)


def test_early_terminate_needs_a_metric():
    source = sweep(early_terminate={"type": "hyperband", "min_iter": 1})
    assert path_of(violations(source)[0]) == "metric"


@pytest.mark.parametrize(
    ("given", "ignored"),
    [
        ({"min_iter": 1, "max_iter": 9, "s": 1}, "min_iter"),
        ({"min_iter": 1, "max_iter": 9}, "max_iter"),
        ({"min_iter": 1, "s": 1}, "s"),
    ],
)
def test_ignored_iterations_are_noted(given, ignored):
    with pytest.warns(UserWarning, match=rf"early_terminate\.{ignored}: is ignored"):
        load_sweep(sweep(metric=LOSS, early_terminate={"type": "hyperband", **given}))


@pytest.mark.parametrize("name", ["log_uniform", "inv_log_uniform", "q_log_uniform"])
def test_exponent_forms_work_and_warn(name):
    with pytest.warns(UserWarning, match=rf"parameters\.p: uses {name}, where min and max are base-e exponents"):
        spec = load_sweep(with_parameter(distribution=name, min=-3, max=0))
    assert spec.parameters["p"].min == -3


def test_a_configuration_that_contains_itself_is_refused():
    loop = with_parameter(values=[])
    loop["parameters"]["p"]["values"].append(loop)
    assert "contains itself" in violations(loop)[0]


@pytest.mark.parametrize("source", [{}, UserDict()])
def test_an_empty_mapping_is_refused(source):
    assert violations(source)[0].startswith("the sweep configuration: is empty")


# -- Numbers that stand there as text -----------------------------------------------------------------


def test_numeric_text_in_numeric_fields_is_read_with_a_warning_each():
    source = sweep(
        parameters={"p": {"min": "1e-5", "max": "1"}, "n": {"min": "1", "max": "9"}},
        metric=LOSS | {"target": "5e-1"},
        run_cap="10",
    )
    with pytest.warns(UserWarning, match="is text to W&B") as caught:
        spec = load_sweep(source)
    assert (spec.parameters["p"].min, spec.parameters["p"].max) == (1e-5, 1)
    assert spec.parameters["p"].distribution == "uniform"
    assert spec.parameters["n"].distribution == "int_uniform"
    assert (spec.metric.target, spec.run_cap) == (0.5, 10)
    assert len(caught) == 6
    assert (
        "parameters.p.min: 1e-5 is text to W&B; it is read as a number here: write 1.0e-05"
        in [str(warning.message) for warning in caught]
    )  # fmt: skip
    assert load_sweep(spec.config) == spec


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["1e-5", 0.1, "1e-3"], (1e-5, 0.1, 1e-3)),
        (["1e-5", "auto"], ("1e-5", "auto")),
        (["0.1", "1"], ("0.1", "1")),
        (["1e5", True], ("1e5", True)),
    ],
)
def test_exponent_forms_in_the_values_of_a_mapping_are_numbers_if_all_are(values, read):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert load_sweep(with_parameter(values=values)).parameters["p"].values == read
    assert len(caught) == sum(a != b for a, b in zip(values, read, strict=True))


def test_a_file_distinguishes_a_number_from_quoted_text(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text("method: random\nparameters:\n  a: {values: [1e-5, auto, '1e-3', 1.5e3]}\n  b: {value: 2e4}\n")
    with pytest.warns(UserWarning, match="is text to W&B") as caught:
        spec = load_sweep(file)
    assert spec.parameters["a"].values == (1e-5, "auto", "1e-3", 1500.0)
    assert spec.parameters["b"].value == 20000.0
    assert [str(warning.message).partition(" is")[0] for warning in caught] == [
        "line 3: 1e-5",
        "line 3: 1.5e3",
        "line 4: 2e4",
    ]
    assert caught[0].filename == __file__


# -- Files --------------------------------------------------------------------------------------------

SCALARS = [
    "1e-5",
    "1.0e-5",
    "1.5e3",
    "-2E+4",
    "1_0e2",
    ".5",
    "5.",
    "0x1F",
    "010",
    "0o17",
    "1_000",
    "1:30",
    ".inf",
    "-.INF",
    "true",
    "off",
    "~",
    "null",
    "'1e5'",
    "1e",
    "e5",
    "2024-01-01",
    "12e4f",
    "+1",
    "auto",
    "${env}",
]


@pytest.mark.filterwarnings("ignore:.* is text to W&B")
@pytest.mark.parametrize("scalar", SCALARS)
def test_a_file_means_what_omegaconf_reads_in_it(tmp_path, scalar):
    file = tmp_path / "sweep.yaml"
    file.write_text(f"method: random\nparameters:\n  p:\n    values:\n    - {scalar}\n")
    (ours,) = load_sweep(file).parameters["p"].values
    (theirs,) = OmegaConf.to_container(OmegaConf.load(file), resolve=False)["parameters"]["p"]["values"]
    assert (ours, type(ours)) == (theirs, type(theirs))


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ("", "the sweep configuration: is empty, but must be a mapping with method and parameters"),
        (
            "# nothing\n",
            "the sweep configuration: is empty, but must be a mapping with method and parameters",
        ),
        ("- a\n", "the sweep configuration: is a list, but must be a mapping with method and parameters"),
        ("train", "the sweep configuration: is text, but must be a mapping with method and parameters"),
        (
            "method: grid\nparameters: {a: [1\n",
            "line 3, column 1: not valid YAML: expected ',' or ']', but got '<stream end>'",
        ),
        (
            "method: grid\n\tx: 1",
            "line 2, column 1: not valid YAML: found character '\\t' that cannot start any token",
        ),
        (
            "method: grid\nmethod: random\n",
            "line 2, column 1: not valid YAML: the key 'method' is given twice",
        ),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: not valid YAML: but found another document"),
        ("a: !!python/object:os.system {}\n", None),
    ],
)
def test_a_file_that_holds_no_sweep(tmp_path, text, violation):
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(SweepConfigError) as caught:
        load_sweep(str(file))
    assert caught.value.source == str(file)
    assert len(caught.value.violations) == 1
    if violation:
        assert caught.value.violations == (violation,)


def test_a_missing_file_suggests_similar_files_in_its_directory(tmp_path):
    (tmp_path / "resnet50.yaml").touch()
    assert violations(tmp_path / "resnet5.yaml") == ("no such file; did you mean resnet50.yaml?",)
    assert "does not exist" in violations(tmp_path / "no" / "a.yaml")[0]


@pytest.mark.parametrize("content", [None, b"method: \xff\xfe grid", b"a: \x00"])
def test_an_unreadable_file(tmp_path, content):
    file = tmp_path / "sweep.yaml"
    file.mkdir() if content is None else file.write_bytes(content)
    assert re.search("cannot be read|not valid YAML", violations(file)[0])


def test_a_byte_order_mark_and_merged_keys_are_fine(tmp_path):
    file = tmp_path / "sweep.yaml"
    text = "method: random\nparameters:\n  a: &a {min: 0.0, max: 1.0}\n  b: {<<: *a, max: 2.0}\n"
    file.write_text(text, encoding="utf-8-sig")
    assert load_sweep(file).parameters["b"].max == 2.0


# -- The way back -------------------------------------------------------------------------------------

scalars = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text(max_size=8),
    st.sampled_from(SCALARS),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.@/-]{0,6}", fullmatch=True)
bounds = st.tuples(st.integers(1, 50), st.integers(51, 99)) | st.tuples(st.floats(0.1, 1), st.floats(1.1, 99))


@st.composite
def parameters(draw):
    if draw(st.booleans()):
        return {"value": draw(anything)}
    if draw(st.booleans()):
        return {"values": draw(st.lists(anything, min_size=1, max_size=3))}
    name = draw(
        st.sampled_from(
            [name for name, law in DISTRIBUTIONS.items() if "values" not in law.keys and "value" not in law.keys]
        )
    )
    low, high = draw(bounds)
    if name == "int_uniform":
        low, high = int(low), int(high) + 2
    ends = {"min": low, "max": high} if "min" in DISTRIBUTIONS[name].keys else {}
    return {"distribution": name, **ends}


@st.composite
def sweeps(draw):
    leaves = draw(st.dictionaries(names, parameters(), min_size=1, max_size=3))
    nested = draw(st.booleans())
    source = {"method": "random", "parameters": {"group": {"parameters": leaves}} if nested else leaves}
    for key, values in {
        "metric": st.just({"name": "val/loss", "goal": "maximize", "target": 0.5}),
        "run_cap": st.integers(1, 99),
        "name": st.text(),
        "command": st.lists(anything, max_size=2),
    }.items():
        if draw(st.booleans()):
            source[key] = draw(values)
    return source


@pytest.mark.filterwarnings("ignore:.*(base-e exponents| is text to W&B)")
@quickly
@given(sweeps())
def test_a_dumped_spec_loads_again_to_an_equal_one(tmp_path_factory, source):
    spec = load_sweep(source)
    assert load_sweep(spec.dump()) == spec
    file = tmp_path_factory.mktemp("dump") / "sweep.yaml"
    file.write_text(spec.to_yaml(), encoding="utf-8")
    assert load_sweep(file) == spec
    assert repr(load_sweep(file).dump()) == repr(spec.dump())


def test_a_dump_is_the_same_sweep_to_pyyaml_and_omegaconf(tmp_path):
    spec = load_sweep(with_parameter(values=[1e-05, "1e-05x", 1e22, "off", "2024-01-01", 3]))
    text = spec.to_yaml()
    assert "1.0e-05" in text
    assert yaml.safe_load(text) == OmegaConf.to_container(OmegaConf.create(text)) == spec.config


def test_importing_the_spec_loads_no_hydra_omegaconf_optuna_or_numpy():
    code = "import sys, wandbsweep.spec.sweep_spec\n"
    code += "assert not {'hydra', 'omegaconf', 'optuna', 'numpy', 'wandb'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_keys_of_which_the_client_only_warns():
    given = RANDOM | {"count": 20, "group": "a", "WANDB_DIR": "/scratch"}
    with pytest.warns(UserWarning, match="unknown key, which has no effect") as warned:
        spec = load_sweep(given)
    assert [str(warning.message).partition(":")[0] for warning in warned] == ["count", "group", "WANDB_DIR"]
    assert spec == load_sweep(RANDOM)
    assert spec.dump() == load_sweep(RANDOM).dump()


@pytest.mark.parametrize(
    ("key", "meant"),
    [("runcap", "run_cap"), ("Method", "method"), ("params", "parameters"), ("early_termination", "early_terminate")],
)
def test_a_key_that_looks_like_a_typo(key, meant):
    with pytest.raises(SweepConfigError, match=f"{key}: unknown key; did you mean {meant}\\?"):
        load_sweep(RANDOM | {key: 1, "count": 2})
