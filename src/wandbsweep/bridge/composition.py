"""Checks, before anything is launched, that every point of a search space composes with the application."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wandbsweep.bridge.hydra_private import config_exists, group_exists
from wandbsweep.bridge.interpolations import explain_unresolvable, has_interpolation
from wandbsweep.bridge.multirun import Multirun
from wandbsweep.bridge.search_space import make_sample_point
from wandbsweep.bridge.snapshot import open_search_path
from wandbsweep.errors import SpaceError
from wandbsweep.spec.distributions import Parameter, grid_key
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.spec.zipped import list_rows
from wandbsweep.sweep.override_strings import SWEEP_KEY, OverrideSlot, format_overrides, format_value
from wandbsweep.text import suggest_matches

_MAX_COMBINATIONS = 32
"""The most combinations of config groups that are composed, and the most values of a parameter that are tried."""


def check_composition(multirun: Multirun, spec: SweepSpec) -> None:
    """Compose a point under every choice of config groups, and with every parameter that exists under conditions.

    Args:
        multirun: The command.
        spec: What it searches.

    Raises:
        SpaceError: Keys are unknown, choices are missing, or values do not fit their keys' types; it lists them all.
    """
    _check_formats(spec)
    loader = open_search_path(multirun.loader.get_search_path(), multirun.searchpath)
    groups = {name: _list_choices(loader, spec, name) for name in spec.parameters if _is_group(loader, name)}
    composer = _Composer(loader, multirun.config, multirun.list_slots(spec), spec)
    faults: dict[str, None] = {}  # an ordered set
    for choice in _iterate_combinations(_list_axes(spec, {**_list_conditions(spec), **groups})):
        point = make_sample_point(spec, choice)
        chosen = {name: point[name] for name in groups if name in point}
        faults.update(dict.fromkeys(composer.find_faults(point, chosen)))
    if faults:
        raise SpaceError(
            "The search space does not fit the configuration:\n" + "\n".join(f"  - {fault}" for fault in faults)
        )


@dataclass(frozen=True)
class _Composer:
    loader: ConfigLoader
    config: DictConfig
    slots: Sequence[OverrideSlot]
    spec: SweepSpec

    def find_faults(self, point: Mapping[str, Any], chosen: Mapping[str, Any]) -> Iterator[str]:
        """Yield what keeps ``point`` from composing under the ``chosen`` config groups."""
        under = f" with {', '.join(f'{name}={value}' for name, value in chosen.items())}" if chosen else ""
        try:
            composed = self._compose(chosen)
            added = {slot["parameter"] for slot in self.slots if slot.get("key", "").startswith("+")}
            unknown = [name for name in point if name not in {*chosen, *added} and not has_key(composed, name)]
            for name in unknown:
                yield self._describe_unknown(name, composed, under)
            if not unknown:
                # Those of groups are names of files, whatever the type of the key that the files fill.
                parameters = {
                    name: p for name, p in self.spec.parameters.items() if name in point.keys() - chosen.keys()
                }
                yield from find_misfits(self._compose(point), parameters)
        except (HydraException, OmegaConfBaseException) as error:
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            yield " ".join(f"{error!s}{cause}{under}".split())

    def _compose(self, params: Mapping[str, Any]) -> DictConfig:
        return self.loader.load_sweep_config(self.config, format_overrides(self.slots, params))

    def _describe_unknown(self, name: str, composed: DictConfig, under: str) -> str:
        is_parameter = name in self.spec.parameters
        subject = f"parameters.{name}:" if is_parameter else f"repeats.parameter: {name}"
        hint = suggest_matches(name, list_keys(composed), most=1, cutoff=0.7)
        return f"{subject} is not a key of the application's configuration{under}{hint}"


def find_misfits(composed: DictConfig, parameters: Mapping[str, Parameter]) -> Iterator[str]:
    """Yield the values of ``parameters`` that do not fit the types of their keys in the ``composed`` configuration."""
    for name, parameter in parameters.items():
        if not has_key(composed, name):
            continue  # a config group
        for value in (_list_values(parameter) or [parameter.ppf(u) for u in (0.25, 0.75)])[:_MAX_COMBINATIONS]:
            try:
                OmegaConf.update(composed, name, value, merge=False)
            except OmegaConfBaseException as error:
                reason = str(error).partition("\n")[0]
                yield f"parameters.{name}: {value!r} does not fit the configuration: {reason}"
                continue
            if has_interpolation(value) and (reason := explain_unresolvable(composed, name)):
                yield f"parameters.{name}: {value!r} cannot be resolved: {reason}"


def _check_formats(spec: SweepSpec) -> None:
    """Raise SpaceError if Hydra's grammar cannot express one of the values."""
    listed: dict[str, Sequence[Any]] = {}
    for name, parameter in spec.parameters.items():
        listed[f"parameters.{name}"] = parameter.values or [parameter.value]
    if spec.repeats:
        listed["repeats.values"] = spec.repeats.values
    for path, choices in listed.items():
        for value in choices:
            try:
                format_value(json.loads(json.dumps(value)))  # as the storage returns it, with text as keys
            except SpaceError as error:
                raise SpaceError(f"{path}: {error}") from None


