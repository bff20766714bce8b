"""Train a sweep's best configurations again: plan it, run the commands, and read what the runs measured.

Each configuration is a multirun of the sweep's command over the seeds, a plain grid, so that it uses the launcher of
the sweep with as many agents. Its configuration is composed from the snapshot that the sweep made of ``conf/``, and its
runs belong to no sweep (see ``callback``), so that the training may use its test split.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wandbsweep.cli.evaluation.callback import FILE
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.results.analysis.evaluation import Comparison, Summary, compare, summarise
from wandbsweep.results.analysis.trial_matrix import find_goal
from wandbsweep.results.reader import SweepReader
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.sweep.launch_record import SNAPSHOT, LaunchRecord
from wandbsweep.sweep.override_strings import SWEEP_KEY, format_value
from wandbsweep.text import quote_names
from wandbsweep.trial import TrialRecord

_CALLBACK = "+hydra.callbacks.wandbsweep_evaluate._target_=wandbsweep.cli.evaluation.callback.EvaluationCallback"
# Keep the sweeper's settings on how trials run, and drop those on which trials run.
_KEPT = "agents|count|gpus_per_agent|isolation|lease_s|max_attempts"
_DROPPED = re.compile(rf"[+~]*hydra(/sweeper|\.mode|\.sweep\.|\.sweeper\.(?!({_KEPT})\b))")


@dataclass(frozen=True)
class CandidateRuns:
    """The multirun that trains one configuration with every seed."""

    trial: TrialRecord
    command: Sequence[str]
    directory: Path


@dataclass(frozen=True)
class Candidate:
    """One configuration, and the results of its runs by seed."""

    trial: TrialRecord
    """The trial of the sweep that had this configuration."""
    values: Mapping[int, float]
    failed: Mapping[int, str]
    """Why a run has no value."""
    summary: Summary | None
    """None: no run has a value."""
    comparison: Comparison | None
    """Of the first candidate with this one; None for the first, and if no seed has a value of both."""


@dataclass(frozen=True)
class EvaluationPlan:
    """What an evaluation runs and measures."""

    data: SweepData
    cwd: Path
    """Where the commands run."""
    metric: str
    seed_key: str
    seeds: Sequence[int]
    directory: Path
    candidates: Sequence[CandidateRuns]
    """The sweep's best first."""
    warnings: list[str]

    @property
    def goal(self) -> str:
        return find_goal(self.data.spec, self.metric)

    @property
    def sweep_metric(self) -> str | None:
        return self.data.spec.metric.name if self.data.spec.metric else None


def plan_evaluation(
    data: SweepData,
    *,
    seeds: int,
    seed_key: str | None,
    metric: str | None,
    top: int,
    extra: Sequence[str] = (),
) -> EvaluationPlan:
    """Plan to train the best configurations again.

    Args:
        data: The sweep.
        seeds: How many runs each configuration gets. Seeds that the sweep used are left out.
        seed_key: The configuration key of the seed; None: that of ``repeats``, else ``seed``.
        metric: What to measure; None: the sweep's metric on the test split if the training has one.
        top: How many of the best configurations.
        extra: Hydra overrides for these runs.

    Raises:
        SweepError: The sweep has no best trial or no command, or an argument is out of range.
    """
    for name, value in (("--seeds", seeds), ("--top", top)):
        if value < 1:
            raise SweepError(f"The value of {name} is {value}, but must be >= 1.")
    record = data.launch_record
    if record is None:
        raise SweepError(f"{data.directory} was not started by Hydra, so there is no command to run again.")
    config = _read_mapping(data.directory / "multirun.yaml", yaml.safe_load)
    key = _choose_seed_key(data, config, seed_key)
    used = _find_used_seeds(data, config, key)
    chosen = [seed for seed in range(1, seeds + len(used) + 1) if seed not in used][:seeds]
    seeding = f"{key}={','.join(map(str, chosen))}"
    measured = metric or _choose_metric(data, config)
    directory = _find_free_directory(data.directory / "evaluate")
    candidates = []
    for trial in _find_winners(data, top):
        place = directory / str(trial.number)
        command = [
            *_find_program(record, data.directory),
            "-m",
            *_select_hydra_overrides(record),
            *(line for line in data.overrides(trial) if _parse_key(line) != key),
            seeding,
            *_select_own_overrides(config, measured),
            *extra,
            f"hydra.sweep.dir={format_value(str(place))}",
            _CALLBACK,
        ]
        candidates.append(CandidateRuns(trial, command, place))
    warnings = []
    if measured == _name_sweep_metric(data):
        warnings.append(f"The sweep chose its trials by {measured}: with --metric, name one of data it never saw.")
    return EvaluationPlan(data, Path(record.application.cwd), measured, key, chosen, directory, candidates, warnings)


