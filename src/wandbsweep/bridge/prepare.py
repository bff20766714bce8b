"""From a multirun command to a sweep that is ready to be launched: everything is checked before anything is made."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wandbsweep.bridge.overrides import CommandLine, read_command_line
from wandbsweep.bridge.search_space import check_composes, has_own_key, middle, read_space, refuse_endless, sweep_node
from wandbsweep.bridge.snapshot import reading_once, snapshot_loader, take_snapshot
from wandbsweep.bridge.trial_job import hydra_overrides, set_key
from wandbsweep.controllers.open import open_controller
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.search.make import make_search
from wandbsweep.settings import Settings
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep import directory as sweepdir
from wandbsweep.sweep.launch_record import (
    SNAPSHOT,
    Application,
    ControllerOptions,
    HostedSweep,
    LaunchRecord,
    SnapshotPaths,
    TrialOverrides,
)
from wandbsweep.sweep.override_strings import SWEEP_KEY, format_overrides, is_sweep_key
from wandbsweep.sweep.provenance import write_provenance
from wandbsweep.trial import ENDED
from wandbsweep.wandb_runs.page import KEYS as PAGE_KEYS
from wandbsweep.wandb_runs.page import read_page_settings

_SQLITE = re.compile(r"(?P<scheme>sqlite(\+\w+)?:///)(?P<path>[^?:/][^?]*)")
"""With a relative path, which would be another one for whoever looks from elsewhere."""

# What hydra.sweep.dir is where a project has none of its own (hydra/conf/hydra/output/default.yaml).
_HYDRAS_SWEEP_DIR = "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}"


@dataclass(frozen=True)
class Prepared:
    """A sweep on disk, and how to launch it."""

    directory: Path
    plan: LaunchRecord
    spec: SweepSpec
    joined: bool
    """Whether it was there before."""
    agent_overrides: Sequence[str]
    """What an agent's own job is composed with."""

    @property
    def plain(self) -> bool:
        """Whether this is Hydra's own comma-list grid, with no sweep configuration."""
        return self.plan.controller.plain_grid is not None


def prepare(config: DictConfig, loader: ConfigLoader, arguments: Sequence[str], settings: Settings) -> Prepared:
    """Make a new sweep, or find the one to go on with.

    ``config`` is the multirun's configuration, ``arguments`` its task overrides. Raises SweepError before anything is
    written, but for Hydra's own errors where a plain comma list does not compose.
    """
    if settings.sweep_id is not None and settings.controller == "wandb":
        return _joined_at_wandb(config, loader, arguments, settings)
    directory, sweep_id = _place(config, settings)
    if settings.sweep_id is not None:
        return _joined(config, directory, arguments, settings)
    line = read_command_line(arguments, loader, own_key=has_own_key(config))
    spec, axes = read_space(config, settings, line)
    refuse_endless(spec, settings)
    plan = _planned(config, settings, line, sweep_id, axes)
    if settings.controller == "embedded" and axes is None:
        plan = replace(plan, wandb=read_page_settings(_logger(config)))
    # A sweep at W&B has its id from there, and is made when everything else is known to be right.
    hosted = settings.controller == "wandb"
    if sweepdir.holds_sweep(directory) and not _may_start_over(directory, plan):
        return _resumed(config, directory, spec, line, settings)
    if not hosted:
        sweepdir.refuse_orphaned_journal(directory)
    first = make_search(spec, seed=settings.seed or 0, plain_grid=axes).draw(0) or middle(spec)
    if axes is None:
        _check(config, loader, plan, spec)
    else:
        # Hydra says itself what is wrong.
        loader.load_sweep_config(config, format_overrides(plan.overrides.slots, first))
    if hosted:
        directory, plan = _begun_at_wandb(config, settings, plan, spec)
    made = _make(directory, config, loader, plan, spec)
    if made is None:
        return _resumed(config, directory, spec, line, settings)
    plan = made
    return Prepared(directory, plan, spec, False, _agent_overrides(config, plan, directory, first))


