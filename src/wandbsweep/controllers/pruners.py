"""Optuna's own pruners by name: ``early_terminate: {type: median}``, ``asha``, ``wilcoxon``.

An extension of W&B's format. They judge by the steps that trials report, as Optuna documents them, where Hyperband
counts reports.
"""

from __future__ import annotations

from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.storages import BaseStorage
from optuna.study import Study

from wandbsweep.spec import EarlyTerminate


class Pruner:
    """One of Optuna's pruners, at work on the study that holds the sweep's trials."""

    def __init__(self, settings: EarlyTerminate, storage: BaseStorage, study_name: str) -> None:
        self._settings = settings
        self._pruner = make_pruner(settings)
        self._storage = storage
        self._study = Study(study_name=study_name, storage=storage, pruner=self._pruner)

    def reason(self, key: int) -> str | None:
        """Why the running trial ``key`` (Optuna's id) is to be stopped; None: it goes on."""
        trial = self._storage.get_trial(key)
        if not self._pruner.prune(self._study, trial):
            return None
        step = trial.last_step
        value = trial.intermediate_values[step] if step is not None else float("nan")
        return f"{self._settings.type}: {value:.5g} at step {step} does not keep up with the other trials"


def make_pruner(settings: EarlyTerminate) -> BasePruner:
    """The pruner that ``settings`` name: https://optuna.readthedocs.io/en/stable/reference/pruners.html."""
    if settings.type == "asha":
        return SuccessiveHalvingPruner(min_resource=settings.min_iter or 1, reduction_factor=int(settings.eta))
    assert settings.startup is not None
    if settings.type == "median":
        return MedianPruner(n_startup_trials=settings.startup, n_warmup_steps=settings.min_iter or 0)
    assert settings.p is not None
    return WilcoxonPruner(p_threshold=settings.p, n_startup_steps=settings.startup)