def _find_winners(data: SweepData, top: int) -> list[TrialRecord]:
    """Return one trial of each of the best ``top`` configurations, the best first."""
    winners: list[TrialRecord] = []
    if data.spec.repeats:
        winners = [c.first for c in data.configurations if c.mean is not None]
    elif data.best is not None:
        ended = [t for t in data.ranked if t.state in ("finished", "stopped") and (t.value is not None or t.metrics)]
        distinct: dict[str, TrialRecord] = {}
        for trial in ended:
            distinct.setdefault(repr(sorted(trial.params.items())), trial)
        winners = list(distinct.values())
    if not winners:
        raise SweepError(f"The sweep {data.sweep_id} has no best trial yet.")
    return winners[:top]


# -- the metric -----------------------------------------------------------------------------------------------------


def _name_sweep_metric(data: SweepData) -> str:
    return data.spec.objectives[0].name if data.spec.objectives else "value"


def _choose_metric(data: SweepData, config: Mapping[str, Any]) -> str:
    own = _name_sweep_metric(data)
    return f"test/{own.rpartition('/')[2]}" if _has_test_switch(config) else own


def _select_own_overrides(config: Mapping[str, Any], metric: str) -> list[str]:
    """Return the overrides that make the training measure ``metric``, by the convention of common templates.

    A boolean key ``test`` switches the test split on, and a text key ``metric`` names the metric.
    """
    overrides = ["test=true"] if _has_test_switch(config) else []
    return overrides + ([f"metric={format_value(metric)}"] if isinstance(config.get("metric"), str) else [])


def _has_test_switch(config: Mapping[str, Any]) -> bool:
    return isinstance(config.get("test"), bool)


# -- the seeds ------------------------------------------------------------------------------------------------------


def _choose_seed_key(data: SweepData, config: Mapping[str, Any], seed_key: str | None) -> str:
    if seed_key:
        return seed_key
    if data.spec.repeats:
        return data.spec.repeats.parameter
    if "seed" not in config and "seed" not in data.spec.parameters:
        known = ", ".join(sorted(k for k in config if "seed" in str(k).lower())) or "none has 'seed' in its name"
        raise SweepError(
            f"The configuration has no key 'seed'; name the key of the training's seed with --seed-key KEY "
            f"(top-level keys: {known})."
        )
    return "seed"


def _find_used_seeds(data: SweepData, config: Mapping[str, Any], key: str) -> set[int]:
    """Return the seeds of the sweep's own trials. The winner was chosen with them, so its results would be too good."""
    found = {trial.params[key] for trial in data.trials if key in trial.params} or {_get(config, key)}
    return {seed for seed in found if isinstance(seed, int)}


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


# -- the command ----------------------------------------------------------------------------------------------------


def _find_program(record: LaunchRecord, directory: Path) -> list[str]:
    """Return the words that start the application, with its configuration as the sweep found it."""
    first, *rest = record.application.command
    if re.fullmatch(r"python[\d.]*", Path(first).name) and (shutil.which(first) is None or first == "python"):
        first = sys.executable
    return [first, *_point_to_snapshot(rest, record, directory)]


