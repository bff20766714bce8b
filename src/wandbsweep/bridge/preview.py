"""Composes example trials of a multirun command, and reads what its launcher would be asked for. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wandbsweep.bridge.multirun import Multirun
from wandbsweep.bridge.search_space import read_sweep_key
from wandbsweep.bridge.snapshot import copy_config, open_search_path, set_key
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.override_strings import SWEEP_KEY, format_overrides

_Node = tuple[str, Any]
"""A leaf of a configuration: its unresolved text, and its value as far as it can be resolved."""


@dataclass(frozen=True)
class ComposedTrial:
    """A trial's overrides, and its configuration."""

    overrides: Sequence[str]
    changes: Mapping[str, tuple[Any, Any]]
    """By dotted key: the value without the trial's parameters, and the value with them. ``ABSENT``: there is none."""
    config: Mapping[str, Any]
    """By dotted key, the whole configuration of the application."""


ABSENT = object()


def compose_trials(multirun: Multirun, spec: SweepSpec, trials: Sequence[Mapping[str, Any]]) -> list[ComposedTrial]:
    """Compose trials, and compare each with the configuration that the command line alone gives.

    Args:
        multirun: The command.
        spec: What it searches.
        trials: The trials' parameters.

    Returns:
        The trials. If the command line alone does not compose, because a config group is mandatory, everything that
        the first trial has and the others change is compared with the first one.
    """
    loader = open_search_path(multirun.loader.get_search_path(), multirun.searchpath)
    slots = multirun.list_slots(spec)
    stripped = SWEEP_KEY if read_sweep_key(multirun.config) else ""

    def compose(params: Mapping[str, Any]) -> dict[str, _Node]:
        config = loader.load_sweep_config(multirun.config, format_overrides(slots, params))
        return {key: node for key, node in _list_leaves(config) if key.partition(".")[0] not in ("hydra", stripped)}

    try:
        base = compose({})
    except (HydraException, OmegaConfBaseException):
        base = compose(trials[0]) if trials else {}
    found = []
    for params in trials:
        config = compose(params)
        keys = list(dict.fromkeys([*config, *base]))
        changes = {
            key: (_get_value(base, key), _get_value(config, key))
            for key in keys
            if repr(base.get(key)) != repr(config.get(key))
        }
        plain = {key: value for key, (_, value) in config.items()}
        found.append(ComposedTrial(format_overrides(slots, params), changes, plain))
    return found


def read_launcher(config: DictConfig, directory: Path) -> dict[str, Any]:
    """Return what ``hydra.launcher`` sets for a sweep in ``directory``, as far as it resolves outside of a job."""
    config = copy_config(config)
    set_key(config, "hydra.sweep.dir", str(directory))
    found: dict[str, Any] = {}
    for key in config.hydra.launcher:
        if key == "_target_":
            continue
        with suppress(Exception):  # an application's resolver may raise anything outside of a run
            value = config.hydra.launcher[key]
            found[str(key)] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    return {key: value for key, value in found.items() if value not in (None, {}, [])}


def _list_leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, _Node]]:
    """Yield the leaves of a configuration by dotted key. A list is one leaf, and so is an empty mapping."""
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    for key in raw:
        name = f"{prefix}{key!s}"
        value = raw[key]
        if isinstance(value, dict) and value:
            yield from _list_leaves(config[key], f"{name}.")
            continue
        with suppress(Exception):  # it is missing, or an application's resolver needs a run
            value = config[key]
            if isinstance(value, DictConfig | ListConfig):
                value = OmegaConf.to_container(value, resolve=True)
        yield name, (repr(raw[key]), value)


def _get_value(config: Mapping[str, _Node], key: str) -> Any:
    return config[key][1] if key in config else ABSENT
