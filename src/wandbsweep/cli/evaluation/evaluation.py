"""Train a sweep's best configurations again: plan it, run the commands, and read what the runs measured.

Each configuration is a multirun of the sweep's command over the seeds, a plain grid, so that it uses the launcher of
the sweep with as many agents. Its configuration is composed from the snapshot that the sweep made of ``conf/``, and its
runs belong to no sweep (see ``callback``), so that the training may use its test split.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandbsweep.cli.evaluation.callback import FILE, STOPPED, describe_missing
from wandbsweep.cli.evaluation.progress import follow_runs, read_json
from wandbsweep.errors import SweepDirectoryError, SweepError
from wandbsweep.results.analysis.evaluation import Comparison, Summary, compare, find_bounds, summarise
from wandbsweep.results.analysis.trial_matrix import find_goal
from wandbsweep.results.reader import SweepReader
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.sweep.launch_record import SNAPSHOT, LaunchRecord
from wandbsweep.sweep.override_strings import SWEEP_KEY, format_value
from wandbsweep.trial import SUCCEEDED, TrialRecord

_CALLBACK = "wandbsweep.cli.evaluation.callback.EvaluationCallback"
# Keep the sweeper's settings on how trials run, and drop those on which trials run.
_KEPT = "agents|agents_at_once|count|gpus_per_agent|isolation|lease_s|max_attempts|preload|resume_key"
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
    named: bool
    """Whether the user named the metric."""

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

    Returns:
        The commands to run, and the runs' directories and seeds.

    Raises:
        SweepError: The sweep has no best trial or no command, or an argument is out of range.
    """
    for name, value in (("--seeds", seeds), ("--top", top)):
        if value < 1:
            raise SweepError(f"The value of {name} is {value}, but must be >= 1.")
    record = data.launch_record
    if record is None:
        raise SweepError(f"{data.directory} was not started by Hydra, so there is no command to run again.")
    if record.program is not None:
        raise SweepError(
            "Configurations of a sweep of wandbsweep run are evaluated by a sweep of their own: a file with method: "
            "grid, the best values, and the seeds as values of its seed's parameter. `wandbsweep best` prints the best."
        )
    config = data.configuration
    key = _choose_seed_key(data, config, seed_key)
    used = _find_used_seeds(data, config, key)
    chosen = [seed for seed in range(1, seeds + len(used) + 1) if seed not in used][:seeds]
    seeding = f"{key}={','.join(map(str, chosen))}"
    measured = metric or _choose_metric(data, config)
    directory = _find_free_directory(data.directory / "evaluate")
    naming = data.name_metric(measured)
    candidates = []
    for trial in _find_winners(data, top):
        place = directory / str(trial.number)
        command = [
            *_find_program(record, data.directory),
            "-m",
            *_select_hydra_overrides(record),
            *_drop_sweep(record, config),
            *(line for line in data.overrides(trial) if _parse_key(line) != key),
            seeding,
            *(["test=true"] if _has_test_switch(config) else []),
            *naming,
            *extra,
            *_add_agents(config, len(chosen)),
            f"hydra.sweep.dir={format_value(str(place))}",
            f"+hydra.callbacks.wandbsweep_evaluate={_describe_callback(data, measured, directory, naming)}",
        ]
        candidates.append(CandidateRuns(trial, command, place))
    warnings = []
    if measured == _name_sweep_metric(data):
        warnings.append(f"The sweep chose its trials by {measured}: with --metric, name one of data it never saw.")
    return EvaluationPlan(
        data, Path(record.application.cwd), measured, key, chosen, directory, candidates, warnings, bool(metric)
    )


def _find_winners(data: SweepData, top: int) -> list[TrialRecord]:
    """Return one trial of each of the best ``top`` configurations, the best first."""
    winners: list[TrialRecord] = []
    if data.spec.repeats:
        valued = (c for c in data.configurations if c.mean is not None)
        winners = [c.first for c in valued if c.is_feasible(data.spec.limits)]
    elif data.best is not None:
        ended = [t for t in data.ranked if t.state in SUCCEEDED and (t.value is not None or t.metrics)]
        distinct: dict[str, TrialRecord] = {}
        for trial in ended:
            if data.is_infeasible(trial):
                continue
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


def _has_test_switch(config: Mapping[str, Any]) -> bool:
    """Return whether a boolean key ``test`` switches the test split on, by the convention of common templates."""
    return isinstance(config.get("test"), bool)


def _describe_callback(data: SweepData, metric: str, directory: Path, naming: Sequence[str]) -> str:
    """Return the configuration of the callback that records the runs, as a value on the command line."""
    is_own = metric == _name_sweep_metric(data)
    options: dict[str, Any] = {
        "_target_": _CALLBACK,
        "directory": str(directory),
        "metric": metric,
        "goal": find_goal(data.spec, metric),
        "rule": data.value_rule if is_own else None,
        # By Hydra's convention the number is of the metric that is optimised, or that the configuration names.
        "returned": is_own or bool(naming),
    }
    return "{" + ",".join(f"{name}:{format_value(value)}" for name, value in options.items()) + "}"


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
    return ["hydra/sweeper=wandbsweep", *(line for line in record.overrides.hydra if not _DROPPED.match(line))]


