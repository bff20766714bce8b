"""``constraints``: conditions between parameters, for every search method."""

from __future__ import annotations

from typing import Any

import pytest

from wandbsweep import SweepConfigError, TrialRecord, load_sweep
from wandbsweep.search.make import find_cap, make_search
from wandbsweep.spec.constraints import are_met, substitute

SPACE: dict[str, Any] = {
    "model.width": {"values": [64, 128, 256, 512]},
    "data.batch_size": {"values": [64, 128, 256, 512]},
    "optimizer.betas.1": {"min": 0.9, "max": 0.999},
    "optimizer": {"values": ["adamw", "sgd"]},
    "optimizer.momentum": {"min": 0.0, "max": 0.99, "when": {"optimizer": "sgd"}},
}


def make(*constraints: Any, method: str = "random", parameters: dict[str, Any] = SPACE, **more: Any) -> dict[str, Any]:
    metric = {"name": "loss", "goal": "minimize"}
    return {"method": method, "metric": metric, "parameters": parameters, "constraints": list(constraints), **more}


def test_a_grid_has_only_the_points_that_meet_them() -> None:
    grid = {key: SPACE[key] for key in ("model.width", "data.batch_size")}
    spec = load_sweep(make("model.width * data.batch_size <= 65536", method="grid", parameters=grid))
    search = make_search(spec, seed=0)
    points = [search.draw(number) for number in range(search.size or 0)]
    assert find_cap(spec) == len(points) == 13
    assert all(p["model.width"] * p["data.batch_size"] <= 65536 for p in points if p)
    with pytest.raises(SweepConfigError, match=r"none of 10,000 random configurations meets 'model.width > 1000'"):
        load_sweep(make("model.width > 1000", method="grid", parameters=grid))


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_every_proposal_meets_them(method: str) -> None:
    """The optimum lies beyond the constraint, so that bayes is drawn to its edge."""
    parameters = {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}, "n": {"min": 1, "max": 8}}
    spec = load_sweep(make("x + y <= 1.2 and n * x < 6", method=method, parameters=parameters))
    search = make_search(spec, seed=0)
    trials: list[TrialRecord] = []
    for number in range(25):
        params = search.propose(number, trials, without_model=number % 8 == 7)
        assert are_met(spec.constraints, spec.parameters, params), params
        value = -params["x"] - params["y"] - 0.01 * params["n"]
        trials.append(TrialRecord(number, "finished", params, reports={0: value}, value=value))
    if method == "bayes":
        assert min(trial.value for trial in trials if trial.value) < -1.2
    assert [search.propose(3, trials[:3])] == [trials[3].params]


def test_conditional_parameters_and_names_with_numbers() -> None:
    spec = load_sweep(
        make("optimizer.momentum + optimizer.betas.1 < 1.5", "optimizer != 'adamw' or model.width <= 128")
    )
    search = make_search(spec, seed=1)
    drawn = [search.draw(number) or {} for number in range(50)]
    assert any("optimizer.momentum" not in params for params in drawn)  # there the first constraint does not apply
    assert all(p.get("optimizer.momentum", 0) + p["optimizer.betas.1"] < 1.5 for p in drawn)
    assert all(p["optimizer"] == "sgd" or p["model.width"] <= 128 for p in drawn)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.width *", "is no expression"),
        ("model.depth <= 3", "names model.depth, which is no parameter; they are model.width, data.batch_size"),
        ("_p9 > 3", "names _p9, which is no parameter"),
        ("__import__('os').system('true') == 0", "calls __import__"),
        ("(lambda: 1)() == 1", "calls lambda: 1"),
        ("[x for x in (1,)] == [1]", "holds ListComp|names x"),
        ("model.width * 2", "compares nothing"),
        ("9 ** 9 ** 9 > model.width", "holds (BinOp|Pow)"),
        ("'a' * model.width > 'b'", "holds BinOp"),
        ("optimizer <= 3", "cannot be computed for optimizer='"),
        ("model.width > 512", "none of 10,000 random configurations"),
        (3, r"\[3\] is a list, but must be a list of expressions"),
    ],
)
def test_refuses(text: Any, message: str) -> None:
    with pytest.raises(SweepConfigError, match=message):
        load_sweep(make(text))


def test_prior_configurations_must_meet_them() -> None:
    prior = {"configurations": [{"model.width": 512, "data.batch_size": 512}]}
    with pytest.raises(SweepConfigError, match=r"prior.configurations\[0\]: breaks the constraint"):
        load_sweep(make("model.width * data.batch_size <= 65536", prior=prior))
    given = make("model.width * data.batch_size <= 65536", prior={"configurations": [{"model.width": 512}]})
    first = make_search(load_sweep(given), seed=0).draw(0) or {}
    assert (first["model.width"], first["data.batch_size"]) in {(512, 64), (512, 128)}


def test_fixed_values_take_the_place_of_names() -> None:
    text = "model.width * data.batch_size <= 65536 and optimizer != 'model.width'"
    assert substitute(text, {"model.width": 64}) == "64 * data.batch_size <= 65536 and optimizer != 'model.width'"


def test_spaces_without_them_draw_as_before() -> None:
    plain, free = ({**make(method="bayes"), "constraints": texts} for texts in ([], ["model.width > 0"]))
    del plain["constraints"]
    one, other = (make_search(load_sweep(given), seed=5).propose(0, []) for given in (plain, free))
    assert one == other
