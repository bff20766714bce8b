"""``zip``: parameters whose lists of values move together, an extension of W&B's format. ::

    zip: [[model.width, data.batch_size]]

The first value of one goes with the first of the others, the second with the second, as in Python's ``zip`` (requested
in hydra#1258, hydra#1918 and wandb#3482). A group's members exist under the same conditions (``when``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wandbsweep.spec.distributions import Parameter, grid_key
from wandbsweep.spec.findings import Findings, describe_kind, show
from wandbsweep.text import join_words, suggest_matches

Groups = tuple[tuple[str, ...], ...]
"""The names of each group's parameters, sorted."""


def list_groups(raw: Any) -> list[list[str]] | None:
    """Return the groups as they are given: a list of lists of names, or the names of one group; None: neither."""
    groups = [raw] if isinstance(raw, list) and raw and all(isinstance(name, str) for name in raw) else raw
    if not isinstance(groups, list):
        return None
    fits = all(isinstance(group, list) and all(isinstance(name, str) for name in group) for group in groups)
    return [list(group) for group in groups] if fits else None


def read_zip(findings: Findings, raw: Any, parameters: Mapping[str, Parameter | None]) -> Groups:
    """Return the groups of parameters that move together.

    Args:
        findings: Collects the violations.
        raw: The value of ``zip``.
        parameters: The parameters, by name; None: it could not be read.
    """
    groups = list_groups(raw)
    if groups is None:
        rule = "but must be a list of groups of parameters: [[model.width, data.batch_size]]"
        findings.refuse("zip", f"{show(raw)} is {describe_kind(raw)}, {rule}")
        return ()
    seen: dict[str, str] = {}
    for index, group in enumerate(groups):
        path = f"zip[{index}]"
        if len(group) < 2:
            findings.refuse(path, f"{show(group)} must name two parameters or more, which then move together")
        for name in group:
            if name in seen:
                where = "the same group" if seen[name] == path else seen[name]
                findings.refuse(path, f"{name} is also in {where}, but a parameter moves with one group only")
            seen.setdefault(name, path)
            if name not in parameters:
                hint = suggest_matches(name, list(parameters))
                findings.refuse(
                    path, f"{name} is not a parameter of this sweep; they are {', '.join(parameters)}{hint}"
                )
        members = [parameters[name] for name in dict.fromkeys(group) if name in parameters]
        _check_members(findings, path, [member for member in members if member])
    return tuple(sorted(tuple(sorted(group)) for group in groups))


def _check_members(findings: Findings, path: str, members: Sequence[Parameter]) -> None:
    no_lists = [member for member in members if member.distribution != "categorical"]
    for member in no_lists:
        rule = f"has no list of equally likely values ({member.distribution}); give it values: [...]"
        findings.refuse(path, f"{member.name} {rule}")
    if no_lists or len(members) < 2:
        return
    lengths = {member.name: len(member.values or ()) for member in members}
    if len(set(lengths.values())) > 1:
        given = join_words([f"{name} has {length} values" for name, length in lengths.items()])
        findings.refuse(path, f"{given}, but lists that move together have the same length")
    first, *others = members
    for other in others:
        if {n: set(map(grid_key, v)) for n, v in other.when} != {n: set(map(grid_key, v)) for n, v in first.when}:
            rule = "have different conditions (when), but parameters that move together exist together"
            findings.refuse(path, f"{first.name} and {other.name} {rule}")


def join_group(parameters: Mapping[str, Parameter], group: Sequence[str]) -> Parameter:
    """Return the one parameter that a group is, whose values are tuples of its members' values."""
    rows = zip(*(parameters[name].values or () for name in group), strict=True)
    return Parameter(group[0], "categorical", values=tuple(rows), when=parameters[group[0]].when)


def list_rows(parameters: Mapping[str, Parameter], group: Sequence[str]) -> list[dict[str, Any]]:
    """Return the values that a group's members have together, each combination once."""
    return [dict(zip(group, row, strict=True)) for row in join_group(parameters, group).grid()]


def draw_together(parameters: Mapping[str, Parameter], groups: Groups, draw: Callable[[], float]) -> dict[str, Any]:
    """Draw a value for each parameter; conditions are not considered.

    Args:
        parameters: The parameters.
        groups: Those that move together.
        draw: Returns a quantile in [0, 1]; it is called once for each parameter.
    """
    quantiles = {name: draw() for name in parameters}
    for group in groups:
        quantiles.update(dict.fromkeys(group, quantiles[group[0]]))
    return {name: parameter.ppf(quantiles[name]) for name, parameter in parameters.items()}


def put_values(
    parameters: Mapping[str, Parameter], groups: Groups, params: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``params`` with the ``given`` values; what is zipped with one of these moves along.

    If several rows of a group have the given values, it stays at its own row if that is one of them.

    Args:
        parameters: The parameters.
        groups: Those that move together.
        params: A configuration.
        given: Some of its values.
    """
    found = {**params, **given}
    for group in groups:
        if not given.keys().isdisjoint(group) and (rows := _find_rows(parameters, group, given)):
            own = {name: found.get(name) for name in group}
            found.update(own if grid_key(own) in map(grid_key, rows) else rows[0])
    return found


def find_zip_fault(parameters: Mapping[str, Parameter], groups: Groups, params: Mapping[str, Any]) -> str:
    """Say which values of a configuration never occur together; empty: all do."""
    for group in groups:
        given = {name: params[name] for name in group if name in params}
        if given and not _find_rows(parameters, group, given):
            return f"{', '.join(f'{name}={value}' for name, value in given.items())} do not occur together (zip)"
    return ""


def _find_rows(
    parameters: Mapping[str, Parameter], group: Sequence[str], given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    named = {name: grid_key(given[name]) for name in group if name in given}
    rows = list_rows(parameters, group)
    return [row for row in rows if all(grid_key(row[name]) == key for name, key in named.items())]
