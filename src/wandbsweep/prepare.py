"""From a multirun command to a sweep that is ready to be launched: everything is checked before anything is made."""

from __future__ import annotations

import itertools
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wandbsweep import sweepdir
from wandbsweep.controllers.search import make_search
from wandbsweep.errors import SpaceError, SweepConfigError, SweepDirectoryError
from wandbsweep.job import hydra_overrides, set_key
from wandbsweep.overrides import SWEEP_KEY, CommandLine, is_own_key, read_command_line, trial_overrides
from wandbsweep.plan import SNAPSHOT, Plan
from wandbsweep.settings import Settings
from wandbsweep.snapshot import snapshot_loader, take_snapshot
from wandbsweep.spec import SweepSpec, load_sweep
from wandbsweep.trial import ENDED

log = logging.getLogger(__name__)

# What hydra.sweep.dir is where a project has none of its own (hydra/conf/hydra/output/default.yaml).
_HYDRAS_SWEEP_DIR = "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}"
_MOST_CHOICES = 32  # combinations of config groups that are composed before launching


@dataclass(frozen=True)
class Prepared:
    """A sweep on disk, and how to launch it."""

    directory: Path
    plan: Plan
    spec: SweepSpec
    joined: bool
    """Whether it was there before."""
    agent_overrides: Sequence[str]
    """What an agent's own job is composed with."""

    @property
    def plain(self) -> bool:
        """Whether this is Hydra's own comma-list grid, with no sweep configuration."""
        return self.plan.axes is not None


def prepare(config: DictConfig, loader: ConfigLoader, arguments: Sequence[str], settings: Settings) -> Prepared:
    """Make a new sweep, or find the one to go on with.

    ``config`` is the multirun's configuration, ``arguments`` its task overrides. Raises SweepError before anything is
    written, but for Hydra's own errors where a plain comma list does not compose.
    """
    directory, sweep_id = _place(config, settings)
    if settings.sweep_id is not None:
        return _joined(config, directory, arguments, settings)
    line = read_command_line(arguments, loader)
    spec, axes = _space(config, settings, line)
    if sweepdir.holds_sweep(directory):
        if axes is None or not _is_finished_grid(directory):
            return _resumed(config, directory, spec, line, settings)
        sweepdir.forget_sweep(directory)  # Hydra's users run the same lists again in the same place
    _refuse_endless(spec, settings)
    plan = Plan(
        sweep_id=sweep_id,
        cwd=os.getcwd(),
        config_name=config.hydra.job.config_name,
        job_name=config.hydra.job.name,
        slots=line.slots,
        hydra_overrides=hydra_overrides(config),
        search_path=(),
        searchpath=(),
        command=_command(),
        axes=axes,
        strip=[SWEEP_KEY] if _sweep_node(config) else [],
        seed=settings.seed,
        storage=settings.storage,
        max_failures=None if axes is not None else settings.max_failures,
    )
    first = make_search(spec, seed=settings.seed or 0, axes=axes).draw(0) or _middle(spec)
    if axes is None:
        _check_composes(loader, config, plan, spec, first)
    else:
        loader.load_sweep_config(config, trial_overrides(plan.slots, first))  # Hydra's own words for what is wrong
    plan = _make(directory, config, loader, plan, spec)
    return Prepared(directory, plan, spec, False, _agent_overrides(config, plan, directory, first))


# -- Where --------------------------------------------------------------------------------------------------------


def _place(config: DictConfig, settings: Settings) -> tuple[Path, str]:
    """The sweep's directory and id. A project's own ``hydra.sweep.dir`` may name ``hydra.sweeper.sweep_id``."""
    sweep_id = settings.sweep_id or sweepdir.new_sweep_id()
    own = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    assert isinstance(own, dict)
    if own["dir"] == _HYDRAS_SWEEP_DIR:
        return (sweepdir.OUTPUTS / sweep_id).absolute(), sweep_id
    named = config.copy()
    OmegaConf.copy_cache(from_config=config, to_config=named)
    set_key(named, "hydra.sweeper.sweep_id", sweep_id)
    return Path(str(named.hydra.sweep.dir)).absolute(), sweep_id


def _make(directory: Path, config: DictConfig, loader: ConfigLoader, plan: Plan, spec: SweepSpec) -> Plan:
    """Write all that the sweep needs; ``sweep.yaml``, which makes it one, last."""
    sweepdir.make_directory(directory)
    with sweepdir.locked(directory):
        extra = [str(path) for path in config.hydra.searchpath or []]
        search_path, searchpath = take_snapshot(loader, extra, directory / SNAPSHOT)
        plan = replace(plan, search_path=search_path, searchpath=searchpath)
        plan.save(directory)
        OmegaConf.save(config, directory / "multirun.yaml")
        plan.open_controller(directory, spec).close()
        sweepdir.write_spec(directory, spec)
    return plan


