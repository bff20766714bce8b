"""``zip``: what is read, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from wandbsweep.controllers.hosted.doctor import check_supported
from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.conditions import grid_points
from wandbsweep.spec.load import load_sweep

LISTS: dict[str, Any] = {
    "width": {"values": [64, 128, 256]},
    "batch": {"values": [32, 16, 8]},
    "lr": {"values": [1, 2]},
}


def sweep(parameters: dict[str, Any] = LISTS, method: str = "grid", **keys: Any):
    return load_sweep({"method": method, "metric": {"name": "loss"}, "parameters": parameters, **keys})


def points(parameters: dict[str, Any], *groups: list[str]) -> list[tuple[Any, ...]]:
    spec = sweep(parameters, zip=list(groups))
    return [tuple(point.values()) for point in grid_points(spec.parameters, spec.zip)]


def test_one_group_needs_no_inner_list():
    assert sweep(zip=["width", "batch"]).zip == sweep(zip=[["batch", "width"]]).zip == (("batch", "width"),)


def test_a_grid_moves_a_group_as_one_parameter_at_the_place_of_its_first():
    assert points(LISTS, ["width", "batch"]) == [
        *((32, 1, 64), (32, 2, 64), (16, 1, 128), (16, 2, 128), (8, 1, 256), (8, 2, 256)),
    ]


def test_a_grid_has_each_row_once():
    lists = {"a": {"values": [1, 1, 2, 1]}, "b": {"values": ["x", "y", "x", "x"]}}
    assert points(lists, ["a", "b"]) == [(1, "x"), (1, "y"), (2, "x")]


def test_conditions_on_and_of_a_group():
    lists = {
        "model": {"values": ["mlp", "conv"]},
        "depth": {"values": [1, 2], "when": {"model": "mlp"}},
        "width": {"values": [8, 4], "when": {"model": ["mlp"]}},
        "extra": {"values": [0, 9], "when": {"depth": 2}},
    }
    spec = sweep(lists, zip=[["depth", "width"]])
    assert grid_points(spec.parameters, spec.zip) == [
        {"model": "mlp", "depth": 1, "width": 8},
        {"model": "conv"},
        {"model": "mlp", "depth": 2, "extra": 0, "width": 4},
        {"model": "mlp", "depth": 2, "extra": 9, "width": 4},
    ]


def test_constraints_are_tried_on_rows():
    assert sweep(zip=["width", "batch"], constraints=["width * batch == 2048"]).constraints
    with pytest.raises(SweepConfigError, match="none of 10,000 random configurations meets"):
        sweep(zip=["width", "batch"], constraints=["width * batch > 2048"])


@pytest.mark.parametrize(
    ("parameters", "zipped", "message"),
    [
        (LISTS, "width", "zip: 'width' is text, but must be a list of groups of parameters"),
        (LISTS, [["width"]], r"zip\[0\]: \['width'\] must name two parameters or more"),
        (LISTS, [["width", "bacth"]], r"bacth is not a parameter of this sweep; they are .*did you mean batch\?"),
        (LISTS, [["width", "batch"], ["lr", "width"]], r"zip\[1\]: width is also in zip\[0\]"),
        (LISTS, [["width", "width"]], "width is also in the same group"),
        (LISTS, [["width", "lr"]], "width has 3 values and lr has 2 values, but lists that move together"),
        (
            {**LISTS, "x": {"min": 0.0, "max": 1.0}},
            ["width", "x"],
            r"x has no list of equally likely values \(uniform\)",
        ),
        ({**LISTS, "x": {"value": 3}}, ["width", "x"], r"x has no list of equally likely values \(constant\)"),
        (
            {**LISTS, "x": {"values": [1, 2], "probabilities": [0.5, 0.5]}},
            ["lr", "x"],
            r"x has no list of equally likely values \(categorical_w_probabilities\)",
        ),
        (
            {**LISTS, "x": {"values": [1, 2, 3], "when": {"lr": 1}}},
            ["width", "x"],
            "width and x have different conditions",
        ),
    ],
)
def test_refuses(parameters, zipped, message):
    with pytest.raises(SweepConfigError, match=message):
        sweep(parameters, "random", zip=zipped, run_cap=3)


def test_says_everything_in_one_message():
    with pytest.raises(SweepConfigError) as caught:
        sweep(zip=[["width", "lr"], ["nothing", "width"]], order="shuffled", constraints=["width < 0"])
    assert len(str(caught.value).splitlines()) == 5
    assert "order: 'shuffled' is not known; it must be sequential or random" in str(caught.value)


def test_only_a_grid_has_an_order():
    with pytest.raises(SweepConfigError, match="order: goes with method grid only"):
        sweep(method="random", order="random")


def test_another_zip_or_order_is_another_sweep():
    identity = sweep(zip=["width", "batch"], order="random").identity
    assert (identity["zip"], identity["order"]) == ("(('batch', 'width'),)", "random")
    assert sweep().identity.keys() == sweep(order="sequential").identity.keys() == identity.keys() - {"zip", "order"}


def test_prior_values_must_occur_together():
    prior = {"configurations": [{"width": 64, "batch": 8}]}
    with pytest.raises(SweepConfigError, match=r"prior.configurations\[0\]: batch=8, width=64 do not occur together"):
        sweep(method="bayes", zip=["width", "batch"], prior=prior)
    spec = sweep(method="bayes", zip=["width", "batch"], prior={"expect": {"width": 64}})
    assert spec.prior.expect == {"width": 64, "batch": 32}
    assert load_sweep(spec.dump()) == spec


def test_wandb_has_no_such_keys():
    with pytest.raises(SweepConfigError) as caught:
        check_supported(sweep(zip=["width", "batch"], order="random"))
    assert "zip: W&B knows no lists that move together; use controller=embedded" in str(caught.value)
    assert "order: W&B tries a grid in its own order; use controller=embedded" in str(caught.value)
