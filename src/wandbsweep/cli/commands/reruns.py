"""A sweep's best configurations run again with other seeds: the commands, and what they measured.

Each configuration is a multirun of the stored command over the seeds, a plain grid, so that it goes through the
launcher that the sweep went through, with as many agents. Its runs see no sweep (``recorder.py``), so that the task may
use its test split. They are composed from the configuration files as they were when the sweep was started.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wandbsweep.cli.commands.recorder import FILE
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.results.analysis.evaluation import Comparison, Summary, compare, summarise
from wandbsweep.results.analysis.trial_matrix import find_goal
from wandbsweep.results.sweep_results import SweepResults, open_sweep
from wandbsweep.sweep.launch_record import SNAPSHOT, LaunchRecord
from wandbsweep.sweep.override_strings import SWEEP_KEY, format_value
from wandbsweep.trial import TrialRecord

_RECORDER = "+hydra.callbacks.wandbsweep_evaluate._target_=wandbsweep.cli.commands.recorder.Recorder"
# What of the sweeper's settings concerns how trials run, not which.
_KEPT = "agents|count|gpus_per_agent|isolation|lease_s|max_attempts"
_DROPPED = re.compile(rf"[+~]*hydra(/sweeper|\.mode|\.sweep\.|\.sweeper\.(?!({_KEPT})\b))")


@dataclass(frozen=True)
class Job:
    """One configuration's multirun."""

    trial: TrialRecord
    command: Sequence[str]
    directory: Path

    @property
    def shown(self) -> str:
        return shlex.join(self.command)


@dataclass(frozen=True)
class Evaluation:
    """What is to be run."""

    results: SweepResults
    metric: str
    seed_key: str
    seeds: Sequence[int]
    directory: Path
    jobs: Sequence[Job]
    warnings: list[str]

    def run(self) -> Evaluated:
        """Run the commands one after another, their output going to stderr, and read what they measured."""
        plan = self.results.launch_record
        assert plan is not None
        for job in self.jobs:
            print(f"Trial {job.trial.number}, {len(self.seeds)} seeds: {job.shown}", file=sys.stderr, flush=True)
            try:
                subprocess.run(job.command, cwd=plan.application.cwd, stdout=2)  # failures are read from its files
            except OSError as error:
                raise SweepError(
                    f"Cannot start {job.command[0]} in {plan.application.cwd}: {error.strerror}."
                ) from None
        return self._read()

    def _read(self) -> Evaluated:
        found = [self._configuration(job) for job in self.jobs]
        if not any(c.values for c in found):
            reasons = [reason for c in found for reason in c.failed.values()]
            raise SweepError(
                f"No run gave a value of {self.metric!r}: {reasons[0] if reasons else 'none was started'}. "
                f"Their logs are in {self.directory}."
            )
        first, *others = found
        comparisons = {}
        for other in others:
            common = [seed for seed in first.values if seed in other.values]
            if common:
                pair = [first.values[s] for s in common], [other.values[s] for s in common]
                comparisons[other.number] = compare(*pair)
        spec = self.results.spec
        return Evaluated(
            self.metric,
            find_goal(spec, self.metric),
            self.seed_key,
            self.directory,
            spec.metric.name if spec.metric else None,
            len(self.results.trials),
            found,
            comparisons,
            self.warnings,
        )

    def _configuration(self, job: Job) -> Evaluatee:
        values, failed = {}, {}
        for seed, (number, state, reason) in self._runs(job).items():
            measured = _measured(job.directory / str(number) / FILE)
            value = measured.get("reported", {}).get(self.metric, measured.get("returned"))
            if state == "finished" and value is not None:
                values[seed] = float(value)
            else:
                seen = ", ".join(measured.get("reported", {})) or "nothing"
                failed[seed] = reason or f"it returned no number and did not report {self.metric!r} (reported: {seen})"
        summary = summarise(list(values.values())) if values else None
        return Evaluatee(job.trial.number, job.trial.params, job.trial.value, values, failed, summary)

    def _runs(self, job: Job) -> dict[int, tuple[int, str, str]]:
        """By seed: the number, state and failure of its run."""
        try:
            trials = open_sweep(job.directory).trials
        except SweepDirectoryError:
            return dict.fromkeys(self.seeds, (0, "failed", "the command did not start its runs; see above"))
        found = {int(t.params.get(self.seed_key, self.seeds[0])): (t.number, t.state, t.reason) for t in trials}
        return {seed: found.get(seed, (0, "queued", "it was not run")) for seed in self.seeds}


@dataclass(frozen=True)
class Evaluatee:
    """One configuration's runs."""

    number: int
    params: Mapping[str, Any]
    sweep_value: float | None
    values: Mapping[int, float]
    """By seed."""
    failed: Mapping[int, str]
    summary: Summary | None


@dataclass(frozen=True)
class Evaluated:
    """What came of an evaluation."""

    metric: str
    goal: str
    seed_key: str
    directory: Path
    sweep_metric: str | None
    trials: int
    configurations: Sequence[Evaluatee]
    comparisons: Mapping[int, Comparison]
    """Of the best with each other one, by its number."""
    warnings: list[str] = field(default_factory=list)


