"""A multirun command as Hydra passes it to the sweeper, and the parts that are read from it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from wandbsweep.bridge.foreign_sweepers import read_foreign_space
from wandbsweep.bridge.hydra_private import group_exists, make_args_parser, set_hydra_config
from wandbsweep.bridge.interpolations import add_texts, resolve_sweep_config
from wandbsweep.bridge.overrides import CommandLine, read_command_line
from wandbsweep.bridge.search_space import read_sweep_key
from wandbsweep.bridge.snapshot import Snapshot, copy_config, open_search_path, read_hydra_overrides, set_key
from wandbsweep.errors import SweepError
from wandbsweep.settings import FOREIGN_KEYS, Settings
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import (
    OUTPUTS,
    Application,
    ControllerOptions,
    HostedPlace,
    LaunchRecord,
    TrialOverrides,
)
from wandbsweep.sweep.override_strings import SWEEP_KEY, OverrideSlot
from wandbsweep.wandb_runs.page import KEYS, read_page_settings

# The value of hydra.sweep.dir if a project has none of its own (hydra/conf/hydra/output/default.yaml).
_DEFAULT_SWEEP_DIR = "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}"

# A relative path would mean another file to agents and readers in other directories.
_RELATIVE_SQLITE = re.compile(r"(?P<scheme>sqlite(\+\w+)?:///)(?P<path>[^?:/][^?]*)")


@dataclass(frozen=True)
class Multirun:
    """A multirun command."""

    config: DictConfig
    """Its configuration, composed without the sweep overrides."""
    loader: ConfigLoader
    """The application's loader."""
    arguments: Sequence[str]
    """Its task overrides."""
    settings: Settings

    @cached_property
    def has_own_key(self) -> bool:
        """Whether the key ``sweep`` is the application's, and no sweep configuration."""
        return SWEEP_KEY in self.config and not read_sweep_key(self.config)

    @cached_property
    def line(self) -> CommandLine:
        """The task overrides, sorted: those of ``hydra.sweeper`` first, unless the command joins a sweep."""
        params = [] if self.settings.sweep_id is not None else read_foreign_space(self.config)
        return read_command_line([*params, *self.arguments], self.loader, own_key=self.has_own_key)

    def list_slots(self, spec: SweepSpec) -> list[OverrideSlot]:
        """Return where each trial's overrides stand: the command line's, and those of values with a text of their own.

        These are interpolations, and null choices of config groups: Hydra takes no ``group=null``. It takes the group
        out of the defaults list instead, with ``~group``.
        """
        slots = list(self.line.slots)
        values = {name: parameter.listed or () for name, parameter in spec.parameters.items()}
        if spec.repeats:
            values[spec.repeats.parameter] = spec.repeats.values
        for name, listed in values.items():
            placed = next((k for k, slot in enumerate(slots) if slot.get("parameter") == name), len(slots))
            slot = slots[placed] if placed < len(slots) else OverrideSlot(parameter=name, key=name)
            changed = add_texts(slot, listed)
            if None in listed and self._is_group(name):
                is_added = slot["key"].startswith("+")  # then the defaults list has no such group
                changed = OverrideSlot(**changed, null="" if is_added else f"~{name}")
            if changed != slot:
                slots[placed : placed + 1] = [changed]
        return slots

    def _is_group(self, name: str) -> bool:
        return group_exists(open_search_path(self.loader.get_search_path(), self.searchpath), name.partition("@")[0])

    @property
    def searchpath(self) -> list[str]:
        """The entries of ``hydra.searchpath``."""
        return [str(path) for path in self.config.hydra.searchpath or []]

    def find_directory(self, sweep_id: str) -> Path:
        """Return the directory of the sweep ``sweep_id``: in ``outputs/``, or the project's own ``hydra.sweep.dir``.

        A project's directory may name ``${hydra.sweeper.sweep_id}``.
        """
        own = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)
        assert isinstance(own, dict)
        if own["dir"] == _DEFAULT_SWEEP_DIR:
            return (OUTPUTS / sweep_id).absolute()
        config = copy_config(self.config)
        set_key(config, "hydra.sweeper.sweep_id", sweep_id)
        with set_hydra_config(config):
            return Path(resolve_text(config, "hydra.sweep.dir")).absolute()

    def names_setting(self, key: str) -> bool:
        """Return whether the command line sets ``hydra.sweeper.<key>``, be it to its default."""
        named = {line.lstrip("+").partition("=")[0] for line in read_hydra_overrides(self.config)}
        return f"hydra.sweeper.{key}" in named

    def describe_launch(
        self,
        sweep_id: str,
        snapshot: Snapshot,
        spec: SweepSpec,
        *,
        plain_grid: Mapping[str, Sequence[Any]] | None = None,
        hosted: HostedPlace | None = None,
    ) -> LaunchRecord:
        """Return the record of a sweep that this command starts.

        Args:
            sweep_id: The sweep's id.
            snapshot: The snapshot that it takes.
            spec: What it searches.
            plain_grid: The values of a comma-list grid that has no sweep configuration.
            hosted: Where W&B keeps it. None: its controller is embedded.

        Returns:
            The record, complete.
        """
        settings, job = self.settings, self.config.hydra.job
        is_shown = hosted is None and plain_grid is None
        return LaunchRecord(
            sweep_id=sweep_id,
            application=Application(
                cwd=os.getcwd(), config_name=job.config_name, job_name=job.name, command=find_start_command()
            ),
            overrides=TrialOverrides(
                slots=self.list_slots(spec),
                hydra=read_hydra_overrides(self.config),
                stripped_keys=[SWEEP_KEY] if read_sweep_key(self.config) else [],
                resume_key=settings.resume_key,
            ),
            snapshot=snapshot.paths,
            controller=ControllerOptions(
                plain_grid=plain_grid,
                seed=settings.seed,
                storage=settings.storage,
                # A plain grid runs all its trials, as Hydra's own sweeper does, unless the command says otherwise.
                max_failures=settings.max_failures
                if plain_grid is None or self.names_setting("max_failures")
                else None,
                lease_s=settings.lease_s,
                max_attempts=settings.max_attempts,
            ),
            hosted=hosted,
            wandb=read_page_settings(_read_logger(self.config)) if is_shown else None,
        )