def _planned(
    config: DictConfig,
    settings: Settings,
    line: CommandLine,
    sweep_id: str,
    axes: Mapping[str, Sequence[Any]] | None = None,
) -> LaunchRecord:
    """The plan of a sweep as far as the command tells; the snapshot's paths are still to come."""
    return LaunchRecord(
        sweep_id=sweep_id,
        application=Application(
            cwd=os.getcwd(),
            config_name=config.hydra.job.config_name,
            job_name=config.hydra.job.name,
            command=_command(),
        ),
        overrides=TrialOverrides(
            slots=line.slots,
            hydra=hydra_overrides(config),
            stripped_keys=[SWEEP_KEY] if sweep_node(config) else [],
        ),
        controller=ControllerOptions(
            plain_grid=axes,
            seed=settings.seed,
            storage=settings.storage,
            max_failures=None if axes is not None else settings.max_failures,
            lease_s=settings.lease_s,
            max_attempts=settings.max_attempts,
        ),
    )


def _check(config: DictConfig, loader: ConfigLoader, plan: LaunchRecord, spec: SweepSpec) -> None:
    check_composes(reading_once(loader.get_search_path(), _extra_paths(config)), config, plan, spec)


def named_storage(config: DictConfig) -> str | None:
    """``hydra.sweeper.storage`` with everything resolved but ``${oc.env:NAME}``: a secret is not to be written down.

    Raises SweepError where a password stands in it.
    """
    own = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    given = own.get("storage") if isinstance(own, dict) else None
    if given is None:
        return None
    from wandbsweep.storage.database_url import ENVIRONMENT_VARIABLE, holds_password, mask_password

    names = [match.group() for match in ENVIRONMENT_VARIABLE.finditer(str(given))]
    masked = config.copy()
    OmegaConf.copy_cache(from_config=config, to_config=masked)
    set_key(masked, "hydra.sweeper.storage", ENVIRONMENT_VARIABLE.sub("\0", str(given)))
    first, *rest = str(masked.hydra.sweeper.storage).split("\0")
    storage = first + "".join(name + text for name, text in zip(names, rest, strict=True))
    if holds_password(storage):
        raise SweepError(
            f"hydra.sweeper.storage: {mask_password(storage)} holds a password, which would be written to the sweep's "
            "files. Put it in an environment variable that the agents have too, and name that one: "
            "'hydra.sweeper.storage=\"postgresql://me:${oc.env:DB_PASSWORD}@host/sweeps\"'"
        )
    return _SQLITE.sub(lambda match: f"{match['scheme']}{Path(match['path']).absolute()}", storage)


