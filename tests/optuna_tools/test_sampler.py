"""``wandbsweep.optuna_sampler``: Optuna's own suite of samplers, and what the search makes of Optuna's trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from wandbsweep import optuna_sampler


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class TestOptunasSuite(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: optuna_sampler(seed=1)


def measure(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    width = trial.suggest_int("width", 16, 256, step=16)
    kind = trial.suggest_categorical("optimizer", ["sgd", "adam", None])
    loss = (math.log10(rate) + 3) ** 2 + ((width - 128) / 64) ** 2 + (0 if kind == "adam" else 1)
    for step in range(4):
        trial.report(loss + 1 / (step + 1), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


def optimize(sampler: BaseSampler, trials: int = 20, **options: object) -> optuna.Study:
    study = optuna.create_study(sampler=sampler, **options)
    study.optimize(measure, n_trials=trials)
    return study


def test_finds_the_optimum_with_a_pruner_and_repeats_itself() -> None:
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
    study = optimize(optuna_sampler(seed=0), 30, pruner=pruner)
    assert study.best_value < 0.1
    assert study.best_params["optimizer"] == "adam"
    assert any(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    again = optimize(optuna_sampler(seed=0), 8, pruner=pruner)
    assert [t.params for t in again.trials] == [t.params for t in study.trials[:8]]


def test_conditional_parameters_take_part_in_the_model() -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            return trial.suggest_float("x", -1, 1) ** 2
        return 1 + trial.suggest_float("y", -1, 1) ** 2

    study = optuna.create_study(sampler=optuna_sampler(seed=0))
    study.optimize(objective, n_trials=20)
    assert study.best_value < 1e-3
    assert sum(trial.params["kind"] == "a" for trial in study.trials) > 10


def test_several_processes_share_a_study(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    optimize(optuna_sampler(seed=0), 6, storage=storage, study_name="shared")
    study = optimize(optuna_sampler(seed=1), 6, storage=storage, study_name="shared", load_if_exists=True)
    assert len({str(trial.params) for trial in study.trials}) == 12


def test_avoids_configurations_that_fail() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        if x > 0.5:
            raise MemoryError
        return 1 - x

    study = optuna.create_study(sampler=optuna_sampler(seed=0))
    study.optimize(objective, n_trials=20, catch=MemoryError)
    assert study.best_value < 0.51
    assert (
        sum(trial.state == optuna.trial.TrialState.FAIL for trial in study.trials) < 15
    )  # it halves the way to the edge


SOURCE = """
import optuna
import wandbsweep

def make_study(sweep):
    return optuna.create_study(direction="minimize", sampler=wandbsweep.optuna_sampler(seed=0))
"""


def test_searches_for_the_sweep_scheduler_of_wandb(tmp_path: Path) -> None:
    """``wandb sweep-scheduler`` loads the study from a source file; its classes run here without its server."""
    from wandb.sdk.sweeps.run_state import RunState
    from wandb.sdk.sweeps.scheduler import optuna as scheduler
    from wandb.sdk.sweeps.scheduler.client import load_optimizer_config
    from wandb.sdk.sweeps.scheduler.optimizer import RunWithMetrics
    from wandb.sdk.sweeps.sweep_info import SweepInfo

    source = tmp_path / "search.py"
    source.write_text(SOURCE)
    config = {
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {
            "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
            "width": {"values": [8, 16, 32]},
        },
    }
    sweep = SweepInfo("abc", "", "entity", "project", config, "controller")
    study, _ = load_optimizer_config(str(source), "make_study", optuna.Study, sweep)
    space = scheduler.search_space_from_sweep_config(config["parameters"])
    optimizer = scheduler.make_optimizer(sweep, scheduler.OptunaOptions(study, distributions=space))
    for _ in range(15):
        (suggestion,) = optimizer.ask_n_runs(1)
        values = suggestion.config.flat_dict()
        loss = (math.log10(values["lr"]) + 2) ** 2 + values["width"] / 32
        optimizer.tell_run(
            suggestion.run_id,
            RunWithMetrics(
                suggestion.config,
                RunState.FINISHED,
                f"run{suggestion.run_id}",
                summary_metrics={"loss": loss},
                history_metrics=[{"_step": 0, "loss": loss + 1}],
            ),
        )
    assert study.best_value < 0.35
