"""Hyperparameter sweeps in W&B's format, on Hydra configurations, with or without W&B's servers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wandbsweep import current as current
    from wandbsweep import lightning as lightning
    from wandbsweep import stopping
    from wandbsweep.controllers.open import create_sweep
    from wandbsweep.current import CurrentTrial, current_trial
    from wandbsweep.errors import SpaceError, SweepConfigError, SweepDirectoryError, SweepError
    from wandbsweep.launch.optimize import optimize
    from wandbsweep.optuna_tools.sampler import optuna_sampler
    from wandbsweep.results.sweep_results import SweepResults, open_sweep
    from wandbsweep.spec.distributions import Parameter
    from wandbsweep.spec.load import load_sweep
    from wandbsweep.spec.sweep_spec import SweepSpec
    from wandbsweep.trial import Decision, Outcome, Trial, TrialRecord

# Where each public name lives; imported when it is first used, so that importing the package costs nothing.
_HOMES = {
    "CurrentTrial": "current",
    "Decision": "trial",
    "Outcome": "trial",
    "Parameter": "spec.distributions",
    "SpaceError": "errors",
    "SweepConfigError": "errors",
    "SweepDirectoryError": "errors",
    "SweepError": "errors",
    "SweepResults": "results.sweep_results",
    "SweepSpec": "spec.sweep_spec",
    "Trial": "trial",
    "TrialRecord": "trial",
    "create_sweep": "controllers.open",
    "current_trial": "current",
    "load_sweep": "spec.load",
    "open_sweep": "results.sweep_results",
    "optimize": "launch.optimize",
    "optuna_sampler": "optuna_tools.sampler",
}
# Modules that are attributes of the package as soon as they are used. ``lightning`` needs Lightning.
_MODULES = ("current", "lightning", "stopping")

__all__ = [
    "CurrentTrial",
    "Decision",
    "Outcome",
    "Parameter",
    "SpaceError",
    "SweepConfigError",
    "SweepDirectoryError",
    "SweepError",
    "SweepResults",
    "SweepSpec",
    "Trial",
    "TrialRecord",
    "create_sweep",
    "current_trial",
    "load_sweep",
    "open_sweep",
    "optimize",
    "optuna_sampler",
    "stopping",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
