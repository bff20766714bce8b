"""A sweep's space: read from the configuration and the command line, and checked against the application."""

from __future__ import annotations

import itertools
import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wandbsweep.bridge.overrides import CommandLine
from wandbsweep.errors import SpaceError, SweepConfigError
from wandbsweep.settings import Settings
from wandbsweep.spec.conditions import select_active
from wandbsweep.spec.distributions import Parameter, grid_key
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.methods import find_method
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep import directory as sweepdir
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.sweep.override_strings import SWEEP_KEY, format_overrides, format_value

log = logging.getLogger(__name__)

_MOST_CHOICES = 32  # combinations of config groups that are composed before launching


def sweep_node(config: DictConfig) -> dict[str, Any]:
    """The application's key ``sweep``, unresolved; empty where it has none, or means something else by it.

    It is a sweep configuration if it has ``parameters``, or one of W&B's methods, so that a slip in the former is told.
    """
    node = config._get_node(SWEEP_KEY) if SWEEP_KEY in config else None
    raw = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else None
    if not isinstance(raw, dict):
        raw = {}
    if "parameters" in raw or find_method(raw.get("method")):
        return {str(key): value for key, value in raw.items()}
    chosen = config.hydra.runtime.choices.get(SWEEP_KEY)
    if chosen is not None and not raw:
        raise SweepConfigError([f"sweep={chosen}: is empty, but must be a mapping with method and parameters"])
    return {}


def has_own_key(config: DictConfig) -> bool:
    """Whether the application means something of its own by the key ``sweep``."""
    return SWEEP_KEY in config and config._get_node(SWEEP_KEY) is not None and not sweep_node(config)


def read_space(
    config: DictConfig, settings: Settings, line: CommandLine
) -> tuple[SweepSpec, Mapping[str, Sequence[Any]] | None]:
    """The sweep configuration with the command line laid over it; with it the axes, where there is none but lists."""
    overlay = dict(settings.sweep)
    merged = _laid_over(sweep_node(config), overlay)
    if not merged and line.parameters.keys() == line.lists.keys():
        return sweepdir.make_plain_grid(line.lists), line.lists
    if not merged:
        interval = next(iter(line.parameters.keys() - line.lists.keys()))
        raise SweepConfigError(
            [
                f"method: is required, since {interval} is an interval, which no grid can end; add "
                "+hydra.sweeper.sweep.method=random +hydra.sweeper.sweep.run_cap=20, or sweep=NAME"
            ]
        )
    given = merged.get("parameters")
    if isinstance(given, dict):
        flat = {name: p for name, p in _flat(given) if name not in line.fixed}
        merged["parameters"] = _under({**flat, **_as_conditional(line.parameters, flat)}, line)
        merged = _with_fitting_priors(merged, line.fixed)
        if given and not merged["parameters"]:
            raise SpaceError(
                f"The command line sets every parameter of the sweep ({', '.join(n for n, _ in _flat(given))}), "
                "so there is nothing to search; run it without -m."
            )
    elif line.parameters:
        merged["parameters"] = line.parameters
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spec = load_sweep(merged)
    for warning in caught:
        log.warning("%s", warning.message)
    if spec.repeats and spec.repeats.parameter in {*line.fixed, *line.parameters}:
        raise SpaceError(
            f"{spec.repeats.parameter} is what the sweep's `repeats` sets for each run; set it there, as "
            f"hydra.sweeper.sweep.repeats.values=[0,1], or leave it off the command line."
        )
    return spec, None


