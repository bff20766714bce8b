"""``SweepData``: a sweep as it was read at one moment, and how its trials rank."""

from __future__ import annotations

import math
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, get_args

import yaml

from wandbsweep.controllers.outcome import choose_value
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.errors import SweepError
from wandbsweep.programs.macros import RUN_DIRECTORY, Words, expand, nest_params
from wandbsweep.search.pareto import find_front
from wandbsweep.search.repeats import Configuration, group_configurations
from wandbsweep.settings import FOREIGN_KEYS
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.base import StoredAttempt
from wandbsweep.sweep.directory import PARAMS, PARAMS_JSON
from wandbsweep.sweep.launch_record import LaunchRecord, Program
from wandbsweep.sweep.override_strings import format_overrides, format_value
from wandbsweep.text import join_words
from wandbsweep.trial import STATES, SUCCEEDED, State, TrialRecord, ValueRule
from wandbsweep.wandb_runs.sweep_run import PARAM_PATH

_CHOOSE_SWEEPER = "hydra/sweeper=wandbsweep"


@dataclass(frozen=True)
class StoredSweep:
    """What the storage holds of a sweep besides its trial records."""

    table: TrialTable
    attributes: Mapping[str, Any]
    """The study's attributes."""
    attempts: Sequence[StoredAttempt]
    """Every attempt in the order of creation, void ones included."""
    last_heartbeat: float | None
    """When an agent last renewed its lease, by its own clock (Unix time)."""