def _point_to_snapshot(words: list[str], record: LaunchRecord, directory: Path) -> list[str]:
    """Return the command's words with the snapshot as ``--config-path``, so that edits of conf/ have no effect."""
    main = next((path for provider, path in record.snapshot.search_path if provider == "main"), "")
    copy = main.removeprefix("snapshot://")
    if main == copy or not (directory / SNAPSHOT / copy).is_dir():
        return words
    if "--config-path" in words:
        at = words.index("--config-path")
        words = [*words[:at], *words[at + 2 :]]
    return [*words, "--config-path", str(directory / SNAPSHOT / copy)]


def _select_hydra_overrides(record: LaunchRecord) -> list[str]:
    kept = [line for line in record.overrides.hydra if not _DROPPED.match(line)]
    return [
        "hydra/sweeper=wandbsweep",
        *kept,
        *([f"~{SWEEP_KEY}"] if SWEEP_KEY in record.overrides.stripped_keys else []),
    ]


def _parse_key(line: str) -> str:
    return line.lstrip("+~").partition("=")[0]


def _find_free_directory(parent: Path) -> Path:
    """Return the first unused numbered directory in ``parent``."""
    taken = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
    return parent / str(max(taken, default=-1) + 1)


# -- the runs -------------------------------------------------------------------------------------------------------


def run_evaluation(plan: EvaluationPlan) -> list[Candidate]:
    """Run the commands one after another, with their output on standard error.

    Returns:
        The candidates, the sweep's best first.

    Raises:
        SweepError: A command cannot be started, or no run has a value of the metric.
    """
    for runs in plan.candidates:
        command = shlex.join(runs.command)
        print(f"Trial {runs.trial.number}, {len(plan.seeds)} seeds: {command}", file=sys.stderr, flush=True)
        try:
            subprocess.run(runs.command, cwd=plan.cwd, stdout=2)  # failures are read from the runs' directories
        except OSError as error:
            raise SweepError(f"Cannot start {runs.command[0]} in {plan.cwd}: {error.strerror}.") from None
    candidates: list[Candidate] = []
    for runs in plan.candidates:
        candidates.append(_read_candidate(plan, runs, candidates[0].values if candidates else {}))
    if not any(candidate.values for candidate in candidates):
        reason = next((reason for candidate in candidates for reason in candidate.failed.values()), "none was started")
        raise SweepError(f"No run gave a value of {plan.metric!r}: {reason}. Their logs are in {plan.directory}.")
    return candidates


def _read_candidate(plan: EvaluationPlan, runs: CandidateRuns, first: Mapping[int, float]) -> Candidate:
    """Read what the runs of a configuration measured, and compare it with the values of the first one."""
    try:
        trials = SweepReader(runs.directory).read().trials
        missing = "it was not run"
    except SweepDirectoryError:
        trials, missing = [], "the command did not start its runs; see above"
    # With one seed there is nothing to sweep over, so the run has no parameter of that name.
    by_seed = {int(trial.params.get(plan.seed_key, plan.seeds[0])): trial for trial in trials}
    values, failed = {}, {}
    for seed in plan.seeds:
        if (trial := by_seed.get(seed)) is None:
            failed[seed] = missing
            continue
        measured = _read_mapping(runs.directory / str(trial.number) / FILE, json.loads)
        value = measured.get("reported", {}).get(plan.metric, measured.get("returned"))
        if trial.state == "finished" and value is not None:
            values[seed] = float(value)
        else:
            seen = quote_names(measured.get("reported", {}))
            explanation = f"it returned no number and did not report {plan.metric!r} (reported: {seen})"
            failed[seed] = trial.reason or explanation
    summary = summarise(list(values.values())) if values else None
    common = [seed for seed in first if seed in values]
    comparison = compare([first[seed] for seed in common], [values[seed] for seed in common]) if common else None
    return Candidate(runs.trial, values, failed, summary, comparison)


def _read_mapping(file: Path, load: Callable[[str], Any]) -> dict[str, Any]:
    """Return what ``file`` holds; empty if it cannot be read, or holds something else."""
    try:
        found = load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
