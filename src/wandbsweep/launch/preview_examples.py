"""The first trials that a sweep would have, without creating it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from wandbsweep.controllers.open import open_embedded
from wandbsweep.results.terminal.preview import count_levels
from wandbsweep.search.make import find_cap, make_search
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import STUDY, ControllerOptions

_MOST_LISTED = 100_000
"""A space with more points is not counted unless it is a grid: constraints would need them all."""


def propose_examples(
    spec: SweepSpec, options: ControllerOptions, most: int, *, hosted: bool = False
) -> list[Mapping[str, Any]]:
    """Return the parameters of a sweep's first trials, if ``most`` agents asked before any trial reports.

    Args:
        spec: The sweep configuration.
        options: What the sweep would be started with; its storage is not opened.
        most: The most trials to return.
        hosted: Whether W&B's servers propose the trials. Then the space is sampled, or its grid listed.
    """
    cap = find_cap(spec, options.plain_grid)
    count = most if cap is None else min(most, cap)
    if hosted or spec.method_info.external:
        sampled = spec if spec.method == "grid" else replace(spec, method="random", prior=None)
        search = make_search(sampled, seed=options.seed or 0)
        return [point for number in range(count) if (point := search.draw(number)) is not None]
    controller = open_embedded(
        None, spec, ControllerOptions(plain_grid=options.plain_grid, seed=options.seed), study_name=STUDY
    )
    try:
        trials = [controller.ask(str(number)) for number in range(count)]
    finally:
        controller.close()
    return [trial.params for trial in trials if trial is not None]


def count_configurations(spec: SweepSpec, plain_grid: Mapping[str, Sequence[Any]] | None = None) -> int | None:
    """Return how many configurations a space has, without ``repeats``; None: it has a range without steps, or too many.

    Args:
        spec: The sweep configuration, of any method.
        plain_grid: The values of a plain comma-list grid, whose repetitions count.
    """
    if plain_grid is not None:
        return make_search(spec, seed=0, plain_grid=plain_grid).size
    if any(parameter.continuous or parameter.grid_fault for parameter in spec.parameters.values()):
        return None
    if spec.method != "grid" and prod(count_levels(p) or 1 for p in spec.parameters.values()) > _MOST_LISTED:
        return None
    return make_search(replace(spec, method="grid", repeats=None, prior=None), seed=0).size
