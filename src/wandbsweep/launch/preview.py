"""What a command would start, without starting it: ``hydra.sweeper.dry_run=true`` and ``wandbsweep preview``.

The checks are those of the command itself. The trials are those that it would propose first: a controller in memory
proposes them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from wandbsweep.agent.program_environment import make_words
from wandbsweep.bridge.multirun import Multirun
from wandbsweep.bridge.prepare import check_sweep
from wandbsweep.bridge.preview import ABSENT, compose_trials, read_launcher
from wandbsweep.launch.preview_examples import count_configurations, propose_examples
from wandbsweep.launch.preview_warnings import describe_disk, find_warnings
from wandbsweep.launch.program_launchers import parse_launcher_options
from wandbsweep.launch.program_session import ProgramRun, check_launcher
from wandbsweep.launch.program_sweep import RunOptions, check_program_sweep
from wandbsweep.launch.session import count_agents
from wandbsweep.launchers import find_profile
from wandbsweep.programs.macros import expand
from wandbsweep.results.terminal.preview import ExampleTrial, Preview, describe_value, print_preview
from wandbsweep.results.terminal.tables import make_console
from wandbsweep.search.make import find_cap
from wandbsweep.settings import Settings
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.sweep.launch_record import UNKNOWN_ID, ControllerOptions
from wandbsweep.text import escape_output, pluralize

EXAMPLES = 10


def preview_multirun(multirun: Multirun) -> Preview:
    """Return what a multirun command of a Hydra application would start.

    Args:
        multirun: The command.

    Raises:
        SweepError: The command is not valid, or joins an existing sweep.
    """
    checked, settings = check_sweep(multirun), multirun.settings
    spec, plain = checked.spec, checked.plain_grid
    hosted = settings.controller == "wandb"
    options = ControllerOptions(plain_grid=plain, seed=settings.seed)
    proposed = propose_examples(spec, options, EXAMPLES, hosted=hosted)
    composed = compose_trials(multirun, spec, proposed)
    trials = [
        ExampleTrial(
            number,
            params,
            trial.overrides,
            {key: (_show(before), _show(after)) for key, (before, after) in trial.changes.items()},
        )
        for number, (params, trial) in enumerate(zip(proposed, composed, strict=True))
    ]
    cap, size = find_cap(spec, plain), count_configurations(spec, plain)
    launcher = read_launcher(multirun.config, checked.directory)
    profile = find_profile(str(multirun.config.hydra.launcher._target_))
    agents = count_agents(settings, cap)
    jobs = _describe_jobs(profile.name, agents, launcher, settings)
    disk, notes = describe_disk(checked.directory, cap)
    if checked.exists:
        notes.append(f"{checked.directory} holds this sweep already: the command would join it")
    if hosted:
        notes.append("W&B's servers propose the trials: those above are points of the space; W&B was not asked")
    if profile.name == "basic" and agents > 1:
        notes.append(f"hydra/launcher=basic runs the {agents} agents one after another")
    notes += find_warnings(spec, size, trial=composed[0].config if composed else {})
    relation = _relate(spec, settings.seed, hosted=hosted)
    return Preview(spec, checked.directory, size, cap, trials, relation, jobs, disk, notes)


def show_multirun(multirun: Multirun) -> list[Any]:
    """Print what a multirun command would start, and return no jobs, for Hydra."""
    preview = preview_multirun(multirun)
    escape_output()
    print_preview(preview, make_console())
    return []


def preview_program(file: str, options: RunOptions, how: ProgramRun) -> Preview:
    """Return what ``wandbsweep run`` would start.

    Args:
        file: A sweep file with a program or a command.
        options: What the sweep would be started with.
        how: Where and how agents would run.

    Raises:
        SweepError: The file breaks a rule, its program cannot be run, or the launcher cannot do what is asked of it.
    """
    settings = Settings(agents=how.agents, count=options.count, gpus_per_agent=how.gpus_per_agent, detach=how.detach)
    given = parse_launcher_options(how.launcher_options)
    check_launcher(how, given, settings)
    prepared = check_program_sweep(file, options)
    spec, program, directory = prepared.spec, prepared.record.program, prepared.directory.parent / UNKNOWN_ID
    assert program is not None
    trials = []
    for number, params in enumerate(propose_examples(spec, prepared.record.controller, EXAMPLES)):
        words = make_words(spec, program, params, directory / str(number))
        trials.append(ExampleTrial(number, params, expand(program.command, words, os.environ)))
    cap, size = find_cap(spec), count_configurations(spec)
    jobs = _describe_jobs(how.launcher, count_agents(settings, cap), given, settings)
    disk, notes = describe_disk(directory, cap)
    notes += find_warnings(spec, size, trial=trials[0].params if trials else {})
    return Preview(spec, directory, size, cap, trials, _relate(spec, options.seed), jobs, disk, notes)


def _relate(spec: SweepSpec, seed: int | None, *, hosted: bool = False) -> str:
    """Return how the sweep's own first trials relate to the examples."""
    if hosted or (seed is None and (spec.method != "grid" or spec.order == "random")):
        return "the sweep draws others of its own"
    if spec.method == "bayes" or spec.repeats:
        return "the sweep starts with these, until a trial reports"
    return "the sweep starts with these"


def _show(value: Any) -> str:
    return "(none)" if value is ABSENT else describe_value(value)


def _describe_jobs(launcher: str, agents: int, asked: Mapping[str, Any], settings: Settings) -> list[str]:
    """Return what is asked of the launcher.

    Args:
        launcher: Its name.
        agents: How many agents there would be, each a job.
        asked: The launcher's settings, for each job.
        settings: The sweeper's settings.
    """
    each = "until the sweep is over" if settings.count is None else f"each for {pluralize(settings.count, 'trial')}"
    lines = [f"{launcher}: {pluralize(agents, 'job')}, each an agent that runs trials {each}"]
    if settings.count is not None:
        lines = [f"{launcher}: {pluralize(agents, 'job')}, {each}"]
    lines += [f"{key}: {value}" for key, value in asked.items()]
    if settings.gpus_per_agent is not None:
        lines.append(f"GPUs of this machine for each agent: {settings.gpus_per_agent}")
    return lines + _describe_total(agents, asked)


def _describe_total(agents: int, asked: Mapping[str, Any]) -> list[str]:
    """Return what all jobs ask for together, of a launcher with submitit's settings."""
    at_once = min(agents, int(asked.get("array_parallelism") or agents))
    nodes = int(asked.get("nodes") or 1)
    tasks = int(asked.get("tasks_per_node") or 1)
    parts = []
    for key, noun, factor in (
        ("gpus_per_node", "GPU", 1),
        ("gpus_per_task", "GPU", tasks),
        ("cpus_per_task", "CPU", tasks),
    ):
        if isinstance(count := asked.get(key), int) and count > 0:
            parts.append(pluralize(at_once * nodes * factor * count, noun))
    if not parts:
        return []
    limit = asked.get("timeout_min")
    hours = f", for at most {limit / 60:.3g} h a start" if isinstance(limit, int) else ""
    return [f"together: at most {' and '.join(parts)} at once{hours}"]
