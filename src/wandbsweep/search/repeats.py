"""``repeats``: every configuration is judged by the mean of several runs, and poor ones do not get all of them.

An extension of W&B's format (wandb#939): ``repeats: {parameter: seed, values: [0, 1, 2]}``. A trial is then one run of
one configuration. Successive halving over the runs decides whether a configuration gets its next run (Jamieson and
Talwalkar, 2016): it must be among the best third, by the mean so far, of the configurations with as many runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wandbsweep.search.base import Search
from wandbsweep.spec.distributions import grid_key
from wandbsweep.spec.limits import Limit, describe_violations
from wandbsweep.spec.sweep_spec import Goal, Metric, Repeats
from wandbsweep.stopping.history import is_worse
from wandbsweep.stopping.successive_halving import threshold
from wandbsweep.trial import SUCCEEDED, TrialRecord

ETA = 3
_MOST_DRAWS = 1000
"""How many configurations are drawn to find a new one."""


@dataclass(frozen=True)
class Configuration:
    """One configuration and its runs, in the order they were asked for."""

    params: Mapping[str, Any]
    """Without the repeated parameter."""
    runs: Sequence[TrialRecord]

    @property
    def values(self) -> list[float]:
        """The values of the runs that ended with one."""
        return [run.value for run in self.runs if run.value is not None and _has_value(run)]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The sample's standard deviation; None: fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def is_feasible(self, limits: Sequence[Limit]) -> bool:
        """Return whether no run that ended violates a limit."""
        return not any(describe_violations(limits, run.metrics) for run in self.runs if run.state in SUCCEEDED)

    @property
    def first(self) -> TrialRecord:
        """The first run that ended with a value; if none has, the first run."""
        return next(filter(_has_value, self.runs), self.runs[0])

    def prefix_means(self) -> list[float]:
        """Return the mean of the first run, of the first two, …: configurations with fewer runs compare with these."""
        return [statistics.fmean(self.values[: count + 1]) for count in range(len(self.values))]


@dataclass(frozen=True)
class RepeatedSearch(Search):
    """Runs another search's configurations with the values of ``repeats`` in turn, as long as they are promising."""

    inner: Search
    repeats: Repeats
    goal: Goal
    limits: Sequence[Limit] = ()
    """A configuration with a run that violates one gets no more runs."""

    @property
    def size(self) -> int | None:
        return None if self.inner.size is None else self.inner.size * len(self.repeats.values)

    def draw(self, number: int) -> dict[str, Any] | None:
        if self.inner.size is None:
            return None
        # A grid tries everything, so that no run is left out.
        point, turn = divmod(number, len(self.repeats.values))
        params = self.inner.draw(point)
        return None if params is None else self._add_repeat(params, turn)

    def propose(self, number: int, trials: Sequence[TrialRecord], without_model: bool = False) -> dict[str, Any]:
        tried = group_configurations(trials, self.repeats)
        again = self._pick_promising(tried)
        if again is not None:
            return self._add_repeat(again.params, len(again.runs))
        # Agents that ask at the same moment see the same trials, but their numbers differ.
        found = self._propose_new(tried, number if without_model else len(tried), without_model)
        if found is not None:
            return self._add_repeat(found, 0)
        # Every configuration was tried. Those with runs left get them, promising or not; after that, all start again.
        left = min(tried, key=lambda configuration: len(configuration.runs) // len(self.repeats.values))
        return self._add_repeat(left.params, len(left.runs) % len(self.repeats.values))

    def _propose_new(self, tried: Sequence[Configuration], first: int, without_model: bool) -> Mapping[str, Any] | None:
        """Return a configuration that was not tried yet; None: there seems to be none.

        Args:
            tried: The configurations so far.
            first: The number of the first configuration of the other search to try.
            without_model: See ``Search.propose``.
        """
        known = {grid_key(configuration.params) for configuration in tried}
        for index in range(first, first + _MOST_DRAWS):
            drawn = self.inner.draw(index)
            params = drawn or self.inner.propose(index, [merge_runs(i, c) for i, c in enumerate(tried)], without_model)
            if grid_key(params) not in known:
                return params
            if drawn is None:  # a search that proposes has looked for something new itself
                return None
        return None

    def _add_repeat(self, params: Mapping[str, Any], turn: int) -> dict[str, Any]:
        return {**params, self.repeats.parameter: self.repeats.values[turn]}

    def _pick_promising(self, tried: Sequence[Configuration]) -> Configuration | None:
        """Return the configuration to run again: one with the most runs, and of those the best; None: try a new one."""
        sign = -1.0 if self.goal == "maximize" else 1.0
        means = [configuration.prefix_means() for configuration in tried]
        waiting = []
        for index, configuration in enumerate(tried):
            done = len(configuration.values)
            # A run that failed, was stopped or still runs does not earn its configuration another one.
            ended = all(run.state == "finished" for run in configuration.runs) and done == len(configuration.runs)
            if ended and configuration.is_feasible(self.limits) and 0 < done < len(self.repeats.values):
                limit = threshold(done, ETA, self.goal, means)
                mean = means[index][-1]
                if limit is not None and not is_worse(self.goal, mean, limit):
                    waiting.append((-done, sign * mean, index))
        return tried[min(waiting)[2]] if waiting else None


def group_configurations(trials: Sequence[TrialRecord], repeats: Repeats) -> list[Configuration]:
    """Group trials by configuration, in the order in which the configurations were first tried."""
    groups: dict[Hashable, list[TrialRecord]] = {}
    for trial in trials:
        if trial.params:
            groups.setdefault(grid_key(_drop_repeated(trial.params, repeats)), []).append(trial)
    return [Configuration(_drop_repeated(runs[0].params, repeats), runs) for runs in groups.values()]


def is_target_reached(target: float, trials: Sequence[TrialRecord], repeats: Repeats, metric: Metric) -> bool:
    """Return whether a feasible configuration that had all its runs has a mean as good as ``target``.

    Args:
        target: The value to reach.
        trials: All trials.
        repeats: What is repeated.
        metric: The metric.
    """
    whole = [c for c in group_configurations(trials, repeats) if len(c.values) >= len(repeats.values)]
    means = [c.mean for c in whole if c.is_feasible(metric.constraints)]
    return any(mean is not None and not is_worse(metric.goal, mean, target) for mean in means)


def merge_runs(number: int, configuration: Configuration) -> TrialRecord:
    """Merge a configuration's runs into the one trial that a search sees: its curve and its value are means.

    Args:
        number: The number of the merged trial.
        configuration: The configuration and its runs.
    """
    runs = configuration.runs
    ended = list(filter(_has_value, runs)) or runs
    running = any(run.state in ("running", "queued") for run in runs)
    steps = set.intersection(*(set(run.reports) for run in ended))
    return TrialRecord(
        number=number,
        state="running" if running and configuration.mean is None else _merge_states(runs),
        params=configuration.params,
        reports={step: statistics.fmean(run.reports[step] for run in ended) for step in sorted(steps)},
        value=configuration.mean,
        metrics=_average_metrics(ended),
    )


def _average_metrics(runs: Sequence[TrialRecord]) -> dict[str, float]:
    names = set.intersection(*(set(run.metrics) for run in runs))
    return {name: statistics.fmean(run.metrics[name] for run in runs) for name in sorted(names)}


def _merge_states(runs: Sequence[TrialRecord]) -> Any:
    states = [run.state for run in runs if run.state not in ("running", "queued")]
    return "finished" if "finished" in states else states[-1]


def _drop_repeated(params: Mapping[str, Any], repeats: Repeats) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != repeats.parameter}


def _has_value(run: TrialRecord) -> bool:
    return run.value is not None and run.state in SUCCEEDED
