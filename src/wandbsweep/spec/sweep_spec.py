"""``SweepSpec``: a validated sweep configuration in W&B's format."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.limits import Limit, describe_violations
from wandbsweep.spec.methods import METHODS, MethodInfo
from wandbsweep.spec.sweep_file import dump_yaml
from wandbsweep.spec.zipped import Groups
from wandbsweep.trial import SUCCEEDED, TrialRecord, ValueRule

Goal = Literal["minimize", "maximize"]
GridOrder = Literal["sequential", "random"]
MetricSource = Literal["wandb", "stdout"]
"""Where a program's metrics are read from: what it logs to W&B, or the lines that it prints."""

WANDB_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that a sweep optimises."""

    name: str
    goal: Goal = "minimize"
    target: int | float | None = None
    """Once a trial reaches it, no new trials are asked for."""
    impute: Literal["worst", "best", "latest"] = "worst"
    """The value that bayes assumes for a failed trial."""
    impute_while_running: Literal[False, "worst", "best", "latest"] = False
    """The value that bayes assumes for a running trial; False: it uses the reports so far."""
    value: ValueRule = "best"
    """Extension: which of the values that a trial reports is its own."""
    constraints: tuple[Limit, ...] = ()
    """Extension: the limits that a trial must keep to be the best (``limits.py``)."""
    source: MetricSource = "wandb"
    """Extension, the key ``from``: where ``wandbsweep run`` reads it from."""

    @property
    def sign(self) -> float:
        """The factor with which a value is to be minimised."""
        return -1.0 if self.goal == "maximize" else 1.0


@dataclass(frozen=True, slots=True)
class Repeats:
    """Extension: every configuration is run with each of ``values`` of ``parameter``, and judged by the mean."""

    parameter: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.parameter} {list(self.values)}"


@dataclass(frozen=True, slots=True)
class Prior:
    """Extension: what is known before the first trial."""

    configurations: tuple[Mapping[str, Any], ...] = ()
    """Configurations to try first; parameters that they omit are drawn."""
    sweeps: tuple[str, ...] = ()
    """Sweeps, perhaps of other data, from whose trials bayes learns: directories, or ids below ``outputs/``."""
    expect: Mapping[str, Any] = field(default_factory=dict)
    """Where the user expects the best values of some parameters."""

    def __str__(self) -> str:
        configurations = [dict(sorted(c.items())) for c in self.configurations]
        expect = f", expect {dict(sorted(self.expect.items()))}" if self.expect else ""
        return f"configurations {configurations}, sweeps {list(self.sweeps)}{expect}"


@dataclass(frozen=True)
class SweepSpec:
    """A validated sweep configuration; ``load_sweep`` makes it."""

    method: str
    """A key of ``methods.METHODS``."""
    parameters: Mapping[str, Parameter]
    """Read-only: flat dotted name -> parameter, sorted by name."""
    metric: Metric | None = None
    metrics: tuple[Metric, ...] = ()
    """Two or more objectives, in place of ``metric``; W&B accepts them with ``method: custom`` only."""
    early_terminate: EarlyTerminate | None = None
    run_cap: int | None = None
    """The largest number of trials."""
    repeats: Repeats | None = None
    prior: Prior | None = None
    constraints: tuple[str, ...] = ()
    """Extension: conditions that every configuration meets (``constraints.py``)."""
    zip: Groups = ()
    """Extension: parameters whose values move together (``zipped.py``)."""
    order: GridOrder = "sequential"
    """Extension: the order in which a grid's points are tried."""
    name: str | None = None
    description: str | None = None
    program: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The configuration that was given, in plain Python objects, with numbers as numbers; it must not be changed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(sorted(self.parameters.items()))))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "parameters": dict(self.parameters)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    @property
    def method_info(self) -> MethodInfo:
        return METHODS[self.method]

    @property
    def goal(self) -> Goal:
        return self.metric.goal if self.metric else "minimize"

    @property
    def sign(self) -> float:
        """The factor with which a value of the metric is to be minimised."""
        return self.metric.sign if self.metric else 1.0

    @property
    def value_rule(self) -> ValueRule:
        """Which of the values that a trial reports of ``metric`` is its own."""
        return self.metric.value if self.metric else "best"

    @property
    def metric_source(self) -> MetricSource:
        """Where ``wandbsweep run`` reads the metrics from."""
        return "stdout" if any(metric.source == "stdout" for metric in self.objectives) else "wandb"

    @property
    def objectives(self) -> tuple[Metric, ...]:
        """What says which trials are better: ``metric``, or ``metrics``; empty if nothing does."""
        return (self.metric,) if self.metric else self.metrics

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits of what trials report, of all objectives."""
        return tuple(limit for metric in self.objectives for limit in metric.constraints)

    def describe_infeasibility(self, trial: TrialRecord) -> str:
        """Say which limits a trial that ended with a value violates; empty: none, or it did not end so."""
        ended = trial.state in SUCCEEDED
        return describe_violations(self.limits, trial.metrics) if ended and self.limits else ""

    @property
    def identity(self) -> dict[str, str]:
        """What makes two sweeps the same, by key path: method, metric, space, repeats, prior and constraints.

        The values are text, because 1 and true would be equal otherwise; long text is cut and ends in a hash.
        """
        metric = ", ".join(f"{metric.goal} {metric.name}" for metric in self.objectives) or "none"
        metric += ", its last value" if self.value_rule == "last" else ""
        space = {f"parameters.{name}": str(parameter.config) for name, parameter in self.parameters.items()}
        # The parameters of a trial's number depend on these as well.
        extensions = {
            key: str(given) for key in ("repeats", "prior", "constraints", "zip") if (given := getattr(self, key))
        }
        if self.order != "sequential":
            extensions["order"] = self.order
        if self.limits:
            extensions["metric.constraints"] = ", ".join(sorted(map(str, self.limits)))
        parts = {"method": self.method, "metric": metric, **space, **extensions}
        return {path: _abridge(text) for path, text in parts.items()}

    @property
    def names_wandb_refuses(self) -> tuple[str, ...]:
        """The parameters whose names W&B's pattern excludes: Hydra's config groups with ``/`` or ``@``."""
        return tuple(name for name in self.parameters if not WANDB_NAME.fullmatch(name))

    def dump(self) -> dict[str, Any]:
        """Return a copy of ``config``; ``load_sweep`` of it equals this spec."""
        return copy.deepcopy(dict(self.config))

    def to_yaml(self) -> str:
        """Return the sweep file; ``load_sweep`` of it equals this spec."""
        return dump_yaml(self.config)


def _abridge(text: str, *, length: int = 200) -> str:
    return text if len(text) <= length else f"{text[:length]}… (sha1 {hashlib.sha1(text.encode()).hexdigest()[:12]})"
