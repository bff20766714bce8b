"""A sweep's search space: the application's sweep configuration with the command line laid over it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wandbsweep.bridge.interpolations import resolve_sweep_config
from wandbsweep.bridge.overrides import CommandLine
from wandbsweep.errors import SpaceError, SweepConfigError
from wandbsweep.settings import Settings
from wandbsweep.spec.conditions import select_active
from wandbsweep.spec.constraints import list_names, substitute
from wandbsweep.spec.distributions import grid_key
from wandbsweep.spec.load import load_sweep, require_end
from wandbsweep.spec.methods import find_method
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.spec.zipped import list_groups, put_values
from wandbsweep.sweep.directory import make_plain_grid
from wandbsweep.sweep.override_strings import SWEEP_KEY
from wandbsweep.text import join_words

log = logging.getLogger(__name__)

_LIST_KEYS = {"zip", "order"}
"""What a sweep configuration may say of comma lists on the command line, which are a grid without a ``method``."""


def read_sweep_key(config: DictConfig) -> dict[str, Any]:
    """Return the application's key ``sweep``; empty if there is none, or it is no sweep configuration.

    It is a sweep configuration if it has ``parameters``, or a known ``method``, so that a misspelt ``parameters`` is
    reported, or has nothing but ``zip`` and ``order``. Raises SweepConfigError if it cannot be resolved.
    """
    node = None
    if SWEEP_KEY in config and not OmegaConf.is_interpolation(config, SWEEP_KEY):
        node = config[SWEEP_KEY]
    raw = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else {}
    assert isinstance(raw, dict)
    # For comma lists on the command line.
    is_zip = raw.keys() <= _LIST_KEYS and (isinstance(raw.get("zip"), list) or raw.get("order") == "random")
    if isinstance(node, DictConfig) and ("parameters" in raw or find_method(raw.get("method")) or is_zip):
        return resolve_sweep_config(node)
    chosen = config.hydra.runtime.choices.get(SWEEP_KEY)
    if chosen is not None and not raw:
        raise SweepConfigError([f"sweep={chosen}: is empty, but must be a mapping with method and parameters"])
    return {}


def read_space(
    config: DictConfig, settings: Settings, line: CommandLine
) -> tuple[SweepSpec, Mapping[str, Sequence[Any]] | None]:
    """Read what a multirun command searches.

    Args:
        config: The multirun's configuration.
        settings: The sweeper's settings, whose ``sweep`` is laid over the key of that name.
        line: The command line, which is laid over both.

    Returns:
        The sweep configuration, and, if comma lists on the command line are all of it, their values.

    Raises:
        SweepConfigError: The configuration is not valid.
        SpaceError: The command line leaves nothing to search, or contradicts the configuration.
    """
    merged = _merge(read_sweep_key(config), settings.sweep)
    if not merged and line.parameters.keys() == line.lists.keys():
        return make_plain_grid(line.lists), line.lists
    if merged.keys() <= _LIST_KEYS and line.lists and line.parameters.keys() == line.lists.keys():
        merged = {"method": "grid", **merged}  # comma lists that move together, or in a random order
    if not merged:
        interval = next(iter(line.parameters.keys() - line.lists.keys()))
        raise SweepConfigError(
            [
                f"method: is required, since {interval} is an interval, which no grid can end; add "
                "+hydra.sweeper.sweep.method=random +hydra.sweeper.sweep.run_cap=20, or sweep=NAME"
            ]
        )
    spec = _load_and_log(_add_command_line(merged, line))
    if spec.repeats and spec.repeats.parameter in {*line.fixed, *line.parameters}:
        raise SpaceError(
            f"{spec.repeats.parameter} is what the sweep's `repeats` sets for each run; set it there, with "
            f"hydra.sweeper.sweep.repeats.values=[0,1], or leave it off the command line."
        )
    return spec, None


def refuse_endless(spec: SweepSpec, settings: Settings) -> None:
    """Raise SweepConfigError if nothing would end the sweep, unless the user allows that."""
    if not (settings.count or settings.endless):
        require_end(
            spec,
            "add ++sweep.run_cap=50 (or run_cap: 50 to its file), hydra.sweeper.count=10 (trials per agent), a "
            "metric.target, or hydra.sweeper.endless=true",
        )


def make_sample_point(spec: SweepSpec, chosen: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a point of the space, with the values ``chosen``, that shows whether trials compose."""
    point = {name: parameter.ppf(0.5) for name, parameter in spec.parameters.items()}
    repeated = {spec.repeats.parameter: spec.repeats.values[0]} if spec.repeats else {}
    point = put_values(spec.parameters, spec.zip, point, chosen or {})
    return {**select_active(spec.parameters, point), **repeated}


