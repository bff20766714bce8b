"""The stoppers that ``early_terminate.type`` names: W&B's Hyperband, and as extensions ``auto`` and Optuna's pruners.

Optuna's (``median``, ``asha``, ``wilcoxon``) judge by the steps that trials report, as Optuna documents them, where
Hyperband and ``auto`` count reports.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Container
from contextlib import suppress
from functools import partial

from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from wandbsweep.controllers.trial_table import TrialTable, outcome_of
from wandbsweep.spec.sweep_spec import EarlyTerminate, Goal, SweepSpec
from wandbsweep.stopping.adaptive_halving import FIRST, auto
from wandbsweep.stopping.successive_halving import hyperband
from wandbsweep.trial import Trial

Stopper = Callable[[Trial, TrialTable], str | None]
"""Why a running trial is to be stopped; None: it goes on."""


def make_stopper(spec: SweepSpec, storage: BaseStorage, study_name: str) -> Stopper | None:
    """The stopper that ``spec`` asks for; None: it asks for none."""
    settings = spec.early_terminate
    if settings is None:
        return None
    if settings.type == "hyperband":
        return partial(_hyperband, settings, spec.goal)
    if settings.type == "auto":
        return partial(_auto, spec.goal, FIRST.get(spec.method, 0.0))
    pruner = make_pruner(settings)
    study = _NewestAttempts(study_name=study_name, storage=storage, pruner=pruner)
    return partial(_pruned, settings.type, pruner, study, storage)


class _NewestAttempts(Study):
    """The study without attempts that a later one of the same trial has replaced: no trial counts twice."""

    newest: frozenset[int] = frozenset()
    """The store's ids of the trials' newest attempts."""

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return [trial for trial in super().get_trials(deepcopy, states) if trial._trial_id in self.newest]


def make_pruner(settings: EarlyTerminate) -> BasePruner:
    """Optuna's pruner: https://optuna.readthedocs.io/en/stable/reference/pruners.html."""
    if settings.type == "asha":
        return SuccessiveHalvingPruner(min_resource=settings.min_iter or 1, reduction_factor=int(settings.eta))
    assert settings.startup is not None
    if settings.type == "median":
        return MedianPruner(n_startup_trials=settings.startup, n_warmup_steps=settings.min_iter or 0)
    assert settings.p is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # so it was called since Optuna 3.6, and never changed
        return WilcoxonPruner(p_threshold=settings.p, n_startup_steps=settings.startup)


def _hyperband(settings: EarlyTerminate, goal: Goal, trial: Trial, ledger: TrialTable) -> str | None:
    return hyperband(settings, goal, ledger.histories(), {trial.number}).get(trial.number)


def _auto(goal: Goal, first: float, trial: Trial, ledger: TrialTable) -> str | None:
    histories = ledger.histories()
    ended = (entry for entry in ledger.entries if entry.newest.state.is_finished())
    finished = {entry.number for entry in ended if outcome_of(entry.newest)["state"] == "finished"}
    return auto(goal, histories, finished, {trial.number}, first=first).get(trial.number)


def _pruned(
    name: str, pruner: BasePruner, study: _NewestAttempts, storage: BaseStorage, trial: Trial, ledger: TrialTable
) -> str | None:
    study.newest = frozenset(entry.newest._trial_id for entry in ledger.entries)
    frozen = storage.get_trial(trial.key)
    with warnings.catch_warnings(), suppress(UpdateFinishedTrialError):
        warnings.simplefilter("ignore")  # Optuna's about steps or values that it leaves out
        if not pruner.prune(study, frozen):
            return None
    step = frozen.last_step
    value = math.nan if step is None else frozen.intermediate_values[step]
    return f"{name}: {value:.5g} at step {step} does not keep up with the other trials"
