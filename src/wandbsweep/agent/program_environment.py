"""The environment of a program that runs a trial, and the files that tell it the trial's parameters."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wandbsweep.current import DIRECTORY
from wandbsweep.files import write_atomically
from wandbsweep.programs.macros import Words, format_json, nest_params
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.directory import PARAMS, PARAMS_JSON
from wandbsweep.sweep.launch_record import LaunchRecord, Program
from wandbsweep.trial import Trial
from wandbsweep.trial_link import ADDRESS
from wandbsweep.wandb_runs.sweep_run import NAME, PARAM_PATH, RESUME, RUN_ID, SWEEP_ID, write_params

SWEEP, NUMBER, ATTEMPT = "WANDBSWEEP_SWEEP_ID", "WANDBSWEEP_TRIAL", "WANDBSWEEP_ATTEMPT"

_FLUSH = "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL"
_FLUSH_S = "0.2"
"""How often W&B's client writes what was logged; its default of 15 s is too late for early termination."""
_MODE, _ONLINE = "WANDB_MODE", ("online", "shared")
_OTHERS = (SWEEP_ID, RUN_ID, NAME, RESUME, "WANDB_SERVICE")
"""Variables of the agent's own environment that are about another run."""


def write_parameters(spec: SweepSpec, program: Program, trial: Trial, place: Path) -> Words:
    """Write a trial's parameters for W&B's client and for ``${args_json_file}``, and return what its macros stand for.

    Args:
        spec: The sweep configuration.
        program: How the program is started.
        trial: The trial.
        place: The trial's directory.
    """
    words = make_words(spec, program, trial.params, place)
    write_params(place / PARAMS, {name: {"value": value} for name, value in words.args.items()})
    write_atomically(place / PARAMS_JSON, format_json(words.args))
    return words


def make_words(spec: SweepSpec, program: Program, params: Mapping[str, Any], place: Path) -> Words:
    """Return what the macros of a trial's command stand for.

    Args:
        spec: The sweep configuration.
        program: How the program is started.
        params: The trial's parameters by dotted name.
        place: The trial's directory.
    """
    args = nest_params(params, spec.config.get("parameters", {}))
    return Words(params, args, spec.program, program.interpreter, str(place / PARAMS_JSON), str(place))


def make_environment(spec: SweepSpec, record: LaunchRecord, trial: Trial, place: Path, address: str) -> dict[str, str]:
    """Return the environment of a trial's process.

    ``wandb.init()`` asks for no account there: the run is offline, unless ``WANDB_MODE`` says online. The run belongs
    to no sweep of W&B's, whose servers know none, so that ``wandb sync`` accepts it later.

    Args:
        spec: The sweep configuration.
        record: What the sweep was started with.
        trial: The trial.
        place: The trial's directory.
        address: Where its processes report by ``current_trial()``.
    """
    assert record.program is not None
    inherited = {name: value for name, value in os.environ.items() if name not in _OTHERS}
    run = f"{record.sweep_id}-{trial.number}"
    is_online = inherited.get(_MODE) in _ONLINE
    defaults = {
        "PYTHONUNBUFFERED": "1",  # what it prints is read, and shown, at once
        "WANDB_RUN_GROUP": record.sweep_id,
        _FLUSH: _FLUSH_S,
        **_name_project(spec.config),
    }
    own = {
        ADDRESS: address,
        DIRECTORY: str(place),
        SWEEP: record.sweep_id,
        NUMBER: str(trial.number),
        ATTEMPT: str(trial.attempt),
        "WANDB_DIR": str(place),
        RUN_ID: run,
        NAME: run,
        PARAM_PATH: str(place / PARAMS),
        "PATH": _find_path(record.program.interpreter, inherited.get("PATH", os.defpath)),
    }
    if not is_online:
        own[_MODE] = "offline"
    elif trial.attempt > 1:
        own[RESUME] = "allow"
    return {**defaults, **inherited, **own}


def _name_project(config: Mapping[str, Any]) -> dict[str, str]:
    keys = {"project": "WANDB_PROJECT", "entity": "WANDB_ENTITY"}
    return {variable: str(config[key]) for key, variable in keys.items() if config.get(key)}


def _find_path(interpreter: str, path: str) -> str:
    """Return PATH with the virtual environment of the interpreter first, as if it were activated."""
    place = os.path.dirname(interpreter)
    is_virtual = os.path.exists(os.path.join(os.path.dirname(place), "pyvenv.cfg")) or (
        interpreter == sys.executable and sys.prefix != sys.base_prefix
    )
    return path if not is_virtual or place in path.split(os.pathsep)[:1] else f"{place}{os.pathsep}{path}"
