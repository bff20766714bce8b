"""Trials and reports as pandas frames, and frames as files for other programs."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.errors import SweepError
from wandbsweep.files import write_atomically
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.text import escape_surrogates
from wandbsweep.trial import replace_nonfinite

if TYPE_CHECKING:
    import pandas as pd


def build_trial_frame(data: SweepData) -> pd.DataFrame:
    """Return one row per trial, as ``SweepData.frame`` describes it.

    Built by columns: for 10,000 trials, pandas takes seconds to build it by rows.
    """
    pd = _import_pandas()
    spec, trials = data.spec, data.trials
    metrics = sorted({name for trial in trials for name in trial.metrics})
    names = [*spec.parameters, *([spec.repeats.parameter] if spec.repeats else [])]
    columns: dict[str, Any] = {
        "number": [t.number for t in trials],
        "state": [t.state for t in trials],
        **({"infeasible": [spec.describe_infeasibility(t) for t in trials]} if spec.limits else {}),
        "metric": pd.array([t.value for t in trials], dtype="float64"),
        "steps": [len(t.reports) for t in trials],
        "duration_s": pd.array([t.duration_s for t in trials], dtype="float64"),
        "attempts": [t.attempts for t in trials],
        "step": pd.array([math.nan if (step := data.find_step(t)) is None else step for t in trials], dtype="float64"),
        "last": pd.array([t.last for t in trials], dtype="float64"),
        **{f"params.{name}": [_escape(t.params.get(name)) for t in trials] for name in names},
        **{f"metrics.{escape_surrogates(name)}": [t.metrics.get(name) for t in trials] for name in metrics},
    }
    return pd.DataFrame(columns)


def build_history_frame(data: SweepData) -> pd.DataFrame:
    """Return one row per report: ``number``, ``step`` and ``value`` of the metric."""
    rows = [(trial.number, step, value) for trial in data.trials for step, value in sorted(trial.reports.items())]
    types = {"number": "int64", "step": "int64", "value": "float64"}
    return _import_pandas().DataFrame(rows, columns=list(types)).astype(types)


def export_frame(frame: pd.DataFrame, file: str | os.PathLike[str]) -> Path:
    """Write ``frame`` in the format that the suffix of ``file`` names, one of ``FORMATS``.

    Raises:
        SweepError: For any other suffix, and if what the format needs is not installed.
    """
    path = Path(file)
    encode = FORMATS.get(path.suffix.lower())
    if encode is None:
        raise SweepError(
            f"The suffix of {path.name!r} is {path.suffix!r}, which says no format; the choices are "
            f"{', '.join(FORMATS)}."
        )
    if path.parent != Path() and not path.parent.is_dir():
        raise SweepError(f"Cannot write {path}: the directory {path.parent} does not exist.")
    write_atomically(path, encode(frame))
    return path


def _encode_csv(frame: pd.DataFrame) -> bytes:
    return str(frame.to_csv(index=False)).encode()


def _encode_json_lines(frame: pd.DataFrame) -> bytes:
    """Return one JSON object per row. NaN and infinities, which JSON cannot hold, become null."""
    rows = replace_nonfinite(frame.to_dict(orient="records"))
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def _encode_parquet(frame: pd.DataFrame) -> bytes:
    """Return Parquet, where a column has one type: columns of mixed types, lists or mappings become JSON text."""
    infer_dtype = _import_pandas().api.types.infer_dtype
    mixed = [name for name in frame.columns if infer_dtype(frame[name]) in ("mixed", "mixed-integer")]
    texts = {name: frame[name].dropna().map(_to_text) for name in mixed}
    try:
        encoded: bytes = frame.assign(**texts).to_parquet(index=False, engine="pyarrow")
    except ImportError:
        raise SweepError(
            "Parquet needs pyarrow, which is not installed: pip install 'wandbsweep[analysis]'. "
            "CSV and JSON Lines need nothing more."
        ) from None
    return encoded


FORMATS = {".csv": _encode_csv, ".jsonl": _encode_json_lines, ".parquet": _encode_parquet}


def _escape(value: Any) -> Any:
    """Return a parameter's value with text that is UTF-8: pandas and the formats take no other."""
    if isinstance(value, str):
        return escape_surrogates(value)
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return {_escape(k): _escape(v) for k, v in value.items()} if isinstance(value, dict) else value


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _import_pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise SweepError("This needs pandas, which is not installed: pip install 'wandbsweep[analysis]'.") from None
    return pandas