def read_settings(config: DictConfig, given: Mapping[str, Any]) -> Settings:
    """Return the sweeper's settings.

    Args:
        config: The multirun's configuration.
        given: The arguments with which Hydra makes the sweeper: ``hydra.sweeper.*``, resolved.

    Returns:
        The settings; their ``storage`` names environment variables instead of holding their values.

    Raises:
        SweepError: A setting is not valid, or ``storage`` holds a password.
    """
    values = {key: value for key, value in given.items() if key not in FOREIGN_KEYS}
    values["storage"] = _read_storage_url(config)
    values["sweep"] = resolve_sweep_config(config.hydra.sweeper.sweep)
    return Settings(**{key: _convert_value(value, resolve=False) for key, value in values.items()})


def resolve_text(config: DictConfig, key: str) -> str:
    """Return the text at ``key``, resolved. Raises SweepError if it cannot be resolved."""
    try:
        return str(OmegaConf.select(config, key, throw_on_missing=True))
    except Exception as error:  # a project's own resolvers may raise anything
        given: Any = OmegaConf.to_container(config, resolve=False)
        for part in key.split("."):
            given = given[part]
        reason = str(error).partition("\n")[0]
        raise SweepError(f"{key}: {given!r} cannot be resolved: {reason}") from None


def _convert_value(value: Any, *, resolve: bool) -> Any:
    """Return ``value`` as plain Python objects."""
    return OmegaConf.to_container(value, resolve=resolve) if OmegaConf.is_config(value) else value


def _read_storage_url(config: DictConfig) -> str | None:
    """Return ``hydra.sweeper.storage``, resolved except for ``${oc.env:NAME}``: secrets are not to be written down."""
    own = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    given = own.get("storage") if isinstance(own, dict) else None
    if given is None:
        return None
    from wandbsweep.storage.database_url import ENVIRONMENT_VARIABLE, holds_password, mask_password

    # The variables are cut out, the rest is resolved in its place, and they are put back.
    names = [match.group() for match in ENVIRONMENT_VARIABLE.finditer(str(given))]
    masked = copy_config(config)
    set_key(masked, "hydra.sweeper.storage", ENVIRONMENT_VARIABLE.sub("\0", str(given)))
    with set_hydra_config(masked):
        first, *rest = resolve_text(masked, "hydra.sweeper.storage").split("\0")
    storage = first + "".join(name + text for name, text in zip(names, rest, strict=True))
    if holds_password(storage):
        raise SweepError(
            f"hydra.sweeper.storage: {mask_password(storage)} holds a password, which would be written to the sweep's "
            "files. Put it in an environment variable that the agents have too, and name that one: "
            "'hydra.sweeper.storage=\"postgresql://me:${oc.env:DB_PASSWORD}@host/sweeps\"'"
        )
    return _RELATIVE_SQLITE.sub(lambda match: f"{match['scheme']}{Path(match['path']).absolute()}", storage)


def _read_logger(config: DictConfig) -> dict[str, Any]:
    """Return the W&B settings in the application's key ``logger``, as far as they resolve outside of a run."""
    if OmegaConf.is_missing(config, "logger") or not isinstance(config.get("logger"), DictConfig):
        return {}
    found = {}
    for key in (key for key in KEYS if key in config.logger):
        with suppress(Exception):  # an application's resolver may raise anything outside of a run
            found[key] = _convert_value(config.logger[key], resolve=True)
    return found


def find_start_command() -> list[str]:
    """Return the words that start this application, with the options that say where its configuration is."""
    main_spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if main_spec is not None:
        start = [_find_python(), "-m", main_spec.name.removesuffix(".__main__")]
    else:
        start = [_find_python(), sys.argv[0]] if sys.argv[0].endswith(".py") else [sys.argv[0]]
    given, _ = make_args_parser().parse_known_args(sys.argv[1:])
    options = {"--config-path": given.config_path, "--config-name": given.config_name, "--config-dir": given.config_dir}
    return start + [text for option, value in options.items() if value is not None for text in (option, value)]


def _find_python() -> str:
    """Return the word that starts this interpreter: ``python`` if that is it, else its path."""
    found, own = shutil.which("python"), Path(sys.executable)
    if found is not None and Path(found).parent == own.parent:
        return "python"
    return str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else str(own)