def _drop_sweep(record: LaunchRecord, config: Mapping[str, Any]) -> list[str]:
    """Return the override that removes the sweep's configuration, unless the sweep's command line had brought it."""
    lines = [slot.get("line", "") for slot in record.overrides.slots]
    is_group = SWEEP_KEY in (_get(config, "hydra.runtime.choices") or {})
    is_brought = any(re.match(rf"[+]+{SWEEP_KEY}{'=' if is_group else '[=.]'}", line) for line in lines)
    return [f"~{SWEEP_KEY}"] if SWEEP_KEY in record.overrides.stripped_keys and not is_brought else []


def _parse_key(line: str) -> str:
    return line.lstrip("+~").partition("=")[0]


def _add_agents(config: Mapping[str, Any], runs: int) -> list[str]:
    """Return the override that trains ``runs`` side by side, unless the sweep says how many agents there may be.

    Hydra's basic launcher runs one job after another in any case.
    """
    launcher = str(_get(config, "hydra.launcher._target_"))
    limits = (_get(config, f"hydra.sweeper.{key}") for key in ("agents", "count", "gpus_per_agent"))
    if launcher.endswith("BasicLauncher") or any(limit is not None for limit in limits):
        return []
    return [f"hydra.sweeper.agents={runs}"]


def _find_free_directory(parent: Path) -> Path:
    """Return the first unused numbered directory in ``parent``."""
    taken = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
    return parent / str(max(taken, default=-1) + 1)


# -- the runs -------------------------------------------------------------------------------------------------------


def run_evaluation(plan: EvaluationPlan) -> list[Candidate]:
    """Run the commands one after another, with their output on standard error.

    They are stopped after a run without a value, and by Ctrl-C. What has a value by then is returned.

    Returns:
        The candidates, the sweep's best first.

    Raises:
        SweepError: A command cannot be started, or no run has a value of the metric.
    """
    stop = plan.directory / STOPPED
    for runs in plan.candidates:
        command = shlex.join(runs.command)
        print(f"Trial {runs.trial.number}, {len(plan.seeds)} seeds: {command}", file=sys.stderr, flush=True)
        try:
            process = subprocess.Popen(runs.command, cwd=plan.cwd, stdout=2)  # the runs' directories have the failures
        except OSError as error:
            raise SweepError(f"Cannot start {runs.command[0]} in {plan.cwd}: {error.strerror}.") from None
        try:
            follow_runs(
                process,
                runs.directory,
                [f"{plan.seed_key}={seed}" for seed in plan.seeds],
                plan.metric,
                _print_progress,
            )
        except KeyboardInterrupt:  # the process has received it as well
            process.wait()
            plan.warnings.append("Interrupted: not all runs were made.")
            break
        if stop.exists():
            reason = stop.read_text(encoding="utf-8")
            hint = (
                ""
                if plan.named or plan.metric not in reason
                else "; with --metric, name one that the training measures"
            )
            plan.warnings.append(f"Stopped, since {reason}{hint}. Its log is there.")
            break
    candidates: list[Candidate] = []
    for runs in plan.candidates:
        candidates.append(_read_candidate(plan, runs, candidates[0].values if candidates else {}))
    if not any(candidate.values for candidate in candidates):
        reasons = [reason for candidate in candidates for reason in candidate.failed.values()]
        reason = plan.warnings[-1] if stop.exists() else f"{next(iter(reasons), 'none was started')}."
        raise SweepError(f"No run gave a value of {plan.metric!r}: {reason} The runs are in {plan.directory}.")
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
    stopped = (plan.directory / STOPPED).exists()
    for seed in plan.seeds:
        if (trial := by_seed.get(seed)) is None:
            failed[seed] = missing
            continue
        found = read_json(runs.directory / str(trial.number) / FILE) or {}
        value = found.get("value")
        if value is not None and (found.get("ended") or trial.state == "finished"):
            values[seed] = float(value)
        elif trial.state == "finished" or "ended" in found:
            failed[seed] = trial.reason or f"it {describe_missing(plan.metric, found)}"
        else:
            failed[seed] = "it was not run: see above" if stopped and not found else trial.reason or "it did not end"
    bounds = find_bounds(plan.metric, [*values.values(), *first.values()])
    summary = summarise(list(values.values()), bounds) if values else None
    common = [seed for seed in first if seed in values]
    pairs = [first[seed] for seed in common], [values[seed] for seed in common]
    comparison = compare(*pairs, bounds) if common else None
    return Candidate(runs.trial, values, failed, summary, comparison)


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
