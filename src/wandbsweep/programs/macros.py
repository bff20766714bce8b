"""The command of a sweep file's program: W&B's macros, replaced by a trial's parameters as W&B's agent does.

The rules are those of W&B's client 0.31 (``wandb/sdk/launch/sweeps/utils.py`` and ``wandb/wandb_agent.py``):
``${envvar:NAME}`` is replaced anywhere in a word, and every other macro only if it is the whole word. Values are
written by Python's ``str``: ``True``, ``None``, ``[1, 2]``. Nested parameters are one argument, a dictionary.
W&B's agent drops a macro that it does not know; here it is refused before the sweep starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wandbsweep.errors import SweepConfigError
from wandbsweep.sweep.override_strings import format_overrides, format_value
from wandbsweep.text import join_words, suggest_matches

DEFAULT = ("${env}", "${interpreter}", "${program}", "${args}")
HYDRA_DEFAULT = ("${env}", "${interpreter}", "${program}", "${hydra_overrides}")
"""The command of a Hydra application whose sweep file has none: as ``${args_no_hyphens}``, in Hydra's grammar."""
RUN_DIRECTORY = "${run_directory}"
"""The word of ours that gives a Hydra application the trial's directory as its own: ``hydra.run.dir=...``."""
JSON_FILE = "${args_json_file}"
ENV = "/usr/bin/env"

_MACRO = re.compile(r"\$\{([^}]*)\}")
_ENVIRONMENT = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")

_ARGUMENTS: dict[str, Callable[[str, Any], list[str]]] = {
    "args": lambda name, value: [f"--{name}={value}"],
    "args_no_hyphens": lambda name, value: [f"{name}={value}"],
    "args_no_equals": lambda name, value: [f"--{name}", str(value)],
    "args_no_boolean_flags": lambda name, value: (
        ([f"--{name}"] if value else []) if isinstance(value, bool) else [f"--{name}={value}"]
    ),
    "args_append_hydra": lambda name, value: [f"+{name}={value}"],
    "args_override_hydra": lambda name, value: [f"++{name}={value}"],
}
"""By macro, the words of one argument."""

MACROS = ("env", "interpreter", "program", *_ARGUMENTS, "args_json", "args_json_file")


@dataclass(frozen=True)
class Words:
    """What the macros of one trial's command stand for."""

    params: Mapping[str, Any]
    """The trial's parameters by dotted name."""
    args: Mapping[str, Any]
    """The same as W&B names them: nested parameters are dictionaries (``nest_params``)."""
    program: str | None
    interpreter: str
    json_file: str
    """The file that has ``args`` as JSON."""
    directory: str
    """The trial's directory."""


def nest_params(params: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial's parameters as W&B's agent gives them to a program.

    Args:
        params: The parameters by dotted name.
        parameters: The sweep file's ``parameters``, of which some may be nested.

    Returns:
        The values in the file's order. Nested parameters are dictionaries.
    """

    def nest(prefix: str, entries: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, entry in entries.items():
            name = f"{prefix}{key}"
            if isinstance(entry, Mapping) and "parameters" in entry:
                if inner := nest(f"{name}.", entry["parameters"]):
                    found[key] = inner
            elif name in params:
                used.add(name)
                found[key] = params[name]
        return found

    used: set[str] = set()
    nested = nest("", parameters)
    return {**nested, **{name: value for name, value in params.items() if name not in used}}


def read_command(command: Sequence[Any] | None, program: str | None, *, is_hydra: bool = False) -> list[str]:
    """Return the words of a sweep file's command, or those of the default one.

    Args:
        command: The file's ``command``, if it has one.
        program: Its ``program``, if it has one.
        is_hydra: Whether ``program`` is a Hydra application.

    Raises:
        SweepConfigError: There is nothing to run, or a word is no text or an unknown macro.
    """
    if not command and program is None:
        raise SweepConfigError(
            ["program: is required, since there is no command either: the script that runs a trial, such as train.py"]
        )
    words = command or (HYDRA_DEFAULT if is_hydra else DEFAULT)
    faults = [fault for i, word in enumerate(words) if (fault := _find_fault(i, word, program, own=not command))]
    if faults:
        raise SweepConfigError(faults)
    own = [RUN_DIRECTORY] if is_hydra and not any("hydra.run.dir" in str(word) for word in words) else []
    return [*map(str, words), *own]


def find_notes(command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return what may surprise about a valid command: macros that stay as they are, and unset variables."""
    notes = []
    for word in command:
        inner = [name for name in _MACRO.findall(_ENVIRONMENT.sub("", word)) if name in MACROS]
        if inner and word != f"${{{inner[0]}}}":
            notes.append(f"command: {word!r} stays as it is, as under W&B's agent: a macro must be a word of its own")
        unset = [name for name in _ENVIRONMENT.findall(word) if name not in environment]
        notes += [f"command: {name} is not set, so that ${{envvar:{name}}} becomes {name!r}" for name in unset]
    return notes


def expand(command: Sequence[str], words: Words, environment: Mapping[str, str]) -> list[str]:
    """Return the words that a trial's process is started with.

    Args:
        command: The command, which ``read_command`` has returned.
        words: What the macros stand for.
        environment: The environment, for ``${envvar:NAME}``. A variable that is not set becomes its name.
    """
    found: list[str] = []
    for word in command:
        text = _ENVIRONMENT.sub(lambda match: environment.get(match[1], match[1]), word)
        macro = _MACRO.fullmatch(text)
        found += [text] if macro is None else _expand_macro(macro[1], words)
    return found


def format_json(args: Mapping[str, Any]) -> str:
    """Return what ``${args_json}`` stands for."""
    return json.dumps(dict(args))


def _expand_macro(name: str, words: Words) -> list[str]:
    if name in _ARGUMENTS:
        return [word for key, value in words.args.items() for word in _ARGUMENTS[name](key, value)]
    found = {
        "env": [ENV],
        "interpreter": [words.interpreter],
        "program": [] if words.program is None else [words.program],
        "args_json": [format_json(words.args)],
        "args_json_file": [words.json_file],
    }
    if name == "hydra_overrides":  # of HYDRA_DEFAULT alone
        return format_overrides([], words.params)
    if name == "run_directory":
        return [f"hydra.run.dir={format_value(words.directory)}"]
    return found.get(name, [])


def _find_fault(index: int, word: Any, program: str | None, *, own: bool) -> str:
    path = f"command[{index}]"
    if isinstance(word, bool) or not isinstance(word, str | int | float):
        return f"{path}: {word!r} is no text; put it in quotes"
    macro = _MACRO.fullmatch(str(word))
    if macro is None or _ENVIRONMENT.fullmatch(str(word)) or own:
        return ""
    if macro[1] == "program" and program is None:
        return f"{path}: ${{program}} needs the key program, which says what it is"
    if macro[1] in MACROS:
        return ""
    meant = suggest_matches(macro[1], MACROS)
    known = join_words([f"${{{name}}}" for name in (*MACROS, "envvar:NAME")])
    return f"{path}: the macro {word} is unknown{meant or f'; W&B has {known}'}"
