"""Seeds per configuration: each judged by the mean of several runs, and the hopeless ones not run to the last.

An extension of W&B's format (wandb#939): ``repeats: {parameter: seed, values: [0, 1, 2]}``. A trial is then one run of
one configuration. Whether a configuration gets its next run is successive halving over its runs (Jamieson and
Talwalkar, 2016): it must be among the best third, by the mean so far, of those that have as many.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wandbsweep.search.base import Search
from wandbsweep.spec.distributions import grid_key
from wandbsweep.spec.sweep_spec import Goal, Repeats
from wandbsweep.stopping.history import is_worse
from wandbsweep.stopping.successive_halving import threshold
from wandbsweep.trial import TrialRecord

ETA = 3
_DRAWN = 1000  # draws to find a configuration that is new


@dataclass(frozen=True)
class Configuration:
    """One configuration and its runs, in the order they were asked for."""

    params: Mapping[str, Any]
    """Without the repeated parameter."""
    runs: Sequence[TrialRecord]

    @property
    def values(self) -> list[float]:
        """Of the runs that ended with one."""
        return [run.value for run in self.runs if run.state in ("finished", "stopped") and run.value is not None]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The sample's standard deviation; None: fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def first(self) -> TrialRecord:
        """The first run that has a value, where one has."""
        return next(
            (run for run in self.runs if run.value is not None and run.state in ("finished", "stopped")), self.runs[0]
        )

    def prefix_means(self) -> list[float]:
        """The mean of the first run, of the first two, …: what others with fewer runs are compared with."""
        return [statistics.fmean(self.values[: count + 1]) for count in range(len(self.values))]


@dataclass(frozen=True)
class RepeatedSearch:
    """Another search's configurations, each run with the values of ``repeats`` in turn while it has prospects."""

    inner: Search
    repeats: Repeats
    goal: Goal

    @property
    def size(self) -> int | None:
        return None if self.inner.size is None else self.inner.size * len(self.repeats.values)

    def draw(self, number: int) -> dict[str, Any] | None:
        if self.inner.size is None:
            return None
        # A grid is there to try everything.
        point, turn = divmod(number, len(self.repeats.values))
        params = self.inner.draw(point)
        return None if params is None else self._with(params, turn)

    def propose(self, number: int, trials: Sequence[TrialRecord], without_model: bool = False) -> dict[str, Any]:
        tried = configurations(trials, self.repeats)
        again = self._next_of_promising(tried)
        if again is not None:
            return self._with(again.params, len(again.runs))
        # Those that choose at the same moment have tried the same, but their numbers differ.
        found = self._new(tried, number if without_model else len(tried), without_model)
        if found is not None:
            return self._with(found, 0)
        # Every configuration was tried, so that those with runs left get them, hopeless or not; then all begins again.
        left = min(tried, key=lambda configuration: len(configuration.runs) // len(self.repeats.values))
        return self._with(left.params, len(left.runs) % len(self.repeats.values))

    def _new(self, tried: Sequence[Configuration], first: int, without_model: bool) -> Mapping[str, Any] | None:
        """A configuration that was not tried yet, the one that the other search has as its ``first`` or a later one;
        None: there seems to be none."""
        known = {grid_key(configuration.params) for configuration in tried}
        for index in range(first, first + _DRAWN):
            drawn = self.inner.draw(index)
            params = drawn or self.inner.propose(index, [merged(i, c) for i, c in enumerate(tried)], without_model)
            if grid_key(params) not in known:
                return params
            if drawn is None:  # it looked for something new itself
                return None
        return None

    def _with(self, params: Mapping[str, Any], turn: int) -> dict[str, Any]:
        return {**params, self.repeats.parameter: self.repeats.values[turn]}

    def _next_of_promising(self, tried: Sequence[Configuration]) -> Configuration | None:
        """The configuration to run again: the one with the most runs, of those the best; None: try a new one."""
        sign = -1.0 if self.goal == "maximize" else 1.0
        means = [configuration.prefix_means() for configuration in tried]
        waiting = []
        for index, configuration in enumerate(tried):
            done = len(configuration.values)
            # A run that failed, was stopped, or is still at it gives no ground for another one.
            ended = all(run.state == "finished" for run in configuration.runs) and done == len(configuration.runs)
            if ended and 0 < done < len(self.repeats.values):
                limit = threshold(done, ETA, self.goal, means)
                mean = means[index][-1]
                if limit is not None and not is_worse(self.goal, mean, limit):
                    waiting.append((-done, sign * mean, index))
        return tried[min(waiting)[2]] if waiting else None


def configurations(trials: Sequence[TrialRecord], repeats: Repeats) -> list[Configuration]:
    """The trials by configuration, in the order in which those were first tried."""
    groups: dict[Hashable, list[TrialRecord]] = {}
    for trial in trials:
        if trial.params:
            groups.setdefault(grid_key(_without(trial.params, repeats)), []).append(trial)
    return [Configuration(_without(runs[0].params, repeats), runs) for runs in groups.values()]


def reached(target: float, trials: Sequence[TrialRecord], repeats: Repeats, goal: Goal) -> bool:
    """Whether a configuration that had all its runs has a mean as good as ``target``."""
    whole = [c.mean for c in configurations(trials, repeats) if len(c.values) >= len(repeats.values)]
    return any(mean is not None and not is_worse(goal, mean, target) for mean in whole)


def merged(number: int, configuration: Configuration) -> TrialRecord:
    """A configuration as the one trial that a search takes it for: its curve and its value are means."""
    runs = configuration.runs
    ended = [run for run in runs if run.value is not None and run.state in ("finished", "stopped")] or runs
    running = any(run.state in ("running", "queued") for run in runs)
    steps = set.intersection(*(set(run.reports) for run in ended))
    return TrialRecord(
        number=number,
        state="running" if running and configuration.mean is None else _state(runs),
        params=configuration.params,
        reports={step: statistics.fmean(run.reports[step] for run in ended) for step in sorted(steps)},
        value=configuration.mean,
    )


def _state(runs: Sequence[TrialRecord]) -> Any:
    states = [run.state for run in runs if run.state not in ("running", "queued")]
    return "finished" if "finished" in states else states[-1]


def _without(params: Mapping[str, Any], repeats: Repeats) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != repeats.parameter}
