"""The macros of ``command``, compared with the code of W&B's own agent."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from wandbsweep.errors import SweepConfigError
from wandbsweep.programs.macros import MACROS, Words, expand, find_notes, nest_params, read_command

VALUES: dict[str, Any] = {
    "learning_rate": 1e-05,
    "batch_size": 32,
    "use_bias": True,
    "nesterov": False,
    "note": "two words, a 'quote' and ${args}",
    "nothing": None,
    "widths": [64, "a b", None],
    "optimizer": {"name": "sgd", "momentum": 0.9},
    "optimizer.lr": 0.1,
}
COMMANDS: list[list[Any]] = [
    ["${env}", "${interpreter}", "${program}", "${args}"],
    ["${env}", "python3", "-m", "package.train", "${args_no_hyphens}"],
    ["${interpreter}", "${program}", "${args_no_boolean_flags}"],
    ["python", "${program}", "${args_no_equals}", 7, 0.5],
    ["${env}", "${interpreter}", "${program}", "${args_json}"],
    ["${env}", "${interpreter}", "${program}", "--config", "${args_json_file}"],
    [
        "${env}",
        "CUDA_VISIBLE_DEVICES=${envvar:GPU}",
        "${interpreter}",
        "${program}",
        "--root=${envvar:ROOT}/x",
        "${args}",
    ],
    ["${env}", "${interpreter}", "${program}", "${args_append_hydra}", "+seed=${envvar:NONESUCH}"],
    ["${env}", "${interpreter}", "${program}", "${args_override_hydra}", "hydra.job.name=${envvar:ROOT}"],
    ["bash", "run.sh", "--all=${args}", "${program}", "${args}", "${args_json}"],
]


def expand_as_wandb(command: list[Any], args: Mapping[str, Any], json_file: str) -> list[str]:
    """What ``wandb agent`` makes of a command, by its own functions and the lines of ``Agent._command_run``."""
    from wandb.sdk.launch.sweeps import utils

    words = utils.create_sweep_command(list(command))
    found = utils.create_sweep_command_args({"args": {name: {"value": value} for name, value in args.items()}})
    found |= {
        "interpreter": ["python"],
        "program": ["train.py"],
        "args_json_file": [json_file],
        "env": ["/usr/bin/env"],
    }
    expanded: list[str] = []
    for word in map(str, words):
        is_macro = word.startswith("${") and word.endswith("}")
        expanded += (found.get(word[2:-1]) or []) if is_macro else [word]
    return expanded


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command[-1]))
def test_a_command_is_what_wandbs_agent_makes_of_it(command: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU", "1")
    monkeypatch.setenv("ROOT", "/data")
    monkeypatch.delenv("NONESUCH", raising=False)
    words = Words(VALUES, VALUES, "train.py", "python", "/tmp/7.json", "/tmp/7")
    ours = expand(read_command(command, "train.py"), words, os.environ)
    assert ours == expand_as_wandb(command, VALUES, "/tmp/7.json")


def test_the_commands_have_every_macro() -> None:
    used = {word for command in COMMANDS for word in command}
    assert {f"${{{name}}}" for name in MACROS} <= used


def test_without_a_command_it_is_wandbs_default() -> None:
    assert read_command(None, "train.py") == COMMANDS[0]
    assert read_command([], "train.py") == COMMANDS[0]


def test_a_hydra_application_gets_overrides_and_the_trials_directory() -> None:
    command = read_command(None, "train.py", is_hydra=True)
    words = Words({"lr": None, "name": "a b", "on": True}, {}, "train.py", "python", "", "/sweep/7")
    overrides = ["lr=null", "name='a b'", "on=true", "hydra.run.dir=/sweep/7"]
    assert expand(command, words, {}) == ["/usr/bin/env", "python", "train.py", *overrides]
    given = ["python", "${program}", "${args_no_hyphens}", "hydra.run.dir=x"]
    assert read_command(given, "train.py", is_hydra=True) == given
    assert read_command(given[:-1], "train.py", is_hydra=True) == [*given[:-1], "${run_directory}"]


def test_nested_parameters_are_one_argument() -> None:
    inner = {"parameters": {"lr": {"min": 0, "max": 1}, "extra": {"parameters": {"beta": {"value": 2}}}}}
    parameters = {"optimizer": inner, "model.width": {"values": [1]}}
    params = {"model.width": 1, "optimizer.lr": 0.5, "optimizer.extra.beta": 2, "seed": 3}
    nested = {"optimizer": {"lr": 0.5, "extra": {"beta": 2}}, "model.width": 1, "seed": 3}
    assert nest_params(params, parameters) == nested
    assert nest_params({"model.width": 1}, parameters) == {"model.width": 1}  # a condition leaves the others out


def test_words_reach_the_program_without_a_shell() -> None:
    words = Words(VALUES, VALUES, "-c", "python3", "", "")
    source = "import json, sys; print(json.dumps(sys.argv[1:]))"
    command = expand(["${env}", "${interpreter}", "${program}", source, "${args}"], words, os.environ)
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == [f"--{name}={value}" for name, value in VALUES.items()]


@pytest.mark.parametrize(
    ("command", "program", "message"),
    [
        (None, None, "program: is required"),
        (["${args}"], None, None),
        (["${program}"], None, "command[0]: ${program} needs the key program"),
        (["python", "${arg}"], "train.py", "command[1]: the macro ${arg} is unknown; did you mean args"),
        (["${envvar:lower}"], "train.py", "the macro ${envvar:lower} is unknown"),
        ([["python"]], "train.py", "command[0]: ['python'] is no text"),
        ([True], "train.py", "command[0]: True is no text"),
    ],
)
def test_what_is_refused(command: list[Any] | None, program: str | None, message: str | None) -> None:
    if message is None:
        assert read_command(command, program) == command
        return
    with pytest.raises(SweepConfigError) as refused:
        read_command(command, program)
    assert message in str(refused.value)


def test_what_may_surprise_is_said() -> None:
    notes = find_notes(["--config=${args_json_file}", "${envvar:NONESUCH}", "${args}"], {})
    assert len(notes) == 2
    assert "must be a word of its own" in notes[0]
    assert "NONESUCH is not set" in notes[1]
