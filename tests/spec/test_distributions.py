"""W&B's distributions: its engine's numbers, the boundary bugs that we do not reproduce, what holds for every u."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.distributions import DISTRIBUTIONS, GRID_LIMIT, Parameter, grid_key
from wandbsweep.spec.load import load_sweep

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "wandb-vectors.json").read_text(encoding="utf-8"))
quickly = settings(derandomize=True, database=None, deadline=None, max_examples=60)

# W&B's engine leaves the parameter's own values here, or wraps around; we give the nearest value that it has.
EDGE_BUGS = {
    ('{"min": 1, "max": 3}', 0.0): 1,
    ('{"min": 0, "max": 9}', 0.0): 0,
    ('{"values": ["a", "b", "c"]}', 0.0): "a",
    ('{"values": ["a", "b", "c"], "probabilities": [0.2, 0.3, 0.5]}', 1.0): "c",
}


def parameter(**config):
    return load_sweep({"method": "random", "parameters": {"p": config}}).parameters["p"]


PPF_CASES = [(config, *row) for config, rows in VECTORS["ppf"] for row in rows]


@pytest.mark.filterwarnings("ignore:.*base-e exponents")
@pytest.mark.parametrize(("config", "u", "value", "kind"), PPF_CASES)
def test_ppf_gives_the_value_and_type_of_wandbs_engine(config, u, value, kind):
    got = parameter(**config).ppf(u)
    value = EDGE_BUGS.get((json.dumps(config), u), value)
    if isinstance(got, float):
        assert got == pytest.approx(float(value), rel=1e-12, abs=1e-12)
    else:
        assert got == value
    assert type(got).__name__ == {"float64": "float", "int64": "int"}.get(kind, kind)


@pytest.mark.parametrize(("params", "points"), VECTORS["grid"])
def test_each_grid_lists_the_values_of_wandbs_points_in_their_order(params, points):
    def at(point, path):
        for key in path.split("."):
            point = point[key]
        return point

    for name, p in load_sweep({"method": "grid", "parameters": params}).parameters.items():
        seen = {grid_key(at(point, name)): at(point, name) for point in points}
        assert p.grid() == list(seen.values())
        assert [type(value) for value in p.grid()] == [type(value) for value in seen.values()]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_distribution_has_the_keys_and_defaults_of_the_parameter(name):
    law = DISTRIBUTIONS[name]
    assert set(law.keys) <= {"value", "values", "probabilities", "min", "max", "mu", "sigma", "q", "a", "b"}
    assert law.grid is None or not law.continuous


# -- At and beyond the edges --------------------------------------------------------------------------


@pytest.mark.parametrize("u", [-1e-9, 1.0000001, math.nan])
def test_ppf_refuses_a_u_outside_0_to_1(u):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        parameter(min=0.0, max=1.0).ppf(u)


def test_integers_beyond_2_to_the_53_are_exact_and_stay_within_their_bounds():
    low, high = 2**63 - 5, 2**80 + 1
    p = parameter(min=low, max=high)
    assert p.ppf(0.0) == low
    assert p.ppf(1.0) == high
    assert p.ppf(0.5) == (low + high) // 2
    assert type(p.ppf(0.3)) is int
    assert p.cdf(high) == 1.0


def test_a_narrow_range_of_huge_integers_keeps_its_equal_mass():
    p = parameter(min=10**20, max=10**20 + 3)
    assert [p.ppf(u) - 10**20 for u in (0.0, 1e-12, 0.25, 0.26, 0.5, 0.75, 0.76, 1.0)] == [
        0,
        0,
        0,
        1,
        1,
        2,
        3,
        3,
    ]


def test_a_value_of_probability_0_is_never_drawn():
    p = parameter(values=["never", "a", "nor this", "b", "nor that"], probabilities=[0, 0.5, 0, 0.5, 0])
    assert [p.ppf(u) for u in (0.0, 0.49, 0.5, 0.99, 1.0)] == ["a", "a", "b", "b", "b"]


def test_probabilities_that_sum_to_a_little_less_than_1_give_the_last_value_at_the_end():
    p = parameter(values=["a", "b"], probabilities=[0.5, 0.499999])
    assert p.ppf(0.9999999) == "b"


def test_quantised_values_are_not_clipped_to_the_bounds():
    assert parameter(distribution="q_uniform", min=0, max=10, q=4).ppf(1.0) == 8
    assert parameter(distribution="q_uniform", min=0, max=10, q=7).ppf(1.0) == 7
    assert parameter(distribution="q_uniform", min=2, max=10, q=6).ppf(1.0) == 12


def test_an_infinite_quantile_stays_infinite_when_it_is_quantised_to_integers():
    assert parameter(distribution="q_normal", q=2).ppf(1.0) == math.inf


def test_a_uniform_over_all_floats_does_not_overflow():
    p = parameter(min=-1.7e308, max=1.7e308)
    assert p.ppf(0.5) == 0.0
    assert p.ppf(1.0) == 1.7e308


def test_values_are_copies():
    p = parameter(values=[[1], [2]])
    p.ppf(0.1).append(3)
    p.grid()[0].append(3)
    assert p.values == ([1], [2])
    constant = parameter(value={"k": []})
    constant.ppf(0.5)["k"].append(1)
    assert constant.value == {"k": []}


# -- Grids --------------------------------------------------------------------------------------------


def test_one_grid_point_for_1_and_1_0_and_three_for_1_true_and_text():
    assert parameter(values=[1, True, "1", 1.0]).grid() == [1.0, True, "1"]
    assert parameter(values=[None, [1, {"k": 2}], [1, {"k": 2}], {"b": 1, "a": 2}, {"a": 2, "b": 1}]).grid() == [
        None,
        [1, {"k": 2}],
        {"a": 2, "b": 1},
    ]


@pytest.mark.parametrize(
    "config",
    [
        {"min": 0.0, "max": 1.0},
        {"values": [1, 2], "probabilities": [0.5, 0.5]},
        {"distribution": "q_normal"},
        {"min": 0, "max": GRID_LIMIT + 1},
        {"distribution": "q_uniform", "min": 0, "max": 1, "q": 1e-9},
    ],
)
def test_a_parameter_without_a_grid_says_so(config):
    with pytest.raises(SweepConfigError, match=r"parameters\.p: .*grid"):
        parameter(**config).grid()


def test_q_uniform_steps_as_arange_does():
    assert parameter(distribution="q_uniform", min=1, max=1.3, q=0.1).grid() == pytest.approx([1, 1.1, 1.2, 1.3])
    assert parameter(distribution="q_uniform", min=0, max=3).grid() == [0.0, 1.0, 2.0]
    assert all(type(v) is float for v in parameter(distribution="q_uniform", min=0, max=3).grid())


# -- Places in [0, 1] ---------------------------------------------------------------------------------


def test_cdf_places_listed_values_at_the_upper_end_of_their_share():
    assert [parameter(values=["a", "b", "c", "d"]).cdf(v) for v in "abcd"] == [0.25, 0.5, 0.75, 1.0]
    assert parameter(value=3).cdf(3) == 0.0


def test_cdf_distinguishes_falsy_values():
    p = parameter(values=[0, False, "", None])
    assert [p.cdf(v) for v in (0, False, "", None)] == [0.25, 0.5, 0.75, 1.0]


def test_cdf_of_a_value_that_is_not_listed_names_those_that_are():
    with pytest.raises(ValueError, match=r"'z' is not a value of p; its values are \['a', 'b'\]"):
        parameter(values=["a", "b"]).cdf("z")


@pytest.mark.parametrize(
    "config",
    [
        {"min": 1.0, "max": 2.0},
        {"min": 1, "max": 9},
        {"distribution": "log_uniform_values", "min": 1, "max": 2},
        {"distribution": "q_log_uniform_values", "min": 1, "max": 2},
        {"distribution": "q_beta"},
    ],
)
def test_cdf_of_a_value_past_the_bounds_is_0_or_1(config):
    assert parameter(**config).cdf(-7) == 0.0
    assert parameter(**config).cdf(70) == 1.0


# -- What holds for every u ---------------------------------------------------------------------------

unit = st.floats(0, 1)
number = st.floats(-1e6, 1e6)


@st.composite
def continuous(draw):
    name = draw(st.sampled_from([name for name, law in DISTRIBUTIONS.items() if law.continuous]))
    keys = DISTRIBUTIONS[name].keys
    if "min" in keys and name.endswith("values"):
        low = draw(st.floats(1e-9, 1e6))
        return Parameter("p", name, min=low, max=low * draw(st.floats(1.01, 1e9)))
    if "min" in keys:
        low = draw(st.floats(-20, 20))
        return Parameter("p", name, min=low, max=low + draw(st.floats(0.01, 30)))
    positive = st.floats(0.3, 5)
    if "mu" in keys:
        return Parameter("p", name, mu=draw(st.floats(-3, 3)), sigma=draw(positive))
    return Parameter("p", name, a=draw(positive), b=draw(positive))


@st.composite
def listed(draw):
    values = draw(st.lists(st.one_of(st.integers(), st.booleans(), st.text(max_size=3), st.none()), min_size=1))
    assume(len({grid_key(value) for value in values}) == len(values))
    if draw(st.booleans()):
        return Parameter("p", "categorical", values=tuple(values))
    weights = [draw(st.floats(0.01, 1)) for _ in values]
    shares = tuple(weight / math.fsum(weights) for weight in weights)
    return Parameter("p", "categorical_w_probabilities", values=tuple(values), probabilities=shares)


@quickly
@given(continuous(), unit, unit)
def test_ppf_never_falls(p, u, v):
    assert p.ppf(min(u, v)) <= p.ppf(max(u, v))


@quickly
@given(continuous(), st.floats(1e-6, 1 - 1e-6))
def test_cdf_undoes_ppf(p, u):
    assert p.cdf(p.ppf(u)) == pytest.approx(u, abs=1e-8)


@quickly
@given(number, st.floats(1e-6, 1e6), unit)
def test_uniform_stays_within_its_bounds(low, span, u):
    assert low <= Parameter("p", "uniform", min=low, max=low + span).ppf(u) <= low + span


@quickly
@given(st.sampled_from(["log_uniform_values", "inv_log_uniform_values"]), st.floats(1e-9, 1e9), unit)
def test_log_uniform_values_stays_within_its_bounds(name, low, u):
    assert low <= Parameter("p", name, min=low, max=low * 10).ppf(u) <= low * 10


@quickly
@given(st.integers(-(2**70), 2**70), st.integers(1, 2**70), unit)
def test_int_uniform_stays_within_its_bounds(low, span, u):
    value = Parameter("p", "int_uniform", min=low, max=low + span).ppf(u)
    assert type(value) is int
    assert low <= value <= low + span


@quickly
@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6), st.data())
def test_every_integer_is_recovered_from_its_coordinate(low, span, data):
    p = Parameter("p", "int_uniform", min=low, max=low + span)
    value = data.draw(st.integers(low, low + span))
    assert p.ppf(p.cdf(value)) == value


@quickly
@given(listed())
def test_every_listed_value_is_recovered_from_its_coordinate(p):
    assert [p.ppf(p.cdf(value)) for value in p.values] == list(p.values)


@quickly
@given(listed(), unit)
def test_a_draw_is_one_of_the_values(p, u):
    assert grid_key(p.ppf(u)) in {grid_key(value) for value in p.values}


@quickly
@given(st.floats(-100, 100), st.floats(0.01, 100), st.sampled_from([1, 2, 7, 0.5, 0.1]), unit)
def test_quantised_values_are_multiples_of_q_near_the_bounds(low, span, q, u):
    value = Parameter("p", "q_uniform", min=low, max=low + span, q=q).ppf(u)
    assert type(value) is type(q)
    assert value == round(value / q) * q
    assert low - q / 2 <= value + 1e-9
    assert value - 1e-9 <= low + span + q / 2


def test_importing_and_drawing_plain_values_loads_neither_numpy_nor_scipy():
    code = (
        "import sys, wandbsweep.spec.load as s\n"
        "spec = s.load_sweep({'method': 'random', 'parameters': {'a': {'min': 0.0, 'max': 1.0}}})\n"
        "spec.parameters['a'].ppf(.5)\n"
        "assert not {'numpy', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scipy_stats_is_never_loaded():
    code = (
        "import sys\nfrom wandbsweep.spec.distributions import Parameter\n"
        "Parameter('p', 'normal', mu=0, sigma=1).ppf(.3)\n"
        "Parameter('p', 'beta', a=2, b=3).ppf(.3)\n"
        "assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