@dataclass(frozen=True)
class SweepData:
    """A sweep as it was read at one moment. Analyses, tables and the report take it as their argument."""

    directory: Path
    spec: SweepSpec
    trials: Sequence[TrialRecord]
    """Every trial ever asked for, by number."""
    launch_record: LaunchRecord | None = None
    """How Hydra runs the trials; None if ``create_sweep`` made the sweep."""
    stored: StoredSweep | None = field(default=None, repr=False, compare=False)
    """None if the trials were not read from a storage."""
    ranked_by: ValueRule | None = None
    """Set by ``rank_by``; None: the sweep's own rule, which is also the rule of the stored values."""

    def rank_by(self, rule: ValueRule | None) -> Self:
        """Return the same sweep with the best or the last value of each trial as its value; None: the sweep's own.

        Raises:
            SweepError: There is no such rule, or the sweep has several metrics, whose last values count.
        """
        if rule not in (None, *get_args(ValueRule)):
            raise SweepError(f"The value of `by` is {rule!r}, but must be {join_words(get_args(ValueRule), 'or')}.")
        if rule is None or rule == self.value_rule:
            return self
        if self.spec.metrics:
            raise SweepError("With several metrics the last values count: the best ones may be of different epochs.")
        values = (choose_value(t.reports, self.spec.goal, rule) if t.reports else t.value for t in self.trials)
        trials = [replace(trial, value=value) for trial, value in zip(self.trials, values, strict=True)]
        return replace(self, trials=trials, ranked_by=rule)

    @property
    def value_rule(self) -> ValueRule:
        """Which of the values that a trial reported is its ``value``."""
        return self.ranked_by or ("last" if self.spec.metrics else self.spec.value_rule)

    def find_step(self, trial: TrialRecord) -> int | None:
        """Return the step at which ``trial`` reached its value; None: it has none, or its task returned it."""
        if self.value_rule == "last":
            return max(trial.reports) if trial.reports and trial.value is not None else None
        return min((step for step, value in trial.reports.items() if value == trial.value), default=None)

    def find_checkpoint(self, trial: TrialRecord) -> Path | None:
        """Return the checkpoint file of the step at which ``trial`` reached its value; None: there is none.

        It reads the files in the trial's directory, so call it for few trials only.
        """
        from wandbsweep.results.checkpoints import find_checkpoint_of_step  # imports numpy

        step = self.find_step(trial)
        return None if step is None else find_checkpoint_of_step(self.trial_directory(trial), step, trial.reports)

    @property
    def sweep_id(self) -> str:
        return self.launch_record.sweep_id if self.launch_record else self.directory.name

    @cached_property
    def cap(self) -> int | None:
        """The largest number of trials that there can be; None if it is unlimited or unknown."""
        from wandbsweep.search.make import find_cap  # imports numpy

        return find_cap(self.spec, self.launch_record.controller.plain_grid if self.launch_record else None)

    @property
    def counts(self) -> dict[State, int]:
        """The number of trials in each state, without the states that no trial is in."""
        found = Counter(trial.state for trial in self.trials)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def ranked(self) -> list[TrialRecord]:
        """The trials by value, the best first and those without a value last; infeasible ones follow all others.

        With several metrics, the Pareto front comes first. With ``repeats``, the runs of a configuration stay together,
        in the order of ``configurations``. Without a metric, the trials are in the order of their numbers.
        """
        if not self.spec.objectives:
            return list(self.trials)
        if self.spec.metrics:
            front = {trial.number for trial in self.front}
            return sorted(self.trials, key=lambda trial: (trial.number not in front, trial.number))
        if self.spec.repeats:
            grouped = [run for configuration in self.configurations for run in configuration.runs]
            return [*grouped, *(trial for trial in self.trials if not trial.params)]
        return sorted(self.trials, key=lambda t: (self.is_infeasible(t), self._loss(t.value), t.number))

    @property
    def closest_to_feasible(self) -> TrialRecord | None:
        """The infeasible trial that violates the fewest limits, the best of equal ones; None: there is none."""
        infeasible = [trial for trial in self.ranked if self.is_infeasible(trial)]
        violated = {t.number: sum(bool(x.describe_violation(t.metrics)) for x in self.spec.limits) for t in infeasible}
        return min(infeasible, key=lambda trial: violated[trial.number], default=None)

    def is_infeasible(self, trial: TrialRecord) -> bool:
        """Return whether a trial ended outside ``metric.constraints``, so that it is no best one."""
        return bool(self.spec.describe_infeasibility(trial))

    @property
    def best(self) -> TrialRecord | None:
        """The feasible trial that finished or was stopped with the best value, the first of equal ones; None: none.

        With several metrics, it is the first trial of ``front``. With ``repeats``, it is the first run with a value of
        the best configuration. Without a metric it is None, since nothing says whether more or less is better.
        """
        if not self.spec.objectives:
            return None
        if self.spec.metrics:
            return next(iter(self.front), None)
        ended = (t for t in self.ranked if t.state in SUCCEEDED and t.value is not None)
        return next((trial for trial in ended if self._may_be_best(trial)), None)

    def _may_be_best(self, trial: TrialRecord) -> bool:
        """Return whether a trial is feasible, and with ``repeats`` all runs of its configuration are."""
        configuration = self.find_configuration(trial)
        return configuration.is_feasible(self.spec.limits) if configuration else not self.is_infeasible(trial)

    @property
    def winners(self) -> list[TrialRecord]:
        """The trials to show as best: the whole ``front`` of a sweep with several metrics, else ``best`` if any."""
        if self.spec.metrics:
            return self.front
        return [self.best] if self.best else []

    @cached_property
    def front(self) -> list[TrialRecord]:
        """In a sweep with several metrics, the trials that no other trial beats in all of them, by number."""
        return find_front(self.trials, self.spec.metrics)

    @cached_property
    def configurations(self) -> list[Configuration]:
        """In a sweep with ``repeats``, the configurations: those with the most seeds first, then by their means.

        In a small space the search tries configurations again, so one can have more runs than there are seeds. The
        additional runs do not move it up.
        """
        if self.spec.repeats is None:
            return []
        found = group_configurations(self.trials, self.spec.repeats)
        seeds = len(self.spec.repeats.values)
        limits = self.spec.limits
        return sorted(found, key=lambda c: (not c.is_feasible(limits), -min(len(c.values), seeds), self._loss(c.mean)))

    def find_configuration(self, trial: TrialRecord) -> Configuration | None:
        """Return the configuration that ``trial`` is a run of; None without ``repeats``."""
        return self._configuration_by_run.get(trial.number)

    @cached_property
    def _configuration_by_run(self) -> dict[int, Configuration]:
        return {run.number: configuration for configuration in self.configurations for run in configuration.runs}

    def _loss(self, value: float | None) -> float:
        if value is None:
            return math.inf
        return -value if self.spec.goal == "maximize" else value

    def list_values(self, trial: TrialRecord) -> list[float | None]:
        """Return what ``trial`` achieved: a value for each of several metrics, else its only one."""
        return [trial.metrics.get(metric.name) for metric in self.spec.metrics] or [trial.value]

    def trial_directory(self, trial: TrialRecord) -> Path:
        return self.directory / str(trial.number)

    def overrides(self, trial: TrialRecord) -> list[str]:
        """Return the Hydra overrides that compose ``trial``'s configuration."""
        if self.launch_record is None:
            return format_overrides([], trial.params)
        lines = format_overrides(self.launch_record.overrides.slots, trial.params)
        return [line for line in lines if not self.launch_record.overrides.selects_sweep(line)]

    def command(self, trial: TrialRecord) -> str | None:
        """Return the shell command that trains ``trial``'s configuration again, outside the sweep, from here.

        None if the sweep was made in Python: then it is unknown which program runs a trial.
        """
        if self.launch_record is None:
            return None
        if self.launch_record.program is not None:
            return self._run_there(self._format_program_command(trial, self.launch_record.program))
        metric = self.name_metric(self.spec.metric.name) if self.spec.metric else []
        start, own = self.launch_record.application.command, self.launch_record.run_overrides()
        return self._run_there(shlex.join([*start, *self.overrides(trial), *metric, *own, *self.run_mode]))

    def _format_program_command(self, trial: TrialRecord, program: Program) -> str:
        place = self.trial_directory(trial)
        args = nest_params(trial.params, self.spec.config.get("parameters", {}))
        words = Words(trial.params, args, self.spec.program, program.interpreter, str(place / PARAMS_JSON), str(place))
        own = [word for word in program.command if word != RUN_DIRECTORY]  # the trial's own results are to stay
        # A shell takes a word that is quoted as a whole for the name of a program.
        return f"{PARAM_PATH}={shlex.quote(str(place / PARAMS))} {shlex.join(expand(own, words, os.environ))}"

    def _run_there(self, command: str) -> str:
        """Return a shell command that runs ``command`` where the sweep was started."""
        assert self.launch_record is not None
        cwd = self.launch_record.application.cwd
        return command if os.getcwd() == cwd else f"cd {shlex.quote(cwd)} && {command}"

    @property
    def run_mode(self) -> list[str]:
        """The overrides without which a single run would be a multirun, or not compose; often none.

        One is needed if the configuration says ``hydra.mode: MULTIRUN``: Hydra then adds no such override.
        Another one is needed if it has settings of another sweeper, which need not be installed.
        """
        own, given = self.configuration.get("hydra"), self.launch_record.overrides.hydra if self.launch_record else []
        if not isinstance(own, Mapping):
            return []
        sweeper, chosen = own.get("sweeper") or {}, [line for line in given if line.lstrip("+") == _CHOOSE_SWEEPER]
        overrides = chosen if any(sweeper.get(key) is not None for key in FOREIGN_KEYS) else []
        is_given = any(line.lstrip("+").startswith("hydra.mode=") for line in given)
        return [*overrides, *(["hydra.mode=RUN"] if own.get("mode") == "MULTIRUN" and not is_given else [])]

    def name_metric(self, name: str) -> list[str]:
        """Return the overrides by which a run outside of the sweep has its metric and goal; often there are none.

        They are for applications whose configuration has a text ``metric``, which is the name of a metric, and a text
        ``goal``.
        """
        known = {own.name for own in self.spec.objectives}.union(*(trial.metrics for trial in self.trials))
        if self.configuration.get("metric") not in known:
            return []
        wanted = {"metric": name}
        if self.configuration.get("goal") in ("minimize", "maximize"):
            wanted["goal"] = self.spec.goal
        return [f"{key}={format_value(v)}" for key, v in wanted.items() if self.configuration[key] != v]

    @cached_property
    def configuration(self) -> Mapping[str, Any]:
        """The configuration that the sweep was started with, of which trials change some keys; empty if unknown."""
        try:
            found = yaml.safe_load((self.directory / "multirun.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return found if isinstance(found, dict) else {}