def _load_and_log(config: Mapping[str, Any]) -> SweepSpec:
    """Load a sweep configuration and log its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spec = load_sweep(config)
    for warning in caught:
        log.warning("%s", warning.message)
    return spec


def _merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``overlay`` into ``base``, deeply. A parameter with a new distribution keeps nothing of the old one."""
    merged = dict(base)
    for key, value in overlay.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping):
            is_replaced = key != "repeats" and not {"value", "values", "distribution"}.isdisjoint(value)
            kept = {k: v for k, v in below.items() if k == "when"} if is_replaced else below
            merged[key] = _merge(kept, value)
        else:
            merged[key] = value
    return merged


def _add_command_line(merged: dict[str, Any], line: CommandLine) -> dict[str, Any]:
    """Lay the command line over a sweep configuration: remove its fixed keys, and add or replace its parameters."""
    given = merged.get("parameters")
    groups = list_groups(merged.get("zip")) or []
    # A range that is zipped is the list of its values.
    zipped = {name: {"values": line.lists[name]} for group in groups for name in group if name in line.lists}
    added = {**line.parameters, **zipped}
    if not isinstance(given, dict):
        return {**merged, "parameters": added} if added else merged
    every = dict(_flatten(given))
    flat = {name: parameter for name, parameter in every.items() if name not in line.fixed}
    parameters = _simplify_conditions({**flat, **_keep_conditions(added, flat)}, line)
    if groups:
        merged = {**merged, "zip": _fix_zip(groups, {**every, **parameters}, parameters, line.fixed)}
    if given and not parameters:
        raise SpaceError(
            f"The command line sets every parameter of the sweep ({', '.join(name for name, _ in _flatten(given))}), "
            "so there is nothing to search; run it without -m (with hydra.mode=RUN if the configuration has a mode)."
        )
    dropped = flat.keys() - parameters.keys()
    return _fix_constraints(_filter_priors({**merged, "parameters": parameters}, line.fixed), line.fixed, dropped)


