"""Makes the search that a sweep's configuration describes. A new search method is added to ``SEARCHES``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wandbsweep.search.base import Search
from wandbsweep.search.bayesian import BayesianSearch
from wandbsweep.search.grid import GridSearch, make_grid_search
from wandbsweep.search.priors import PriorSearch
from wandbsweep.search.random_draws import RandomSearch
from wandbsweep.search.repeats import RepeatedSearch
from wandbsweep.search.thawing import Thawing
from wandbsweep.spec.early_termination import THAW
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import TrialRecord

PlainGrid = Mapping[str, Sequence[Any]]
"""The comma lists of a command line without a sweep configuration, by parameter, in the order they were given."""

SEARCHES: Mapping[str, Callable[[SweepSpec, int], Search]] = {
    "grid": make_grid_search,
    "random": RandomSearch,
    "bayes": BayesianSearch,
    # W&B's servers propose these trials. Here a search only supplies sample points, to check that they compose.
    "custom": RandomSearch,
}
"""By method (``spec.methods`` describes each): what makes the search from the configuration and the seed."""


def make_search(
    spec: SweepSpec,
    *,
    seed: int,
    plain_grid: PlainGrid | None = None,
    known: Sequence[Sequence[TrialRecord]] = (),
) -> Search:
    """Make the search that ``spec`` describes.

    Args:
        spec: The sweep's configuration, with a method of ``SEARCHES``.
        seed: The seed of the search.
        plain_grid: The values of a plain comma-list grid, taken literally: their order and repetitions count.
        known: The trials of each sweep that ``spec.prior`` names.
    """
    search = SEARCHES[spec.method](spec, seed) if plain_grid is None else GridSearch(tuple(plain_grid.items()))
    if known and isinstance(search, BayesianSearch):
        search = replace(search, earlier=known)
    if spec.prior:
        first = spec.prior.configurations or ([spec.prior.expect] if spec.prior.expect else [])
        search = PriorSearch(search, spec, seed, first)
    if spec.repeats:
        search = RepeatedSearch(search, spec.repeats, spec.goal, spec.limits)
    return search


def make_thawing(spec: SweepSpec) -> Thawing | None:
    """Make what decides which trials are frozen and taken up again; None: stopped trials are stopped for good."""
    return Thawing(spec) if spec.early_terminate is not None and spec.early_terminate.type == THAW else None


def find_cap(spec: SweepSpec, plain_grid: PlainGrid | None = None) -> int | None:
    """Return how many trials a sweep may have in all: the smaller of ``run_cap`` and its grid; None: unlimited."""
    size = make_search(spec, seed=0, plain_grid=plain_grid).size
    return min((limit for limit in (spec.run_cap, size) if limit is not None), default=None)
