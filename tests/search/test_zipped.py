"""Zipped parameters and grids in a random order, as the searches propose them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wandbsweep.controllers.base import Outcome
from wandbsweep.controllers.open import create_sweep
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.search.bayes.space import Space
from wandbsweep.search.grid import ShuffledGrid
from wandbsweep.search.make import make_search
from wandbsweep.spec.load import load_sweep

ROWS = {(64, 32, "s"), (128, 16, "m"), (256, 8, "l"), (512, 4, "xl")}
PARAMETERS: dict[str, Any] = {
    "width": {"values": [64, 128, 256, 512]},
    "batch": {"values": [32, 16, 8, 4]},
    "name": {"values": ["s", "m", "l", "xl"]},
    "lr": {"min": 0.0, "max": 1.0},
}
ZIP = ["width", "batch", "name"]


def sweep(method: str, parameters: dict[str, Any] = PARAMETERS, **keys: Any):
    config = {"method": method, "metric": {"name": "loss"}, "parameters": parameters, **keys}
    return load_sweep(config)


def row(params) -> tuple[Any, ...]:
    return tuple(params[name] for name in ZIP)


def run(spec, trials: int, seed: int = 1) -> list[dict[str, Any]]:
    controller, found = create_sweep(spec, seed=seed), []
    for _ in range(trials):
        trial = controller.ask("a")
        found.append(dict(trial.params))
        value = abs(np.log2(trial.params["width"]) - 8) + abs(trial.params["lr"] - 0.3)
        controller.report(trial, 0, {"loss": value})
        controller.complete(trial, Outcome.finished())
    return found


class TestRandom:
    def test_draws_rows(self):
        search = make_search(sweep("random", zip=ZIP), seed=0)
        drawn = [search.draw(number) for number in range(200)]
        assert {row(params) for params in drawn} == ROWS
        assert len({params["lr"] for params in drawn}) == 200

    def test_what_is_zipped_with_a_given_value_moves_along(self):
        prior = {"configurations": [{"width": 256}, {"name": "xl", "lr": 0.5}]}
        search = make_search(sweep("random", zip=ZIP, prior=prior), seed=0)
        assert row(search.draw(0)) == (256, 8, "l")
        assert search.draw(1) == {"width": 512, "batch": 4, "name": "xl", "lr": 0.5}

    def test_repeats_and_constraints(self):
        keys = {"repeats": {"parameter": "seed", "values": [0, 1]}, "constraints": ["width < 500", "batch * lr < 8"]}
        found = run(sweep("random", zip=ZIP, **keys), 12)
        assert {row(params) for params in found} <= {r for r in ROWS if r[0] < 500}
        assert all(params["batch"] * params["lr"] < 8 for params in found)
        assert {params["seed"] for params in found} == {0, 1}


class TestBayes:
    def test_a_group_is_one_column(self):
        spec = sweep("bayes", zip=ZIP)
        space = Space(spec.parameters, zipped=spec.zip)
        assert list(space.columns) == ["batch", "lr"]
        assert not space.categorical.any(), "the rows' numbers rise and fall alike, so that they have an order"
        for params in run(spec, 4):
            assert space.decode(space.encode(params)) == params

    def test_rows_without_an_order_are_categories(self):
        lists = {"a": {"values": [1, 2, 3]}, "b": {"values": [1, 3, 2]}, "c": {"values": ["x", "y", "z"]}}
        assert Space(sweep("bayes", lists).parameters, zipped=(("a", "b"),)).categorical.tolist() == [True, True]
        assert Space(sweep("bayes", lists).parameters, zipped=(("a", "c"),)).categorical.tolist() == [False, False]

    def test_proposes_rows_and_finds_the_best(self):
        found = run(sweep("bayes", zip=ZIP), 14)
        assert {row(params) for params in found} <= ROWS
        assert sum(params["width"] == 256 for params in found[6:]) >= 5

    def test_with_a_condition_and_a_prior_sweep(self):
        parameters = {**PARAMETERS, "extra": {"values": [1, 2], "when": {"name": "l"}}}
        expect = {"prior": {"expect": {"name": "l"}}}
        found = run(sweep("bayes", parameters, zip=ZIP, constraints=["width > 64"], **expect), 9)
        assert row(found[0]) == (256, 8, "l")
        assert {row(params) for params in found} <= ROWS - {(64, 32, "s")}
        assert all(("extra" in params) == (params["name"] == "l") for params in found)


class TestOrder:
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 60])
    def test_gives_each_point_once(self, size):
        search = make_search(sweep("grid", {"x": {"values": list(range(size))}}, order="random"), seed=3)
        assert sorted(search.draw(number)["x"] for number in range(size)) == list(range(size))

    def test_follows_from_the_seed_and_not_from_who_asks(self):
        spec = sweep("grid", {"x": {"min": 0, "max": 19}, "y": {"values": [1, 2]}}, order="random")
        whole = [make_search(spec, seed=5).draw(number) for number in range(40)]
        assert [make_search(spec, seed=5).draw(number) for number in reversed(range(40))] == whole[::-1]
        assert [make_search(spec, seed=6).draw(number) for number in range(40)] != whole
        assert [tuple(point.values()) for point in whole[:4]] == [(10, 1), (1, 2), (16, 2), (4, 2)]

    def test_a_resumed_sweep_continues_it(self, tmp_path):
        parameters = {name: PARAMETERS[name] for name in ZIP}
        spec = sweep("grid", parameters, zip=ZIP, order="random")
        first = create_sweep(spec, tmp_path / "sweep", seed=7)
        trial = first.ask("a")
        first.complete(trial, Outcome.finished())
        again = create_sweep(load_sweep(tmp_path / "sweep" / "sweep.yaml"), tmp_path / "sweep")
        found = [trial.params, *(again.ask(f"agent-{k}").params for k in range(3))]
        search = make_search(spec, seed=7)
        assert found == [search.draw(number) for number in range(4)]
        assert {row(params) for params in found} == ROWS
        with pytest.raises(SweepDirectoryError, match="zip"):
            create_sweep(sweep("grid", parameters, order="random"), tmp_path / "sweep")

    def test_is_random(self):
        spec = sweep("grid", {"x": {"values": [0, 1, 2]}}, order="random")
        counts: dict[tuple[int, ...], int] = {}
        for seed in range(1200):
            search = make_search(spec, seed=seed)
            order = tuple(search.draw(number)["x"] for number in range(3))
            counts[order] = counts.get(order, 0) + 1
        assert len(counts) == 6
        assert all(150 < count < 250 for count in counts.values())

    def test_needs_no_list_of_a_huge_grid(self):
        axes = {f"x{index}": {"min": 1, "max": 1000} for index in range(4)}
        search = make_search(sweep("grid", axes, order="random"), seed=0)
        assert isinstance(search, ShuffledGrid)
        assert search.size == 10**12
        drawn = {tuple(search.draw(number).values()) for number in range(500)}
        assert len(drawn) == 500
        assert len({point[0] for point in drawn}) > 300, "the slowest parameter varies from the start"

    def test_zipped_with_repeats(self):
        lists = {name: PARAMETERS[name] for name in ZIP}
        spec = sweep("grid", lists, zip=ZIP, order="random", repeats={"parameter": "seed", "values": [0, 1]})
        search = make_search(spec, seed=0)
        assert search.size == 8
        drawn = [search.draw(number) for number in range(8)]
        assert {(row(params), params["seed"]) for params in drawn} == {(r, seed) for r in ROWS for seed in (0, 1)}