def _logger(config: DictConfig) -> dict[str, Any]:
    """What the application's key ``logger`` says of W&B, as far as it is known before there is a run."""
    if OmegaConf.is_missing(config, "logger") or not isinstance(config.get("logger"), DictConfig):
        return {}
    found = {}
    for key in (key for key in PAGE_KEYS if key in config.logger):
        with suppress(Exception):  # whatever an application's resolver raises outside of a run
            value = config.logger[key]
            found[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    return found


def _begun_at_wandb(
    config: DictConfig, settings: Settings, plan: LaunchRecord, spec: SweepSpec
) -> tuple[Path, LaunchRecord]:
    from wandbsweep.controllers.hosted.create import start_hosted_sweep

    made = start_hosted_sweep(spec)
    directory, sweep_id = _place(config, replace(settings, sweep_id=made.sweep_id))
    return directory, replace(plan, sweep_id=sweep_id, hosted=HostedSweep(made.entity, made.project))


# -- Where --------------------------------------------------------------------------------------------------------


def _place(config: DictConfig, settings: Settings) -> tuple[Path, str]:
    """The sweep's directory and id. A project's own ``hydra.sweep.dir`` may name ``hydra.sweeper.sweep_id``."""
    sweep_id = settings.sweep_id or sweepdir.make_sweep_id()
    own = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    assert isinstance(own, dict)
    if own["dir"] == _HYDRAS_SWEEP_DIR:
        return (sweepdir.OUTPUTS / sweep_id).absolute(), sweep_id
    named = config.copy()
    OmegaConf.copy_cache(from_config=config, to_config=named)
    set_key(named, "hydra.sweeper.sweep_id", sweep_id)
    return Path(str(named.hydra.sweep.dir)).absolute(), sweep_id


def _make(
    directory: Path, config: DictConfig, loader: ConfigLoader, plan: LaunchRecord, spec: SweepSpec
) -> LaunchRecord | None:
    """Write all that the sweep needs; ``sweep.yaml``, which makes it one, last. None: somebody else was faster."""
    with _all_or_nothing(directory):
        if sweepdir.holds_sweep(directory) and not _may_start_over(directory, plan):
            return None
        sweepdir.remove_sweep(directory)  # Hydra's users run the same lists again in the same place
        search_path, searchpath = take_snapshot(loader, _extra_paths(config), directory / SNAPSHOT)
        plan = replace(plan, snapshot=SnapshotPaths(search_path, searchpath))
        plan.save(directory)
        write_provenance(directory, Path(plan.application.cwd))
        OmegaConf.save(config, directory / "multirun.yaml")
        _open_store(directory, plan, spec)
        sweepdir.write_spec(directory, spec)
    return plan


def _may_start_over(directory: Path, plan: LaunchRecord) -> bool:
    return plan.controller.plain_grid is not None and _is_finished_grid(directory)


def _extra_paths(config: DictConfig) -> list[str]:
    return [str(path) for path in config.hydra.searchpath or []]


def _open_store(directory: Path, plan: LaunchRecord, spec: SweepSpec) -> None:
    try:
        open_controller(plan, directory, spec).close()
    except Exception as error:  # each database driver has exceptions of its own
        if plan.controller.storage is None or isinstance(error, SweepError):
            raise
        reason = str(error).partition("\n")[0]  # any driver's own kind of error
        raise SweepDirectoryError(
            f"hydra.sweeper.storage: cannot open {plan.controller.storage!r}: {type(error).__name__}: {reason}"
        ) from error


@contextmanager
def _all_or_nothing(directory: Path) -> Iterator[None]:
    """Make ``directory`` and keep others out of it; where the ``with`` block fails, leave nothing that is new."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    sweepdir.make_directory(directory)
    with sweepdir.lock_directory(directory):
        try:
            yield
        except BaseException:
            sweepdir.remove_sweep(directory)
            (directory / "multirun.yaml").unlink(missing_ok=True)
            if missing:
                (directory / sweepdir.LOCK).unlink()
                with suppress(OSError):  # not empty: it is somebody else's as well
                    for path in missing:
                        path.rmdir()
            raise


# -- Going on -----------------------------------------------------------------------------------------------------


def _joined(config: DictConfig, directory: Path, arguments: Sequence[str], settings: Settings) -> Prepared:
    if not sweepdir.holds_sweep(directory):
        directory = sweepdir.find_sweep(str(settings.sweep_id))  # or says which sweeps there are
    plan = LaunchRecord.load(directory)
    if plan.sweep_id != settings.sweep_id:
        raise SweepDirectoryError(f"{directory} holds the sweep {plan.sweep_id}, not {settings.sweep_id}.")
    given = [line for line in arguments if {"line": line} not in plan.overrides.slots]
    foreign = [line for line in given if not _sets_run_cap(line)] + _changed_settings(plan, settings)
    if foreign:
        raise SweepDirectoryError(
            f"A sweep that is joined runs what it was started with, so {' '.join(foreign)} cannot be changed; "
            "what can is ++sweep.run_cap, hydra.sweeper.agents, count, gpus_per_agent, detach, isolation, and "
            "hydra.launcher.*"
        )
    spec = sweepdir.read_spec(directory)
    caps: list[Any] = [settings.sweep.get("run_cap"), *(line.partition("=")[2] for line in given)]
    return _go_on(config, directory, spec, caps[-1])


def _joined_at_wandb(
    config: DictConfig, loader: ConfigLoader, arguments: Sequence[str], settings: Settings
) -> Prepared:
    """Go on with a sweep of W&B's: as it was started here, else, as ``wandb agent`` does, with what is here."""
    from wandbsweep.controllers.hosted.lookup import find_hosted_sweep, parse_ref

    ref = str(settings.sweep_id)
    settings = replace(settings, sweep_id=parse_ref(ref)[2])
    directory, sweep_id = _place(config, settings)
    if sweepdir.holds_sweep(directory):
        return _joined(config, directory, arguments, settings)
    own_key = has_own_key(config)
    line = read_command_line(arguments, loader, own_key=own_key)
    made, spec = find_hosted_sweep(ref)
    theirs = [name for name in line.fixed if name in spec.parameters or (is_sweep_key(name) and not own_key)]
    if refused := [*line.parameters, *theirs, *(f"hydra.sweeper.sweep.{key}" for key in settings.sweep)]:
        raise SweepError(f"What the sweep {ref} searches stands at W&B, so {', '.join(refused)} cannot be set here.")
    plan = _planned(config, settings, line, sweep_id)
    plan = replace(plan, hosted=HostedSweep(made.entity, made.project, begun="elsewhere"))
    _check(config, loader, plan, spec)
    ready = _make(directory, config, loader, plan, spec)
    if ready is None:  # another agent of this machine was faster
        return _joined(config, directory, arguments, settings)
    return Prepared(directory, ready, spec, True, _agent_overrides(config, ready, directory, middle(spec)))


def _changed_settings(plan: LaunchRecord, settings: Settings) -> list[str]:
    """What of ``settings`` was given, and is not what the sweep was started with."""
    default = Settings()
    changed = [
        f"hydra.sweeper.{key}={getattr(settings, key)}"
        for key in ("seed", "storage", "max_failures", "lease_s", "max_attempts")
        if getattr(settings, key) not in (getattr(default, key), getattr(plan.controller, key))
    ]
    return changed + [f"hydra.sweeper.sweep.{key}" for key in settings.sweep if key != "run_cap"]


def _resumed(config: DictConfig, directory: Path, spec: SweepSpec, line: CommandLine, settings: Settings) -> Prepared:
    stored, plan = sweepdir.read_spec(directory), LaunchRecord.load(directory)
    found = sweepdir.find_differences(stored.identity, spec.identity)
    before, now = (
        {line for line in lines if not (plan.overrides.stripped_keys and is_sweep_key(line))}
        for lines in ([slot["line"] for slot in plan.overrides.slots if "line" in slot], line.fixed_lines())
    )
    found += [f"override {text}: was not there" for text in sorted(now - before)]
    found += [f"override {text}: is not there any more" for text in sorted(before - now)]
    if settings.seed is not None and settings.seed != plan.controller.seed:
        found.append(f"hydra.sweeper.seed: {plan.controller.seed}, now {settings.seed}")
    sweepdir.refuse_differences(directory, found)
    return _go_on(config, directory, stored, spec.run_cap)


def _is_finished_grid(directory: Path) -> bool:
    """Whether ``directory`` holds a plain grid of which every trial has ended."""
    plan = LaunchRecord.load_if_exists(directory)
    if plan is None or plan.controller.plain_grid is None:
        return False
    controller = open_controller(plan, directory, sweepdir.read_spec(directory))
    trials = controller.trials()
    return len(trials) == controller.cap and all(trial.state in ENDED for trial in trials)


def _go_on(config: DictConfig, directory: Path, spec: SweepSpec, run_cap: object) -> Prepared:
    plan = LaunchRecord.load(directory)
    if run_cap is not None and run_cap != spec.run_cap:
        spec = load_sweep({**spec.dump(), "run_cap": int(str(run_cap)) if str(run_cap).isdecimal() else run_cap})
        with sweepdir.lock_directory(directory):
            sweepdir.write_spec(directory, spec)
    first = make_search(spec, seed=0, plain_grid=plan.controller.plain_grid).draw(0) or middle(spec)
    return Prepared(directory, plan, spec, True, _agent_overrides(config, plan, directory, first))


def _sets_run_cap(line: str) -> bool:
    return line.lstrip("+").startswith(f"{SWEEP_KEY}.run_cap=")


def _agent_overrides(config: DictConfig, plan: LaunchRecord, directory: Path, first: Mapping[str, Any]) -> list[str]:
    """The fixed overrides, if they compose; if not (a group may be mandatory), some trial's."""
    fixed = format_overrides(plan.overrides.slots, {})
    try:
        snapshot_loader(plan.snapshot.search_path, directory / SNAPSHOT).load_sweep_config(config, fixed)
    except (HydraException, OmegaConfBaseException):
        return format_overrides(plan.overrides.slots, first)
    return fixed


def _command() -> list[str]:
    """What starts this application, with the options that say where its configuration is."""
    main_spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if main_spec is not None:
        start = [_python(), "-m", main_spec.name.removesuffix(".__main__")]
    else:
        start = [_python(), sys.argv[0]] if sys.argv[0].endswith(".py") else [sys.argv[0]]
    given, _ = get_args_parser().parse_known_args(sys.argv[1:])
    options = {"--config-path": given.config_path, "--config-name": given.config_name, "--config-dir": given.config_dir}
    return start + [text for option, value in options.items() if value is not None for text in (option, value)]


def _python() -> str:
    """What to type for this interpreter: ``python`` where that is it, else its path."""
    found, own = shutil.which("python"), Path(sys.executable)
    if found is not None and Path(found).parent == own.parent:
        return "python"
    return str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else str(own)
