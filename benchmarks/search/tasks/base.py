"""What a search is measured on: a space, what any configuration comes to, and the scale of regret."""

from __future__ import annotations

import hashlib
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import Goal, SweepSpec

CACHE = Path(__file__).parent.parent / ".cache"
LIMIT = 2.0
"""Regret is cut here, so that a run that has found nothing yet, or lost it to noise, is not all of a mean."""
Split = Literal["dev", "heldout"]
SALT = "21"
"""The first number with which every family has about half of its tasks on each side."""


@dataclass(frozen=True)
class Evaluation:
    """What training one configuration gives."""

    curve: np.ndarray = field(repr=False)
    """(epochs,) of the metric as logged, with noise; not finite: diverged."""
    loss: float
    """The configuration's true value, to be minimised, without noise; infinite: it fails."""
    seconds: float
    """Of one epoch, on the simulated clock."""


class Task(ABC):
    """A space and what its configurations come to. Nothing in it changes, so processes may share it."""

    family: str
    name: str
    """Its family, a slash, and what it is."""
    space: Mapping[str, Mapping[str, Any]]
    """W&B's format, with `when` where a parameter is conditional; parents come first."""
    goal: Goal
    epochs: int = 1
    optimum: float
    """The lowest loss there is, as far as it is known."""
    median: float
    """The median loss of random configurations."""
    log_regret: bool = False
    """Whether regret is measured on the logarithm of the loss, which spans orders of magnitude."""

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        return dict(self.spec().parameters)

    def spec(self, early_terminate: Mapping[str, Any] | None = None) -> SweepSpec:
        """Return the sweep that a search is given."""
        given: dict[str, Any] = {
            "method": "bayes",
            "metric": {"name": "metric", "goal": self.goal},
            "parameters": {name: dict(rule) for name, rule in self.space.items()},
        }
        if early_terminate:
            given["early_terminate"] = dict(early_terminate)
        return load_sweep(given)

    @abstractmethod
    def evaluate(self, params: Mapping[str, Any], rng: np.random.Generator, taken: set[int]) -> Evaluation:
        """Train with `params`.

        Args:
            params: The value of each active parameter.
            rng: Decides noise and durations; its seed is the run's and the trial's number, the same for all searches.
            taken: What the run's other trials have used up; a table whose rows are used once adds to it.
        """

    def regret(self, loss: float) -> float:
        """Return 0 for the optimum and 1 for the median random configuration; `LIMIT` at most."""
        if not np.isfinite(loss):
            return LIMIT
        scaled = np.array([loss, self.optimum, self.median])
        at, low, middle = np.log(scaled) if self.log_regret else scaled
        return float(min((at - low) / (middle - low), LIMIT))


def draw_params(parameters: Mapping[str, Parameter], rng: np.random.Generator) -> dict[str, Any]:
    """Draw a configuration from the space's distributions, inactive parameters included."""
    return {name: p.ppf(rng.random()) for name, p in parameters.items()}


def draw_seconds(rng: np.random.Generator, *, sigma: float = 0.5) -> float:
    """Draw a duration for a task that knows none: log-normal about 1."""
    return float(np.exp(sigma * rng.standard_normal()))


def split_of(source: str) -> Split:
    """Return the side of a task, which follows from its name alone."""
    return "dev" if hashlib.sha256(f"{SALT}:{source}".encode()).digest()[0] % 2 else "heldout"


def cached(key: str, depends: tuple[Path, ...], make: Callable[[], Any]) -> Any:
    """Return `make()`, from the cache if it was made before of the same files."""
    stamp = hashlib.sha256()
    for path in depends:
        stamp.update(path.read_bytes())
    path = CACHE / f"{key.replace('/', '_')}-{stamp.hexdigest()[:12]}.pkl"
    if path.exists():
        return pickle.loads(path.read_bytes())
    made = make()
    CACHE.mkdir(exist_ok=True)
    partial = path.with_suffix(f".{id(made)}.tmp")
    partial.write_bytes(pickle.dumps(made))
    partial.replace(path)
    return made
