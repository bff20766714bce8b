"""Lightning's loggers that write files, continued by a trial's later attempts without repeating a step."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from wandbsweep.current import current_trial
from wandbsweep.files import write_atomically

# An attempt that was killed may have logged steps after its last checkpoint. The next attempt trains these steps again
# and logs them again, so its first step is where the file of the attempts before is cut.


class ResumableCSVLogger(CSVLogger):
    """Keeps the rows of a trial's earlier attempts; Lightning's class would delete them."""

    @property
    @rank_zero_only
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None and current_trial().resumed:
            self._experiment = _ContinuingWriter(self.log_dir)
        writer: ExperimentWriter = super().experiment
        return writer


class _ContinuingWriter(ExperimentWriter):
    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self._cut = False

    def _check_log_dir_exists(self) -> None:
        pass  # Lightning's warns, and deletes the file

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        path = Path(self.metrics_file_path)
        if not self._cut and step is not None and path.is_file():
            self.metrics_keys = _keep_rows_before(step, path)
        self._cut = True
        super().log_metrics(metrics_dict, step)


def _keep_rows_before(step: int, path: Path) -> list[str]:
    """Remove the other rows, and one that a kill has cut; return the names of the columns."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if (row["step"] or "").isdigit() and int(row["step"]) < step]
    columns = list(reader.fieldnames or [])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
    return columns


class ResumableTensorBoardLogger(TensorBoardLogger):
    """Lets TensorBoard drop what a later attempt logs again, and shows hyperparameters with the metric ``metric``."""

    def __init__(self, *, metric: str, **options: Any) -> None:
        super().__init__(**options, default_hp_metric=False)
        self._metric = metric
        self._cut = not current_trial().resumed

    @rank_zero_only
    def log_hyperparams(self, params: Any, metrics: Any = None, step: int | None = None) -> None:
        from torch.utils.tensorboard.summary import hparams

        super().log_hyperparams(params, metrics, step)
        # Lightning would log a value of the metric, too.
        for summary in hparams(self._sanitize_params(params), {self._metric: 0.0}):  # type: ignore[no-untyped-call]
            self.experiment._get_file_writer().add_summary(summary)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not self._cut and step is not None:
            self._drop_events_from(step)
            self._cut = True
        super().log_metrics(metrics, step)

    def _drop_events_from(self, step: int) -> None:
        """Write what SummaryWriter writes for ``purge_step``, which it takes before the step is known."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]

        writer = self.experiment._get_file_writer()
        writer.add_event(Event(step=step, file_version="brain.Event:2"))
        writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
