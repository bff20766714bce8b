"""Makes the stopping rule that ``early_terminate`` describes. A new rule is added to ``FACTORIES``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wandbsweep.controllers.embedded.study import Study
from wandbsweep.controllers.embedded.thawing import FreezingRule
from wandbsweep.optuna_tools.pruners import PrunerRule
from wandbsweep.search.thawing import Thawing
from wandbsweep.spec.early_termination import THAW, EarlyTerminate
from wandbsweep.stopping.adaptive_halving import AdaptiveHalving
from wandbsweep.stopping.base import StoppingRule
from wandbsweep.stopping.successive_halving import SuccessiveHalving

Factory = Callable[[EarlyTerminate, Study], StoppingRule]


def _make_pruner_rule(settings: EarlyTerminate, study: Study) -> StoppingRule:
    return PrunerRule(settings, study.storage, study.name)


FACTORIES: Mapping[str, Factory] = {
    "hyperband": lambda settings, study: SuccessiveHalving(settings, study.spec.goal),
    "auto": lambda settings, study: AdaptiveHalving(study.spec.goal, learns=study.spec.method_info.learns),
    THAW: lambda settings, study: FreezingRule(Thawing(study.spec)),
    "median": _make_pruner_rule,
    "asha": _make_pruner_rule,
    "wilcoxon": _make_pruner_rule,
}
"""By ``early_terminate.type``; ``spec.early_termination.STOPPING_RULES`` holds the settings of each."""


def make_stopping_rule(study: Study) -> StoppingRule | None:
    """Make the rule that the sweep's configuration describes; None: nothing is stopped early."""
    settings = study.spec.early_terminate
    return FACTORIES[settings.type](settings, study) if settings else None