def _laid_over(base: dict[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """``overlay``'s keys over ``base``'s, deeply; but a parameter's law is replaced where it is given a new one."""
    merged = dict(base)
    for key, value in overlay.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping):
            new_law = key != "repeats" and not {"value", "values", "distribution"}.isdisjoint(value)
            kept = {k: v for k, v in below.items() if k == "when"} if new_law else below
            merged[key] = _laid_over(kept, value)
        else:
            merged[key] = value
    return merged


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, parameter in parameters.items():
        if isinstance(parameter, Mapping) and isinstance(parameter.get("parameters"), Mapping):
            yield from _flat(parameter["parameters"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", parameter


def _as_conditional(parameters: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, Any]:
    """The command line's ``parameters`` under the conditions of those in the ``file`` that they replace."""
    conditions = {name: p["when"] for name, p in file.items() if isinstance(p, Mapping) and "when" in p}
    return {name: {**p, "when": conditions[name]} if name in conditions else p for name, p in parameters.items()}


def _under(parameters: Mapping[str, Any], line: CommandLine) -> dict[str, Any]:
    """``parameters`` where the command line fixes others, or lists fewer values: conditions on those are settled."""
    choices = {**{name: [value] for name, value in line.fixed.items()}, **line.lists}
    settled, dropped = {}, set[str]()
    for name, parameter in parameters.items():
        when = parameter.get("when") if isinstance(parameter, Mapping) else None
        if not isinstance(when, Mapping) or choices.keys().isdisjoint(when):
            settled[name] = parameter
            continue
        left = {
            parent: _left(values, choices[parent]) if parent in choices else values for parent, values in when.items()
        }
        if all(left[parent] for parent in when if parent in choices):
            kept = {parent: values for parent, values in left.items() if parent not in line.fixed}
            rest = {key: value for key, value in parameter.items() if key != "when"}
            settled[name] = {**rest, "when": kept} if kept else rest
        else:
            dropped.add(name)
    return _without(settled, dropped)


def _left(values: Any, choices: Sequence[Any]) -> list[Any]:
    """Those of a condition's ``values`` that its parameter can still have."""
    return [v for v in (values if isinstance(values, list) else [values]) if grid_key(v) in map(grid_key, choices)]


def _without(parameters: Mapping[str, Any], dropped: set[str]) -> dict[str, Any]:
    """``parameters`` without those that exist only under some that are ``dropped``, and so never."""
    left = dict(parameters)
    while dropped:
        conditions = {name: p["when"] for name, p in left.items() if isinstance(p, Mapping) and "when" in p}
        dropped = {n for n, when in conditions.items() if isinstance(when, Mapping) and not dropped.isdisjoint(when)}
        for name in dropped:
            del left[name]
    return left


def _with_fitting_priors(merged: dict[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The configurations to try first that have the ``fixed`` values, without them."""
    prior = merged.get("prior")
    if not isinstance(prior, Mapping) or not isinstance(given := prior.get("configurations"), list):
        return merged
    fitting = [
        {name: value for name, value in configuration.items() if name not in fixed}
        for configuration in given
        if isinstance(configuration, Mapping)
        and all(grid_key(value) == grid_key(fixed[name]) for name, value in configuration.items() if name in fixed)
    ]
    if not fixed:
        return merged
    left = {**prior, "configurations": [configuration for configuration in fitting if configuration]}
    return {**merged, "prior": left if left["configurations"] or left.get("sweeps") else None}


def middle(spec: SweepSpec, chosen: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Some point of the space with the values ``chosen``, to try whether it composes."""
    point = {name: parameter.ppf(0.5) for name, parameter in spec.parameters.items()}
    repeated = {spec.repeats.parameter: spec.repeats.values[0]} if spec.repeats else {}
    return {**select_active(spec.parameters, {**point, **(chosen or {})}), **repeated}


def refuse_endless(spec: SweepSpec, settings: Settings) -> None:
    target = spec.metric is not None and spec.metric.target is not None
    bounded = spec.method_info.finite or spec.run_cap or settings.count or target
    if not bounded and not settings.endless:
        raise SweepConfigError(
            [
                f"run_cap: is required, since nothing else would end this {spec.method} sweep; add "
                "++sweep.run_cap=50 (or run_cap: 50 to its file), hydra.sweeper.count=10 (trials per agent), a "
                "metric.target, or hydra.sweeper.endless=true"
            ]
        )


def check_composes(loader: ConfigLoader, config: DictConfig, plan: LaunchRecord, spec: SweepSpec) -> None:
    """Compose a point under every choice of config groups, and with every parameter that exists under conditions.

    No key may be unknown, under none of them.
    """
    _check_written(spec)
    groups = {name: _choices(loader, spec, name) for name in spec.parameters if _is_group(loader, name)}
    faults: dict[str, None] = {}
    for choice in _combinations({**_conditions(spec), **groups}):
        point = middle(spec, choice)
        chosen = {name: point[name] for name in groups if name in point}
        faults.update(dict.fromkeys(_faults(loader, config, plan, spec, point, chosen)))
    if faults:
        raise SpaceError(
            "The search space does not fit the configuration:\n" + "\n".join(f"  - {fault}" for fault in faults)
        )


def _conditions(spec: SweepSpec) -> dict[str, list[Any]]:
    """By name, the values of the parameters that conditions rest on; of integers those named, and the ends."""
    found: dict[str, list[Any]] = {}
    for parent, values in itertools.chain.from_iterable(parameter.when for parameter in spec.parameters.values()):
        law = spec.parameters[parent]
        listed = [law.value] if law.distribution == "constant" else law.values or [law.ppf(0.0), law.ppf(1.0)]
        found.setdefault(parent, []).extend([*values, *listed])
    return {name: list({grid_key(value): value for value in values}.values()) for name, values in found.items()}


def _combinations(choices: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """All of them; where they are too many, each choice once beside the first of the others."""
    if math.prod(map(len, choices.values())) <= _MOST_CHOICES:
        for combination in itertools.product(*choices.values()):
            yield dict(zip(choices, combination, strict=True))
        return
    first = {name: values[0] for name, values in choices.items()}
    yield first
    for name, values in choices.items():
        yield from ({**first, name: value} for value in values[1:_MOST_CHOICES])


def _check_written(spec: SweepSpec) -> None:
    """Every value must have a form in Hydra's grammar."""
    listed: dict[str, Sequence[Any]] = {}
    for name, parameter in spec.parameters.items():
        listed[f"parameters.{name}"] = parameter.values or [parameter.value]
    if spec.repeats:
        listed["repeats.values"] = spec.repeats.values
    for path, choices in listed.items():
        for value in choices:
            try:
                format_value(json.loads(json.dumps(value)))  # as it comes out of the store: keys are text there
            except SpaceError as error:
                raise SpaceError(f"{path}: {error}") from None


def _choices(loader: ConfigLoader, spec: SweepSpec, name: str) -> list[Any]:
    """The values of a parameter that chooses from a config group; all of them must be there."""
    group = name.partition("@")[0]
    values = _listed(spec.parameters[name]) or []
    unknown = [value for value in values if not all(_is_choice(loader, group, c) for c in _several(value))]
    if unknown:
        numbers = [value for value in unknown if isinstance(value, int | float)]
        quotes = f" (a choice is text: write '{numbers[0]}' in quotes)" if numbers else ""
        raise SpaceError(
            f"parameters.{name}: {', '.join(map(repr, unknown))} is no choice of the config group {group!r}{quotes}; "
            f"its choices are {', '.join(loader.get_group_options(group))}"
        )
    return values


def _listed(parameter: Parameter) -> list[Any] | None:
    if parameter.distribution == "constant":
        return [parameter.value]
    return None if parameter.values is None else list(parameter.values)


def _several(value: Any) -> list[Any]:
    """Hydra takes lists of choices as well."""
    return value if isinstance(value, list) else [value]


def _is_choice(loader: ConfigLoader, group: str, choice: Any) -> bool:
    repository: Any = getattr(loader, "repository")  # noqa: B009  (of Hydra's only loader, not of its abstract class)
    return choice is None or (isinstance(choice, str) and repository.config_exists(f"{group}/{choice}"))


def _faults(
    loader: ConfigLoader,
    config: DictConfig,
    plan: LaunchRecord,
    spec: SweepSpec,
    point: Mapping[str, Any],
    chosen: Mapping[str, Any],
) -> Iterator[str]:
    """What keeps ``point`` from composing: keys that do not exist under the ``chosen`` groups, or Hydra's reason."""
    under = f" with {', '.join(f'{name}={value}' for name, value in chosen.items())}" if chosen else ""
    try:
        composed = loader.load_sweep_config(config, format_overrides(plan.overrides.slots, chosen))
        added = {slot["parameter"] for slot in plan.overrides.slots if slot.get("key", "").startswith("+")}
        unknown = [name for name in point if name not in chosen and name not in added and not _has(composed, name)]
        for name in unknown:
            close = get_close_matches(name, _keys(composed), 1, cutoff=0.7)
            hint = f"; did you mean {close[0]}?" if close else ""
            path = f"parameters.{name}" if name in spec.parameters else "repeats.parameter"
            shown = "" if name in spec.parameters else f"{name} "
            yield f"{path}: {shown}is no key of the application's configuration{under}{hint}"
        if not unknown:
            whole = loader.load_sweep_config(config, format_overrides(plan.overrides.slots, point))
            yield from misfits(whole, {name: spec.parameters[name] for name in point if name in spec.parameters})
    except (HydraException, OmegaConfBaseException) as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        yield " ".join(f"{error!s}{cause}{under}".split())


def _is_group(loader: ConfigLoader, name: str) -> bool:
    repository: Any = getattr(loader, "repository")  # noqa: B009  (see above)
    return bool(repository.group_exists(name.partition("@")[0]))


def misfits(composed: DictConfig, parameters: Mapping[str, Parameter]) -> Iterator[str]:
    """The values of ``parameters`` that the types of their keys do not take."""
    for name, parameter in parameters.items():
        if not _has(composed, name):
            continue  # a config group
        for value in (_listed(parameter) or [parameter.ppf(u) for u in (0.25, 0.75)])[:_MOST_CHOICES]:
            try:
                OmegaConf.update(composed, name, value, merge=False)
            except OmegaConfBaseException as error:
                reason = str(error).partition("\n")[0]
                yield f"parameters.{name}: {value!r} does not fit the configuration: {reason}"


def _has(config: Any, name: str) -> bool:
    parent, _, leaf = name.rpartition(".")
    node = OmegaConf.select(config, parent, throw_on_missing=False) if parent else config
    if isinstance(node, ListConfig):
        return leaf.isdecimal() and int(leaf) < len(node)
    return isinstance(node, DictConfig) and (leaf in node._content or not OmegaConf.is_struct(node))  # type: ignore[operator]


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for key, node in config.items_ex(resolve=False):
        if prefix or key != "hydra":
            key = str(key)
            yield f"{prefix}{key}"
            if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
                yield from _keys(node, f"{prefix}{key}.")