def _flatten(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested parameters by their dotted names."""
    for name, parameter in parameters.items():
        if isinstance(parameter, Mapping) and isinstance(parameter.get("parameters"), Mapping):
            yield from _flatten(parameter["parameters"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", parameter


def _keep_conditions(parameters: Mapping[str, Any], replaced: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``parameters`` under the conditions (``when``) of those of the same name that they replace."""
    conditions = {name: p["when"] for name, p in replaced.items() if isinstance(p, Mapping) and "when" in p}
    return {name: {**p, "when": conditions[name]} if name in conditions else p for name, p in parameters.items()}


def _simplify_conditions(parameters: Mapping[str, Any], line: CommandLine) -> dict[str, Any]:
    """Adapt conditions on parameters that the command line fixes, or for which it lists fewer values.

    A condition that always holds is dropped; a parameter whose condition never holds is dropped with it, and so are
    those that depend on that parameter.
    """
    choices = {**{name: [value] for name, value in line.fixed.items()}, **line.lists}
    kept: dict[str, Any] = {}
    dropped: set[str] = set()
    for name, parameter in parameters.items():
        when = parameter.get("when") if isinstance(parameter, Mapping) else None
        if not isinstance(when, Mapping) or choices.keys().isdisjoint(when):
            kept[name] = parameter
            continue
        possible = {
            parent: _filter_values(values, choices[parent]) if parent in choices else values
            for parent, values in when.items()
        }
        if all(possible[parent] for parent in when if parent in choices):
            open_conditions = {parent: values for parent, values in possible.items() if parent not in line.fixed}
            rest = {key: value for key, value in parameter.items() if key != "when"}
            kept[name] = {**rest, "when": open_conditions} if open_conditions else rest
        else:
            dropped.add(name)
    return _drop_dependents(kept, dropped)


def _filter_values(values: Any, choices: Sequence[Any]) -> list[Any]:
    """Return those of a condition's ``values`` that are among the ``choices``."""
    possible = set(map(grid_key, choices))
    return [value for value in (values if isinstance(values, list) else [values]) if grid_key(value) in possible]


def _drop_dependents(parameters: Mapping[str, Any], dropped: set[str]) -> dict[str, Any]:
    """Return ``parameters`` without those whose conditions need a ``dropped`` one, directly or through others."""
    left = dict(parameters)
    while dropped:
        conditions = {name: p["when"] for name, p in left.items() if isinstance(p, Mapping) and "when" in p}
        dropped = {n for n, when in conditions.items() if isinstance(when, Mapping) and not dropped.isdisjoint(when)}
        for name in dropped:
            del left[name]
    return left


def _fix_zip(
    groups: Sequence[Sequence[str]],
    every: Mapping[str, Any],
    parameters: dict[str, Any],
    fixed: Mapping[str, Any],
) -> list[list[str]] | None:
    """Return the groups that are left of a sweep's ``zip``: what moves with a fixed value keeps its values there.

    Args:
        groups: The groups as they are given.
        every: All parameters, also those that are fixed.
        parameters: Those that are left; the values of zipped ones are replaced.
        fixed: The values that the command line fixes.

    Raises:
        SpaceError: A fixed value is none of its parameter's.
    """
    left = []
    for group in groups:
        lists = {name: every[name].get("values") for name in group if isinstance(every.get(name), Mapping)}
        named = {name: fixed[name] for name in group if name in fixed and name in lists}
        moving = [name for name in group if name in parameters or name not in every]
        if named and moving:
            # Lists of other lengths, or none at all, are left as they are, and refused when they are read.
            if all(isinstance(own, list) for own in lists.values()) and len({len(own) for own in lists.values()}) == 1:
                length = len(next(iter(lists.values())))
                kept = [i for i in range(length) if all(grid_key(lists[n][i]) == grid_key(v) for n, v in named.items())]
                if not kept:
                    shown = ", ".join(f"{name}={value}" for name, value in named.items())
                    rows = ", ".join(str(tuple(lists[n][i] for n in named)) for i in range(length))
                    raise SpaceError(
                        f"{shown}: {join_words(list(group))} move together (zip), but none of their values is this "
                        f"one; they are {rows}. Fix {join_words(moving)} as well, or choose one of these."
                    )
                for name in moving:
                    parameters[name] = {**parameters[name], "values": [lists[name][i] for i in kept]}
            else:
                moving = list(group)
        if len(moving) > 1 or (moving and not named and len(moving) == len(group)):
            left.append(moving)
    return left or None


def _fix_constraints(merged: dict[str, Any], fixed: Mapping[str, Any], dropped: Collection[str]) -> dict[str, Any]:
    """Put the ``fixed`` values into the constraints, and leave out those on ``dropped`` parameters."""
    given = merged.get("constraints")
    if not isinstance(given, list):
        return merged
    texts = [text for text in given if not (isinstance(text, str) and list_names(text, dropped))]
    return {**merged, "constraints": [substitute(text, fixed) if isinstance(text, str) else text for text in texts]}


def _filter_priors(merged: dict[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the prior configurations that have the ``fixed`` values, and expected values, without those parameters."""
    prior = merged.get("prior")
    if not fixed or not isinstance(prior, Mapping):
        return merged
    if isinstance(expect := prior.get("expect"), Mapping):
        prior = {**prior, "expect": {name: value for name, value in expect.items() if name not in fixed}}
    if not isinstance(given := prior.get("configurations", []), list):
        return merged
    fitting = [
        {name: value for name, value in configuration.items() if name not in fixed}
        for configuration in given
        if isinstance(configuration, Mapping)
        and all(grid_key(value) == grid_key(fixed[name]) for name, value in configuration.items() if name in fixed)
    ]
    kept = {**prior, "configurations": [configuration for configuration in fitting if configuration]}
    return {**merged, "prior": kept if any(kept.get(key) for key in ("configurations", "sweeps", "expect")) else None}
