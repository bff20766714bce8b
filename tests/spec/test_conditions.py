"""Conditional parameters: which of them a trial has, and their grids."""

import pytest

from wandbsweep import SweepConfigError, create_sweep, load_sweep
from wandbsweep.spec import conditions
from wandbsweep.spec.conditions import grid_points, select_active

OPTIMIZERS = {
    "optimizer": {"values": ["adamw", "sgd"]},
    "betas": {"values": [0.9, 0.99], "when": {"optimizer": "adamw"}},
    "momentum": {"values": [0.0, 0.5, 0.9], "when": {"optimizer": "sgd"}},
    "nesterov": {"values": [True, False], "when": {"momentum": [0.5, 0.9]}},
}


def parameters(config):
    return load_sweep({"method": "random", "parameters": config}).parameters


def points(config):
    return grid_points(load_sweep({"method": "grid", "parameters": config}).parameters)


def test_a_parameter_is_active_if_its_condition_is_met():
    everything = {"optimizer": "sgd", "betas": 0.9, "momentum": 0.5, "nesterov": True}
    assert select_active(parameters(OPTIMIZERS), everything) == {"optimizer": "sgd", "momentum": 0.5, "nesterov": True}
    assert select_active(parameters(OPTIMIZERS), everything | {"momentum": 0.0}) == {
        "optimizer": "sgd",
        "momentum": 0.0,
    }


def test_a_condition_on_an_inactive_parameter_is_not_met():
    everything = {"optimizer": "adamw", "betas": 0.9, "momentum": 0.5, "nesterov": True}
    assert select_active(parameters(OPTIMIZERS), everything) == {"optimizer": "adamw", "betas": 0.9}


@pytest.mark.parametrize(
    ("values", "when", "holds"),
    [
        ([True, False], True, [True]),
        ([1, True], True, [True]),
        ([1, 2], 1.0, [1]),
        ([None, "none"], None, [None]),
        ([None, "none"], [None, "none"], [None, "none"]),
        (["1", 1], "1", ["1"]),
        ([[64], [64, 32]], [[64]], [[64]]),
        ([{"a": 1}, {"a": 2}], {"a": 2}, [{"a": 2}]),
    ],
)
def test_conditions_distinguish_values_by_type(values, when, holds):
    space = {"parent": {"values": values}, "child": {"value": "here", "when": {"parent": when}}}
    read = parameters(space)
    assert [v for v in values if "child" in select_active(read, {"parent": v, "child": "here"})] == holds


def test_several_conditions_must_all_be_met():
    space = {
        "a": {"values": [1, 2]},
        "b": {"min": 1, "max": 3},
        "c": {"values": ["x", "y"], "when": {"a": 1, "b": [2, 3]}},
    }
    assert [(p["a"], p["b"]) for p in points(space) if p.get("c") == "x"] == [(1, 2), (1, 3)]


def test_a_grid_has_each_point_once():
    found = points(OPTIMIZERS)
    assert len(found) == 2 + (1 + 2 * 2)
    assert found == [dict(p) for p in {tuple(sorted(p.items())): p for p in found}.values()]


@pytest.mark.parametrize("names", ["abcd", "dcba", "badc"])
def test_a_grids_order_is_that_of_the_grid_without_conditions(names):
    """Whatever the names, and so the order of the axes: what comes first in the product comes first here."""
    import itertools

    a, b, c, d = names
    space = {
        a: {"values": [2, 1, 3]},
        b: {"values": ["x", "y"], "when": {a: [1, 3]}},
        c: {"values": [None, False], "when": {b: "y"}},
        d: {"min": 1, "max": 2, "when": {c: None}},
    }
    read = load_sweep({"method": "grid", "parameters": space}).parameters
    whole = itertools.product(*(parameter.grid() for parameter in read.values()))
    first = {}
    for values in whole:
        point = select_active(read, dict(zip(read, values, strict=True)))
        first.setdefault(repr(point), point)
    assert grid_points(read) == list(first.values())


def test_a_grid_counts_points_and_not_the_product():
    names = [f"p{k:02}" for k in range(12)]
    space = {"which": {"values": names}} | {n: {"values": list(range(10))} | {"when": {"which": n}} for n in names}
    assert len(points(space)) == 120  # of 12 * 10^12


def test_a_grid_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(conditions, "GRID_LIMIT", 6)
    with pytest.raises(SweepConfigError, match="may have 6 points at most"):
        points(OPTIMIZERS)


def test_a_conditional_grid_is_given_out_whole():
    controller = create_sweep(load_sweep({"method": "grid", "parameters": OPTIMIZERS}))
    assert controller.cap == 7
    trials = list(iter(lambda: controller.ask("a"), None))
    assert [trial.params for trial in trials] == points(OPTIMIZERS)
