"""``mlflow_logger``: a run at MLflow, which a trial's later attempts continue."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from wandbsweep.current import current_trial

_SQLITE = "sqlite:///"


def mlflow_logger(
    *, tracking_uri: str | None, save_dir: str, experiment_name: str, run_name: str | None = None, **options: Any
) -> Any:
    """Make the logger of one MLflow run. A trial's run has its sweep and number as tags, by which it is found again.

    Args:
        tracking_uri: The address of MLflow's server or database; None: an SQLite file, ``mlflow.db``.
        save_dir: Where that file and its artifacts lie, in a run that is no trial; those of trials lie in the sweep's.
        experiment_name: Is made if it does not exist.
        run_name: null: a trial's sweep and number, ``SWEEP-NUMBER``; of a plain run, MLflow's choice.
        options: Further options of Lightning's ``MLFlowLogger``.
    """
    trial = current_trial()
    tags = {"sweep": str(trial.sweep_id), "trial": str(trial.number)} if trial else {}
    artifacts = None
    if tracking_uri is None:
        place = find_place(save_dir)
        tracking_uri, artifacts = f"{_SQLITE}{place / 'mlflow.db'}", (place / "mlartifacts").as_uri()
    if rank_zero_only.rank:  # type: ignore[attr-defined]  # Lightning sets it
        return MLFlowLogger(experiment_name, tracking_uri=tracking_uri, **options)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they list the tables that they make
    with _one_at_a_time(tracking_uri):
        client = MlflowClient(tracking_uri)
        experiment = _find_or_make_experiment(client, experiment_name, artifacts)
    run_id = _find_run(client, experiment, tags) if trial and trial.resumed else None
    return _OneRunLogger(
        experiment_name,
        run_name=run_name or (f"{trial.sweep_id}-{trial.number}" if trial else None),
        tracking_uri=tracking_uri,
        tags={**tags, **options.pop("tags", {})},
        run_id=run_id,
        **options,
    )


def find_place(save_dir: str) -> Path:
    """Return the sweep's directory, which all its trials share; in a run that is no trial, ``save_dir``."""
    if current_trial() and HydraConfig.initialized():
        return Path(HydraConfig.get().sweep.dir).resolve()
    return Path(save_dir).resolve()


class _OneRunLogger(MLFlowLogger):
    """Logs no step of a metric twice: an attempt that was killed may have logged steps after its last checkpoint."""

    def __init__(self, experiment_name: str, *, run_id: str | None, **options: Any) -> None:
        super().__init__(experiment_name, run_id=run_id, **options)
        self._continued = run_id is not None
        self._find_last_step = cache(self._read_last_step)
        if run_id is not None:
            self.experiment.update_run(run_id, status="RUNNING")

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        if not self._continued:  # MLflow refuses to change a parameter
            super().log_hyperparams(params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._continued and step is not None:
            metrics = {name: value for name, value in metrics.items() if step > self._find_last_step(name)}
        super().log_metrics(metrics, step)

    def _read_last_step(self, metric: str) -> int:
        """Return the last step that the earlier attempts logged; -1: none."""
        return max((point.step for point in self.experiment.get_metric_history(self.run_id, metric)), default=-1)


def _find_or_make_experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name, artifacts))
    except MlflowException:  # another trial was faster
        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        raise


def _find_run(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> str | None:
    wanted = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
    runs = client.search_runs([experiment], wanted, max_results=1)
    return str(runs[0].info.run_id) if runs else None


@contextmanager
def _one_at_a_time(tracking_uri: str) -> Iterator[None]:
    """MLflow makes the tables of a new SQLite file at first use; two processes that do so at once would fail."""
    if not tracking_uri.startswith(_SQLITE):
        yield
        return
    database = Path(tracking_uri.removeprefix(_SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f".{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
