"""Conditional parameters: what was chosen for one decides whether another exists.

An extension of W&B's format, asked for since 2020 (wandb#3865, hydra#2433): ``when`` beside a parameter's bounds names
other parameters and the values under which it exists. ::

    optimizer: {values: [adamw, sgd]}
    optimizer.momentum: {min: 0.0, max: 0.99, when: {optimizer: sgd}}
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.distributions import Parameter, grid_key

GRID_LIMIT = 1_000_000
"""A conditional grid with more points than this is refused: its points are listed."""


def active(parameters: Mapping[str, Parameter], params: Mapping[str, Any]) -> dict[str, Any]:
    """``params`` without the parameters whose conditions it does not meet, or whose conditions' own are not there."""
    kept: dict[str, Any] = {}
    for name in _parents_first(parameters):
        if name in params and _holds(parameters[name], kept):
            kept[name] = params[name]
    return {name: kept[name] for name in params if name in kept}


def is_conditional(parameters: Mapping[str, Parameter]) -> bool:
    return any(parameter.when for parameter in parameters.values())


def grid_points(parameters: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """The points of a grid with conditions, each once, in the order of the grid without."""
    axes = {name: parameter.grid() for name, parameter in parameters.items()}
    points: list[dict[str, int]] = [{}]  # what is there, by its place on its axis
    for name in _parents_first(parameters):
        holds = [
            _holds(parameters[name], {parent: axes[parent][index] for parent, index in point.items()})
            for point in points
        ]
        if len(points) + sum(holds) * (len(axes[name]) - 1) > GRID_LIMIT:
            raise SweepConfigError([f"parameters: a grid with conditions may have {GRID_LIMIT:,} points at most"])
        points = [
            {**point, name: index} if held else point
            for point, held in zip(points, holds, strict=True)
            for index in (range(len(axes[name])) if held else [0])
        ]
    # In a grid without conditions, what is not there would be at its first value when the point first comes up.
    points.sort(key=lambda point: [point.get(name, 0) for name in axes])
    return [{name: copy.deepcopy(axes[name][point[name]]) for name in axes if name in point} for point in points]


def faults(parameters: Mapping[str, Parameter], unreadable: Collection[str] = ()) -> list[str]:
    """What is wrong with the conditions, each with its key path; of those on ``unreadable`` ones nothing is known."""
    found = []
    for name, parameter in parameters.items():
        for parent, values in parameter.when:
            if parent not in unreadable:
                found.extend(_faults(name, parent, values, parameters))
    if not found:
        try:
            _parents_first(parameters)
        except CycleError as error:
            cycle = " → ".join(error.args[1])
            found.append(f"parameters: the conditions go in a circle ({cycle}), so none of them could ever be met")
    return found


def _faults(name: str, parent: str, values: tuple[Any, ...], parameters: Mapping[str, Parameter]) -> list[str]:
    path = f"parameters.{name}.when.{parent}"
    if parent not in parameters:
        others = ", ".join(other for other in parameters if other != name)
        return [f"{path}: is no parameter of this sweep; the others are {others}"]
    law = parameters[parent]
    if law.distribution == "int_uniform":
        known, shown = range(law.ppf(0.0), law.ppf(1.0) + 1), f"the integers from {law.min} to {law.max}"
        unknown = [value for value in values if isinstance(value, bool | str) or value not in known]
    elif (listed := [law.value] if law.distribution == "constant" else law.values) is not None:
        keys, shown = {grid_key(value) for value in listed}, ", ".join(map(str, listed))
        unknown = [value for value in values if grid_key(value) not in keys]
    else:
        return [
            f"{path}: {parent} has no listed values ({law.distribution}), so no condition can rest on one; those "
            "with value, values or int_uniform have"
        ]
    return [f"{path}: {value!r} is no value of {parent}; its values are {shown}" for value in unknown]


def _parents_first(parameters: Mapping[str, Parameter]) -> list[str]:
    graph = {name: [parent for parent, _ in parameter.when] for name, parameter in parameters.items()}
    return list(TopologicalSorter(graph).static_order())


def _holds(parameter: Parameter, chosen: Mapping[str, Any]) -> bool:
    return all(
        parent in chosen and grid_key(chosen[parent]) in {grid_key(value) for value in values}
        for parent, values in parameter.when
    )