# -- What ---------------------------------------------------------------------------------------------------------


def _sweep_node(config: DictConfig) -> dict[str, Any]:
    """The application's key ``sweep``, unresolved; empty where it has none, or means something else by it."""
    node = config._get_node(SWEEP_KEY) if SWEEP_KEY in config else None
    raw = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else None
    return {str(key): value for key, value in raw.items()} if isinstance(raw, dict) and "parameters" in raw else {}


def _space(
    config: DictConfig, settings: Settings, line: CommandLine
) -> tuple[SweepSpec, Mapping[str, Sequence[Any]] | None]:
    """The sweep configuration with the command line laid over it; with it the axes, where there is none but lists."""
    overlay = dict(settings.sweep)
    merged = _laid_over(_sweep_node(config), overlay)
    if not merged and line.parameters.keys() == line.lists.keys():
        return sweepdir.plain_grid(line.lists), line.lists
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
        merged["parameters"] = {**flat, **line.parameters}
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
    return spec, None


def _laid_over(base: dict[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """``overlay``'s keys over ``base``'s, deeply; but a parameter that is given a law of its own is replaced."""
    merged = dict(base)
    for key, value in overlay.items():
        below = merged.get(key)
        replaced = isinstance(value, Mapping) and not {"value", "values", "distribution"}.isdisjoint(value)
        deeper = isinstance(below, dict) and isinstance(value, Mapping) and not replaced
        merged[key] = _laid_over(below, value) if deeper and below is not None else value
    return merged


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, parameter in parameters.items():
        if isinstance(parameter, Mapping) and isinstance(parameter.get("parameters"), Mapping):
            yield from _flat(parameter["parameters"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", parameter


def _middle(spec: SweepSpec) -> dict[str, Any]:
    """Some point of the space, to try whether it composes."""
    return {name: parameter.ppf(0.5) for name, parameter in spec.parameters.items()}


def _refuse_endless(spec: SweepSpec, settings: Settings) -> None:
    target = spec.metric is not None and spec.metric.target is not None
    bounded = spec.method == "grid" or spec.run_cap or settings.count or target
    if not bounded and not settings.endless:
        raise SweepConfigError(
            [
                f"run_cap: is required, since nothing else would end this {spec.method} sweep; add "
                "++sweep.run_cap=50 (or run_cap: 50 to its file), hydra.sweeper.count=10 (trials per agent), a "
                "metric.target, or hydra.sweeper.endless=true"
            ]
        )


# -- Going on -----------------------------------------------------------------------------------------------------


def _joined(config: DictConfig, directory: Path, arguments: Sequence[str], settings: Settings) -> Prepared:
    if not sweepdir.holds_sweep(directory):
        sweepdir.find_sweep(str(settings.sweep_id))  # says which sweeps there are
    foreign = [line for line in arguments if not _sets_run_cap(line)]
    if foreign:
        raise SweepDirectoryError(
            f"A sweep that is joined runs what it was started with, so {' '.join(foreign)} cannot be changed; "
            "what can is sweep.run_cap, hydra.sweeper.agents, hydra.sweeper.count and hydra.launcher.*"
        )
    spec = sweepdir.read_spec(directory)
    caps: list[Any] = [settings.sweep.get("run_cap"), *(line.partition("=")[2] for line in arguments)]
    return _go_on(config, directory, spec, caps[-1])


def _resumed(
    config: DictConfig, directory: Path, spec: SweepSpec, line: CommandLine, settings: Settings
) -> Prepared:
    stored, plan = sweepdir.read_spec(directory), Plan.load(directory)
    found = sweepdir.differences(stored, spec)
    before, now = (
        {line for line in lines if not is_own_key(line)}
        for lines in ([slot["line"] for slot in plan.slots if "line" in slot], line.fixed_lines())
    )
    found += [f"override {text}: was not there" for text in sorted(now - before)]
    found += [f"override {text}: is not there any more" for text in sorted(before - now)]
    if settings.seed is not None and settings.seed != plan.seed:
        found.append(f"hydra.sweeper.seed: {plan.seed}, now {settings.seed}")
    sweepdir.refuse_differences(directory, found)
    return _go_on(config, directory, stored, spec.run_cap)


def _is_finished_grid(directory: Path) -> bool:
    """Whether ``directory`` holds a plain grid of which every trial has ended."""
    plan = Plan.load_if_any(directory)
    if plan is None or plan.axes is None:
        return False
    controller = plan.open_controller(directory, sweepdir.read_spec(directory))
    trials = controller.trials()
    return len(trials) == controller.cap and all(trial.state in ENDED for trial in trials)


def _go_on(config: DictConfig, directory: Path, spec: SweepSpec, run_cap: object) -> Prepared:
    plan = Plan.load(directory)
    if run_cap is not None and run_cap != spec.run_cap:
        spec = load_sweep({**spec.dump(), "run_cap": int(str(run_cap)) if str(run_cap).isdecimal() else run_cap})
        with sweepdir.locked(directory):
            sweepdir.write_spec(directory, spec)
    first = make_search(spec, seed=0, axes=plan.axes).draw(0) or _middle(spec)
    return Prepared(directory, plan, spec, True, _agent_overrides(config, plan, directory, first))


def _sets_run_cap(line: str) -> bool:
    return line.lstrip("+").startswith(f"{SWEEP_KEY}.run_cap=")


# -- Whether it composes ------------------------------------------------------------------------------------------


def _check_composes(
    loader: ConfigLoader, config: DictConfig, plan: Plan, spec: SweepSpec, first: Mapping[str, Any]
) -> None:
    """Compose the first point under every choice of config groups: no key may be unknown, under none of them."""
    groups = {name: _choices(loader, spec, name) for name in spec.parameters if _is_group(loader, name)}
    if math.prod(map(len, groups.values())) > _MOST_CHOICES:
        groups = {name: choices[:1] for name, choices in groups.items()}
    faults: dict[str, None] = {}
    for choices in itertools.product(*groups.values()):
        chosen = dict(zip(groups, choices, strict=True))
        faults.update(dict.fromkeys(_faults(loader, config, plan, {**first, **chosen}, chosen)))
    if faults:
        raise SpaceError(
            "The search space does not fit the configuration:\n" + "\n".join(f"  - {fault}" for fault in faults)
        )


def _choices(loader: ConfigLoader, spec: SweepSpec, name: str) -> list[Any]:
    """The values of a parameter that chooses from a config group; all of them must be there."""
    options = loader.get_group_options(name.partition("@")[0])
    parameter = spec.parameters[name]
    values = [parameter.value] if parameter.values is None else list(parameter.values)
    unknown = [value for value in values if value not in options]
    if unknown:
        raise SpaceError(
            f"parameters.{name}: {', '.join(map(repr, unknown))} is no choice of the config group {name!r}; "
            f"its choices are {', '.join(options)}"
        )
    return values


def _faults(
    loader: ConfigLoader, config: DictConfig, plan: Plan, point: Mapping[str, Any], chosen: Mapping[str, Any]
) -> Iterator[str]:
    """What keeps ``point`` from composing: keys that do not exist under the ``chosen`` groups, or Hydra's reason."""
    under = f" with {', '.join(f'{name}={value}' for name, value in chosen.items())}" if chosen else ""
    try:
        composed = loader.load_sweep_config(config, trial_overrides(plan.slots, chosen))
        added = {slot["parameter"] for slot in plan.slots if slot.get("key", "").startswith("+")}
        unknown = [name for name in point if name not in chosen and name not in added and not _has(composed, name)]
        for name in unknown:
            close = get_close_matches(name, _keys(composed), 1, cutoff=0.7)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield f"parameters.{name}: is no key of the application's configuration{under}{hint}"
        if not unknown:
            loader.load_sweep_config(config, trial_overrides(plan.slots, point))
    except (HydraException, OmegaConfBaseException) as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        yield " ".join(f"{error!s}{cause}{under}".split())


def _is_group(loader: ConfigLoader, name: str) -> bool:
    return bool(loader.get_group_options(name.partition("@")[0]))


def _agent_overrides(config: DictConfig, plan: Plan, directory: Path, first: Mapping[str, Any]) -> list[str]:
    """The fixed overrides, if they compose; if not (a group may be mandatory), some trial's."""
    fixed = trial_overrides(plan.slots, {})
    try:
        snapshot_loader(plan.search_path, directory / SNAPSHOT).load_sweep_config(config, fixed)
    except (HydraException, OmegaConfBaseException):
        return trial_overrides(plan.slots, first)
    return fixed


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


def _command() -> list[str]:
    """What starts this application, with the options that say where its configuration is."""
    main_spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if main_spec is not None:
        start = ["python", "-m", main_spec.name.removesuffix(".__main__")]
    else:
        start = ["python", sys.argv[0]] if sys.argv[0].endswith(".py") else [sys.argv[0]]
    given, _ = get_args_parser().parse_known_args(sys.argv[1:])
    options = {"--config-path": given.config_path, "--config-name": given.config_name, "--config-dir": given.config_dir}
    return start + [text for option, value in options.items() if value is not None for text in (option, value)]
