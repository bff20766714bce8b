"""Optuna's pruners as stopping rules: ``early_terminate: {type: median}``, ``asha`` and ``wilcoxon``, extensions.

They count the steps that trials report, as Optuna documents, whereas ``hyperband`` and ``auto`` count the reports.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Container
from contextlib import suppress

from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from wandbsweep.spec.early_termination import EarlyTerminate
from wandbsweep.stopping.base import TrialView
from wandbsweep.storage.base import Storage
from wandbsweep.storage.optuna_private import read_trial_id


class PrunerRule:
    """A stopping rule that asks one of Optuna's pruners."""

    def __init__(self, settings: EarlyTerminate, storage: Storage, study_name: str) -> None:
        self._name = settings.type
        self._storage = storage
        self._optuna: BaseStorage = storage.open_optuna()
        self._pruner = make_pruner(settings)
        self._study = _NewestAttempts(study_name=study_name, storage=self._optuna, pruner=self._pruner)

    def reason_to_stop(self, number: int, trials: TrialView) -> str | None:
        keys = trials.newest_keys()
        self._study.newest = frozenset(keys.values())
        trial, pruned = self._storage.retry(lambda: self._prune(keys[number]))
        if not pruned:
            return None
        step = trial.last_step
        value = math.nan if step is None else trial.intermediate_values[step]
        return f"{self._name}: {value:.5g} at step {step} does not keep up with the other trials"

    def _prune(self, key: int) -> tuple[FrozenTrial, bool]:
        trial = self._optuna.get_trial(key)
        with warnings.catch_warnings(), suppress(UpdateFinishedTrialError):
            warnings.simplefilter("ignore")  # Optuna warns of steps and values that its pruners leave out
            return trial, self._pruner.prune(self._study, trial)
        return trial, False


class _NewestAttempts(Study):
    """The study with only the newest attempt of each trial, so that no trial counts twice."""

    newest: frozenset[int] = frozenset()
    """The storage's keys of the trials' newest attempts."""

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return [trial for trial in super().get_trials(deepcopy, states) if read_trial_id(trial) in self.newest]


def make_pruner(settings: EarlyTerminate) -> BasePruner:
    """Return Optuna's pruner: https://optuna.readthedocs.io/en/stable/reference/pruners.html."""
    if settings.type == "asha":
        return SuccessiveHalvingPruner(min_resource=settings.min_iter or 1, reduction_factor=int(settings.eta))
    assert settings.startup is not None
    if settings.type == "median":
        return MedianPruner(n_startup_trials=settings.startup, n_warmup_steps=settings.min_iter or 0)
    assert settings.p is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # experimental since Optuna 3.6, and unchanged since then
        return WilcoxonPruner(p_threshold=settings.p, n_startup_steps=settings.startup)
