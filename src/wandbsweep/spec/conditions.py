"""Conditional parameters: the value of one parameter decides whether another exists.

An extension of W&B's format, requested since 2020 (wandb#3865, hydra#2433): ``when``, next to a parameter's bounds,
names other parameters and the values with which it exists. ::

    optimizer: {values: [adamw, sgd]}
    optimizer.momentum: {min: 0.0, max: 0.99, when: {optimizer: sgd}}
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.distributions import GRID_LIMIT, Parameter, grid_key
from wandbsweep.spec.findings import Findings
from wandbsweep.spec.zipped import Groups, list_rows


def read_when(findings: Findings, path: str, raw: Any, parameter: Parameter | None) -> Parameter | None:
    """Return ``parameter`` with its condition: ``{other: value}``, or a list of values.

    Args:
        findings: Collects the violations.
        path: The parameter's path.
        raw: The condition.
        parameter: The parameter without it; None: it could not be read.
    """
    if not findings.check_mapping(f"{path}.when", raw, "{optimizer: sgd}") or parameter is None:
        return parameter
    if not raw:
        findings.refuse(f"{path}.when", "is empty, but must name another parameter and its values")
    for name, values in raw.items():
        if values == []:
            findings.refuse(f"{path}.when.{name}", "is an empty list, so the condition could never be met")
    when = tuple((str(name), tuple(v if isinstance(v, list) else [v])) for name, v in raw.items())
    return dataclasses.replace(parameter, when=when)


def select_active(parameters: Mapping[str, Parameter], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``params`` without the parameters whose conditions are not met.

    A condition on a parameter that is itself not active is not met.
    """
    kept: dict[str, Any] = {}
    for name in _sort_parents_first(parameters):
        if name in params and _is_met(parameters[name], kept):
            kept[name] = params[name]
    return {name: kept[name] for name in params if name in kept}


def is_conditional(parameters: Mapping[str, Parameter]) -> bool:
    return any(parameter.when for parameter in parameters.values())


def grid_points(parameters: Mapping[str, Parameter], zipped: Groups = ()) -> list[dict[str, Any]]:
    """Return the points of a grid with conditional or zipped parameters, each once.

    Their order is that of the grid without conditions; a group that is zipped has its first parameter's place in it.

    Args:
        parameters: The parameters.
        zipped: Those that move together; they exist under the same conditions.

    Raises:
        SweepConfigError: There are more than ``GRID_LIMIT``: all points are listed in memory.
    """
    axes = {name: parameter.grid() for name, parameter in parameters.items()}
    groups = {name: group for group in zipped for name in group}
    leaders: dict[tuple[str, ...], str] = {}  # the parameter of each group that is placed first; the others follow it
    for group in zipped:
        rows = list_rows(parameters, group)
        axes.update({name: [row[name] for row in rows] for name in group})
    points: list[dict[str, int]] = [{}]  # the active parameters of each point, as positions on their axes
    for name in _sort_parents_first(parameters):
        if name in groups and (leader := leaders.setdefault(groups[name], name)) != name:
            points = [{**point, name: point[leader]} if leader in point else point for point in points]
            continue
        met = [
            _is_met(parameters[name], {parent: axes[parent][index] for parent, index in point.items()})
            for point in points
        ]
        if len(points) + sum(met) * (len(axes[name]) - 1) > GRID_LIMIT:
            raise SweepConfigError(
                [f"parameters: a grid with conditions, constraints or zip may have {GRID_LIMIT:,} points at most"]
            )
        points = [
            {**point, name: index} if is_active else point
            for point, is_active in zip(points, met, strict=True)
            for index in (range(len(axes[name])) if is_active else [0])
        ]
    # The grid without conditions first reaches such a point with every inactive parameter at its first value.
    points.sort(key=lambda point: [point.get(name, 0) for name in axes])
    return [{name: copy.deepcopy(axes[name][point[name]]) for name in axes if name in point} for point in points]


def check_conditions(findings: Findings, parameters: Mapping[str, Parameter | None]) -> None:
    """Refuse wrong conditions; those on parameters that are None, because they could not be read, are not checked."""
    readable = {name: parameter for name, parameter in parameters.items() if parameter}
    before = len(findings.violations)
    for name, parameter in readable.items():
        for parent, values in parameter.when:
            if parent in readable or parent not in parameters:
                _check_condition(findings, name, parent, values, readable)
    if len(findings.violations) == before:
        try:
            _sort_parents_first(readable)
        except CycleError as error:
            cycle = " → ".join(error.args[1])
            findings.refuse("parameters", f"the conditions form a cycle ({cycle}), so none of them could ever be met")


def _check_condition(
    findings: Findings, name: str, parent: str, values: tuple[Any, ...], parameters: Mapping[str, Parameter]
) -> None:
    path = f"parameters.{name}.when.{parent}"
    if parent not in parameters:
        others = ", ".join(other for other in parameters if other != name)
        findings.refuse(path, f"is not a parameter of this sweep; the others are {others}")
        return
    known = parameters[parent]
    if known.distribution == "int_uniform":
        integers, shown = range(known.ppf(0.0), known.ppf(1.0) + 1), f"the integers from {known.min} to {known.max}"
        unknown = [value for value in values if isinstance(value, bool | str) or value not in integers]
    elif known.listed is not None:
        keys, shown = set(map(grid_key, known.listed)), ", ".join(map(str, known.listed))
        unknown = [value for value in values if grid_key(value) not in keys]
    else:
        rule = f"has no listed values ({known.distribution}), so no condition can depend on it"
        findings.refuse(path, f"{parent} {rule}; parameters with value, values or int_uniform have")
        return
    for value in unknown:
        findings.refuse(path, f"{value!r} is not a value of {parent}; its values are {shown}")


def _sort_parents_first(parameters: Mapping[str, Parameter]) -> list[str]:
    graph = {name: [parent for parent, _ in parameter.when] for name, parameter in parameters.items()}
    return list(TopologicalSorter(graph).static_order())


def _is_met(parameter: Parameter, chosen: Mapping[str, Any]) -> bool:
    return all(
        parent in chosen and grid_key(chosen[parent]) in map(grid_key, values) for parent, values in parameter.when
    )
