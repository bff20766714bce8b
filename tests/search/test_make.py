"""The seam of search methods: the table of methods, the factory, and what a new method needs."""

from dataclasses import dataclass

import pytest

from tests.configurations import GRID, RANDOM, REPEATS
from wandbsweep import Outcome, SweepConfigError, create_sweep, load_sweep
from wandbsweep.search.base import Search
from wandbsweep.search.make import SEARCHES, find_cap, make_search
from wandbsweep.spec.methods import METHODS, MethodInfo, find_method


def test_every_method_has_a_search():
    assert SEARCHES.keys() == METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_what_its_entry_says(name):
    config = RANDOM | {"method": name, "parameters": {"x": {"values": [1, 2, 3]}}}
    search = make_search(load_sweep(config), seed=0)
    assert (search.size is not None) == METHODS[name].finite
    assert (search.draw(0) is None) == METHODS[name].learns
    del config["metric"]
    if METHODS[name].learns:
        with pytest.raises(SweepConfigError, match=f"metric: is required by method {name}"):
            load_sweep(config)
    else:
        load_sweep(config)
    if METHODS[name].external:
        with pytest.raises(SweepConfigError, match="needs W&B's servers; the choices here are bayes, grid, random"):
            create_sweep(load_sweep(config))


@pytest.mark.parametrize("name", ["gird", None, ["grid"], {}])
def test_what_is_no_method(name):
    assert find_method(name) is None


@pytest.mark.parametrize(
    ("config", "cap"),
    [
        (GRID, 3),
        (GRID | {"run_cap": 2}, 2),
        (GRID | {"run_cap": 9}, 3),
        (RANDOM, None),
        (RANDOM | {"run_cap": 9}, 9),
        (REPEATS | {"method": "grid", "parameters": GRID["parameters"]}, 6),
    ],
)
def test_the_cap_is_the_smaller_of_run_cap_and_the_grid(config, cap):
    assert find_cap(load_sweep(config)) == cap


def test_the_cap_of_a_plain_grid_counts_repetitions():
    assert find_cap(load_sweep(GRID), {"a": [1, 1, 2], "b": [0, 1]}) == 6


@dataclass(frozen=True)
class Bisection(Search):
    """A toy: halves the interval towards the better of the trials so far."""

    parameter: str

    def propose(self, number, trials, without_model=False):
        valued = [trial for trial in trials if trial.value is not None]
        best = min(valued, key=lambda trial: trial.value, default=None)
        return {self.parameter: 1.0 if best is None else best.params[self.parameter] / 2}


def test_a_new_method_is_an_entry_in_each_of_two_tables(monkeypatch):
    monkeypatch.setitem(METHODS, "bisection", MethodInfo("bisection", learns=True))
    monkeypatch.setitem(SEARCHES, "bisection", lambda spec, seed: Bisection(next(iter(spec.parameters))))
    controller = create_sweep(load_sweep(RANDOM | {"method": "bisection", "run_cap": 4}))
    found = []
    while (trial := controller.ask("a")) is not None:
        controller.report(trial, 0, {"loss": trial.params["x"]})
        controller.complete(trial, Outcome.finished())
        found.append(trial.params["x"])
    assert found == [1.0, 0.5, 0.25, 0.125]
    with pytest.raises(SweepConfigError, match="is required by method bisection"):
        load_sweep({"method": "bisection", "parameters": RANDOM["parameters"]})
