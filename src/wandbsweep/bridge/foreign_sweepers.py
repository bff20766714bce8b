"""Projects of other sweepers: the space in their ``hydra.sweeper``, and what its other settings are called here.

Hydra's basic sweeper and its Optuna, Ax and Nevergrad sweepers are known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wandbsweep.bridge.hydra_private import get_replaced_sweeper
from wandbsweep.bridge.snapshot import read_hydra_overrides
from wandbsweep.errors import SpaceError
from wandbsweep.settings import Settings
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import OUTPUTS
from wandbsweep.sweep.override_strings import format_value
from wandbsweep.trial import is_number

_SAMPLER_GROUP = "hydra/sweeper/sampler"
_OPTUNA_TRIALS = 20  # the default of n_trials
_OBJECTIVE = "objective"

Ours = Mapping[str, Any]
"""Our settings that a foreign setting stands for: values by their keys below ``hydra.``; empty: none."""


# -- The space ---------------------------------------------------------------------------------------------------------


def read_foreign_space(config: DictConfig) -> list[str]:
    """Return the space that ``hydra.sweeper`` of the multirun's ``config`` holds, as overrides.

    Raises SpaceError if it holds something that no override can express.
    """
    sweeper = config.hydra.sweeper
    if sweeper.params is None and sweeper.search_space is not None:  # as the Optuna sweeper does
        return _format_space("search_space", sweeper.search_space, _format_space_entry)
    return [
        *_format_space("params", sweeper.params, _format_space_entry),
        *_format_space("ax_config.params", _select(sweeper, "ax_config.params"), _format_space_entry),
        *_format_space("parametrization", sweeper.parametrization, _format_nevergrad),
    ]


def _format_space(key: str, space: Any, format_one: Callable[[str, Any], str]) -> list[str]:
    lines = []
    for name, value in (space or {}).items():
        lines.append(f"{name}={format_one(f'hydra.sweeper.{key}.{name}', value)}")
    return lines


def _format_space_entry(path: str, value: Any) -> str:
    """Return a value as the basic and the Optuna sweeper read it, or the mapping of an Optuna or Ax distribution."""
    if not isinstance(value, DictConfig):
        return str(value)
    given: Any = OmegaConf.to_container(value, resolve=True)
    kind = getattr(given.get("type"), "name", given.get("type"))
    if kind == "fixed":
        return format_value(given.get("value"))
    if kind in ("categorical", "choice"):
        return _format_choice(path, given.get("choices", given.get("values")))
    bounds = given.get("bounds") or [given.get("low"), given.get("high")]
    if kind not in ("int", "float", "range") or len(bounds) != 2 or not all(map(is_number, bounds)):
        raise SpaceError(
            f"{path}: {given!r} is not a parameter, which is what may follow = on the command line, such as "
            '"choice(a,b)" or "interval(0.0,1.0)"'
        )
    kinds = {"range": given.get("value_type") or ("int" if all(isinstance(b, int) for b in bounds) else "float")}
    return _format_range(
        *bounds,
        integer=kinds.get(kind, kind) == "int",
        log=bool(given.get("log") or given.get("log_scale")),
        step=given.get("step"),
    )


def _format_nevergrad(path: str, value: Any) -> str:
    if isinstance(value, DictConfig):
        low, high = value.get("lower"), value.get("upper")
        if not (is_number(low) and is_number(high)):
            raise SpaceError(f"{path}: {dict(value)} needs lower and upper: a search here needs both bounds")
        return _format_range(low, high, integer=bool(value.get("integer")), log=bool(value.get("log")))
    if OmegaConf.is_list(value):
        return _format_choice(path, OmegaConf.to_container(value, resolve=True))
    return str(value)


def _format_choice(path: str, values: Any) -> str:
    if not isinstance(values, list) or not values:
        raise SpaceError(f"{path}: {values!r} must be a list with at least one choice")
    return f"choice({','.join(map(format_value, values))})"


def _format_range(low: Any, high: Any, *, integer: bool, log: bool = False, step: Any = None) -> str:
    cast = int if integer else float
    if step is not None and not log and (not integer or step != 1):
        beyond = 1 if integer else step / 2  # the upper end belongs to the range, other than in Hydra's grammar
        return f"range({cast(low)!r},{cast(high) + beyond!r},{cast(step)!r})"
    interval = f"interval({cast(low)!r},{cast(high)!r})"
    return f"tag(log,{interval})" if log else interval


# -- The other settings ------------------------------------------------------------------------------------------------


def describe_foreign_settings(config: DictConfig, settings: Settings, spec: SweepSpec | None) -> str:
    """Return a message about the settings of other sweepers; empty if there are none, or ours are given as well.

    Args:
        config: The multirun's configuration.
        settings: Our own settings.
        spec: What is searched. None: it is not valid, perhaps because ours are missing.

    Returns:
        A message of several lines.
    """
    given = _list_given(config, settings, spec)
    shown = []
    for key, value, ours in _iterate_foreign(config):
        if isinstance(ours, str):
            shown.append((f"{key}: {value}", ours))
        elif left := {name: wanted for name, wanted in ours.items() if name not in given}:
            shown.append((f"{key}: {value}", " ".join(f"++hydra.{n}={format_value(v)}" for n, v in left.items())))
            given |= left.keys()
    if not shown:
        return ""
    width = max(len(setting) for setting, _ in shown)
    lines = [f"  {setting:{width}}  {ours}" for setting, ours in shown]
    if any(f"={_OBJECTIVE}" in ours for _, ours in shown):
        lines.append(f"  ({_OBJECTIVE}: any name, unless the task reports metrics; the number that it returns counts)")
    return "\n".join(["hydra.sweeper has settings of another sweeper. What they are called here:", *lines])


def _list_given(config: DictConfig, settings: Settings, spec: SweepSpec | None) -> set[str]:
    """Return the settings that the user has given, by their keys below ``hydra.``."""
    default = Settings()
    given = {f"sweeper.{f.name}" for f in fields(settings) if getattr(settings, f.name) != getattr(default, f.name)}
    given |= {line.partition("=")[0].lstrip("+").removeprefix("hydra.") for line in read_hydra_overrides(config)}
    if spec is not None:
        given |= {f"sweeper.sweep.{key}" for key in spec.dump()}
    if spec is not None and spec.objectives:
        given |= {f"sweeper.sweep.{key}" for key in ("metric.name", "metric.goal", "metrics")}
    return given


def _iterate_foreign(config: DictConfig) -> Iterator[tuple[str, Any, Ours | str]]:
    """Yield each foreign setting, its value, and what we have instead: settings, or words."""
    sweeper = config.hydra.sweeper
    if replaced := get_replaced_sweeper(config):
        yield "_target_", replaced, "(hydra/sweeper=wandbsweep runs instead)"
    for path, translate in _TRANSLATIONS.items():
        value = _select(sweeper, path)
        if value is None and path == "sampler._target_":  # the group of samplers comes with the Optuna sweeper
            value = config.hydra.runtime.choices.get(_SAMPLER_GROUP)
        if value is not None:
            value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            yield path, getattr(value, "name", value), translate(value)
    rate, trials = _select(sweeper, "max_failure_rate"), _select(sweeper, "n_trials") or _OPTUNA_TRIALS
    if rate is not None:
        yield "max_failure_rate", rate, {"sweeper.max_failures": math.floor(float(rate) * trials) + 1}


def _select(sweeper: DictConfig, path: str) -> Any:
    return OmegaConf.select(sweeper, path, throw_on_missing=False)


def _translate_sampler(name: str) -> Ours:
    found = re.search("grid|bruteforce|random|qmc", name.rpartition(".")[2].lower())
    method = {None: "bayes", "grid": "grid", "bruteforce": "grid"}.get(found and found[0], "random")
    return {"sweeper.sweep.method": method, **({"sweeper.sweep.metric.name": _OBJECTIVE} if method == "bayes" else {})}


def _translate_direction(value: Any) -> Ours:
    goals = [getattr(goal, "name", goal) for goal in (value if isinstance(value, list) else [value])]
    if len(goals) > 1:
        return {"sweeper.sweep.metrics": [{"name": f"{_OBJECTIVE}_{k}", "goal": g} for k, g in enumerate(goals)]}
    return {"sweeper.sweep.metric.name": _OBJECTIVE, "sweeper.sweep.metric.goal": goals[0]}


def _translate_maximize(value: Any) -> Ours:
    return _translate_direction("maximize" if value else "minimize")


def _under(key: str) -> Callable[[Any], Ours]:
    return lambda value: {key: value}


_TRANSLATIONS: Mapping[str, Callable[[Any], Ours | str]] = {
    "n_trials": _under("sweeper.sweep.run_cap"),
    "direction": _translate_direction,
    "directions": _translate_direction,
    "sampler._target_": _translate_sampler,
    "sampler.seed": _under("sweeper.seed"),
    "n_jobs": _under("sweeper.agents"),
    "max_batch_size": _under("sweeper.agents"),
    "study_name": lambda name: {"sweep.dir": f"{OUTPUTS}/{name}"},
    "custom_search_space": lambda name: "(conditional parameters: `when` in the sweep configuration)",
    "ax_config.max_trials": _under("sweeper.sweep.run_cap"),
    "ax_config.experiment.objective_name": _under("sweeper.sweep.metric.name"),
    "ax_config.experiment.minimize": lambda value: _translate_maximize(not value),
    "ax_config.client.random_seed": _under("sweeper.seed"),
    "ax_config.early_stop": lambda value: "(a sweep ends early at `metric.target`)",
    "optim.optimizer": lambda name: _translate_sampler("random" if "random" in name.lower() else "bayes"),
    "optim.budget": _under("sweeper.sweep.run_cap"),
    "optim.num_workers": _under("sweeper.agents"),
    "optim.maximize": _translate_maximize,
    "optim.seed": _under("sweeper.seed"),
}
"""What corresponds to the settings of other sweepers, by their paths below ``hydra.sweeper``."""