def _list_conditions(spec: SweepSpec) -> dict[str, list[Any]]:
    """Return the values to try of each parameter that conditions depend on. Of a range: its ends and named values."""
    found: dict[str, list[Any]] = {}
    for parent, values in itertools.chain.from_iterable(parameter.when for parameter in spec.parameters.values()):
        parameter = spec.parameters[parent]
        listed = _list_values(parameter) or [parameter.ppf(0.0), parameter.ppf(1.0)]
        found.setdefault(parent, []).extend([*values, *listed])
    return {name: list({grid_key(value): value for value in values}.values()) for name, values in found.items()}


def _list_axes(spec: SweepSpec, choices: Mapping[str, Sequence[Any]]) -> list[list[dict[str, Any]]]:
    """Return the ``choices`` as lists of configurations, of which one of each list makes a combination."""
    axes = {name: [{name: value} for value in values] for name, values in choices.items()}
    for group in spec.zip:
        if members := [name for name in group if name in axes]:
            rows = [{name: row[name] for name in members} for row in list_rows(spec.parameters, group)]
            axes = {name: axis for name, axis in axes.items() if name not in members} | {members[0]: rows}
    return list(axes.values())


def _iterate_combinations(axes: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield all combinations. If there are too many, yield each choice once, with the first of the others."""
    if math.prod(map(len, axes)) <= _MAX_COMBINATIONS:
        yield from (_join(combination) for combination in itertools.product(*axes))
        return
    first = _join(axis[0] for axis in axes)
    yield first
    for axis in axes:
        yield from ({**first, **choice} for choice in axis[1:_MAX_COMBINATIONS])


def _join(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def _list_choices(loader: ConfigLoader, spec: SweepSpec, name: str) -> list[Any]:
    """Return the values of a parameter that chooses from a config group. Raises SpaceError if one does not exist."""
    group = name.partition("@")[0]
    values = _list_values(spec.parameters[name])
    if values is None:
        raise SpaceError(
            f"parameters.{name}: has a range, but {group!r} is a config group; list values, of its choices "
            f"{', '.join(loader.get_group_options(group))}"
        )
    # Hydra takes a list of choices as well.
    unknown = [
        value
        for value in values
        if not all(_is_choice(loader, group, c) for c in (value if isinstance(value, list) else [value]))
    ]
    if unknown:
        numbers = [value for value in unknown if isinstance(value, int | float)]
        quotes = f" (a choice is text: write '{numbers[0]}' in quotes)" if numbers else ""
        raise SpaceError(
            f"parameters.{name}: {', '.join(map(repr, unknown))} is not a choice of the config group {group!r}{quotes}"
            f"; its choices are {', '.join(loader.get_group_options(group))}"
        )
    return values


def _is_choice(loader: ConfigLoader, group: str, choice: Any) -> bool:
    return choice is None or (isinstance(choice, str) and config_exists(loader, f"{group}/{choice}"))


def _is_group(loader: ConfigLoader, name: str) -> bool:
    return group_exists(loader, name.partition("@")[0])


def _list_values(parameter: Parameter) -> list[Any] | None:
    """Return a parameter's values. None: it has a range."""
    if parameter.distribution == "constant":
        return [parameter.value]
    return None if parameter.values is None else list(parameter.values)


def has_key(config: Any, name: str) -> bool:
    """Return whether the application's configuration has a key, by its dotted name."""
    parent, _, leaf = name.rpartition(".")
    node = OmegaConf.select(config, parent, throw_on_missing=False) if parent else config
    if isinstance(node, ListConfig):
        return leaf.isdecimal() and int(leaf) < len(node)
    # Of keys(), because `in` is false for a key whose value is missing (???).
    return isinstance(node, DictConfig) and (leaf in node.keys() or not OmegaConf.is_struct(node))  # noqa: SIM118


def list_keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the application's keys."""
    keys: Any = config.keys()  # see above
    for key in keys:
        if not prefix and key in ("hydra", SWEEP_KEY):
            continue
        yield f"{prefix}{key}"
        if not OmegaConf.is_interpolation(config, key) and not OmegaConf.is_missing(config, key):
            node = config[key]
            if isinstance(node, DictConfig):
                yield from list_keys(node, f"{prefix}{key}.")