def plan_evaluation(
    results: SweepResults,
    *,
    seeds: int,
    seed_key: str | None,
    metric: str | None,
    top: int,
    extra: Sequence[str] = (),
) -> Evaluation:
    """What to run; SweepError where it cannot be done."""
    for name, value in (("--seeds", seeds), ("--top", top)):
        if value < 1:
            raise SweepError(f"The value of {name} is {value}, but must be >= 1.")
    plan = results.launch_record
    if plan is None:
        raise SweepError(f"{results.directory} was not started by Hydra, so there is no command to run again.")
    config = _config(results.directory)
    key = seed_key or (results.spec.repeats.parameter if results.spec.repeats else "seed")
    if seed_key is None and key not in config and key not in results.spec.parameters and not results.spec.repeats:
        known = ", ".join(sorted(k for k in config if "seed" in str(k).lower())) or "none has 'seed' in its name"
        raise SweepError(
            f"The configuration has no key 'seed'; name the one that the training is seeded by with --seed-key KEY "
            f"(top-level keys: {known})."
        )
    winners = _winners(results, top)
    used = _used_seeds(results, config, key)
    chosen = [seed for seed in range(1, seeds + len(used) + 1) if seed not in used][:seeds]
    name, own, warnings = _metric(results, config, metric)
    directory = _free(results.directory / "evaluate")
    jobs = []
    for trial in winners:
        place = directory / str(trial.number)
        lines = [line for line in results.overrides(trial) if _key(line) != key]
        seeding = f"{key}={','.join(map(str, chosen))}"
        command = [*_start(plan, results.directory), "-m", *_kept(plan), *lines, seeding, *own, *extra]
        jobs.append(Job(trial, [*command, f"hydra.sweep.dir={format_value(str(place))}", _RECORDER], place))
    return Evaluation(results, name, key, chosen, directory, jobs, warnings)


def _winners(results: SweepResults, top: int) -> list[TrialRecord]:
    """The best configurations, each once."""
    if results.spec.repeats:
        return [c.first for c in results.configurations if c.mean is not None][:top] or _none(results)
    ended = [t for t in results.ranked if t.state in ("finished", "stopped") and (t.value is not None or t.metrics)]
    distinct: dict[str, TrialRecord] = {}
    for trial in ended:
        distinct.setdefault(repr(sorted(trial.params.items())), trial)
    if results.best is None:
        return _none(results)
    return list(distinct.values())[:top]


def _none(results: SweepResults) -> list[TrialRecord]:
    raise SweepError(f"The sweep {results.sweep_id} has no best trial yet.")


def _metric(results: SweepResults, config: Mapping[str, Any], metric: str | None) -> tuple[str, list[str], list[str]]:
    """What is measured, the overrides for it, and warnings.

    A configuration with a boolean key ``test`` has it set, and one with a text ``metric`` is told the name: this
    project's own convention, and that of the templates it follows.
    """
    spec = results.spec
    own = spec.metric.name if spec.metric else spec.metrics[0].name if spec.metrics else "value"
    has_test = isinstance(config.get("test"), bool)
    name = metric or (f"test/{own.rpartition('/')[2]}" if has_test else own)
    overrides = ["test=true"] if has_test else []
    overrides += [f"metric={format_value(name)}"] if isinstance(config.get("metric"), str) else []
    if name == own:
        warning = f"{name} is what the sweep chose by: name a metric of data that it never saw with --metric."
        return name, overrides, [warning]
    return name, overrides, []


def _start(plan: LaunchRecord, directory: Path) -> list[str]:
    first, *rest = plan.application.command
    if re.fullmatch(r"python[\d.]*", Path(first).name) and (shutil.which(first) is None or first == "python"):
        first = sys.executable
    return [first, *_snapshot(rest, plan, directory)]


def _snapshot(words: list[str], plan: LaunchRecord, directory: Path) -> list[str]:
    """The rest of the command, led to the configuration as it was: editing conf/ since then changes nothing."""
    own = next((path for provider, path in plan.snapshot.search_path if provider == "main"), "")
    copied = own.removeprefix("snapshot://")
    if own == copied or not (directory / SNAPSHOT / copied).is_dir():
        return words
    if "--config-path" in words:
        at = words.index("--config-path")
        words = [*words[:at], *words[at + 2 :]]
    return [*words, "--config-path", str(directory / SNAPSHOT / copied)]


def _kept(plan: LaunchRecord) -> list[str]:
    own = [line for line in plan.overrides.hydra if not _DROPPED.match(line)]
    return ["hydra/sweeper=wandbsweep", *own, *([f"~{SWEEP_KEY}"] if SWEEP_KEY in plan.overrides.stripped_keys else [])]


def _used_seeds(results: SweepResults, config: Mapping[str, Any], key: str) -> set[int]:
    """The seeds that the sweep itself ran with: its winner has been chosen by them."""
    found = {trial.params[key] for trial in results.trials if key in trial.params} or {_at(config, key)}
    return {seed for seed in found if isinstance(seed, int)}


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config


def _config(directory: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load((directory / "multirun.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _measured(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _free(parent: Path) -> Path:
    taken = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
    return parent / str(max(taken, default=-1) + 1)


def _key(line: str) -> str:
    return line.lstrip("+~").partition("=")[0]
