"""Makes the stopping rule that ``early_terminate`` describes. A new rule is added to ``FACTORIES``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wandbsweep.optuna_tools.pruners import PrunerRule
from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.stopping.adaptive_halving import AdaptiveHalving
from wandbsweep.stopping.base import StoppingRule
from wandbsweep.stopping.successive_halving import SuccessiveHalving
from wandbsweep.storage.base import Storage

Factory = Callable[[EarlyTerminate, SweepSpec, Storage, str], StoppingRule]


def _make_pruner_rule(settings: EarlyTerminate, spec: SweepSpec, storage: Storage, study_name: str) -> StoppingRule:
    return PrunerRule(settings, storage, study_name)


FACTORIES: Mapping[str, Factory] = {
    "hyperband": lambda settings, spec, storage, study_name: SuccessiveHalving(settings, spec.goal),
    "auto": lambda settings, spec, storage, study_name: AdaptiveHalving(spec.goal, learns=spec.method_info.learns),
    "median": _make_pruner_rule,
    "asha": _make_pruner_rule,
    "wilcoxon": _make_pruner_rule,
}
"""By ``early_terminate.type``; ``spec.early_termination.STOPPING_RULES`` holds the settings of each."""


def make_stopping_rule(spec: SweepSpec, storage: Storage, study_name: str) -> StoppingRule | None:
    """Make the rule of ``spec``; None: nothing is stopped early.

    Args:
        spec: The sweep's configuration.
        storage: The storage of the sweep's trials, for Optuna's pruners.
        study_name: The name of the study in ``storage``.
    """
    settings = spec.early_terminate
    return FACTORIES[settings.type](settings, spec, storage, study_name) if settings else None
