"""A sweep as tables for other programs: a row per trial, a row per report, and files of them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandbsweep.errors import SweepError

if TYPE_CHECKING:
    import pandas as pd

    from wandbsweep.results.sweep_results import SweepResults

COLUMNS = ("number", "state", "metric", "steps", "duration_s", "attempts")


def trials_frame(results: SweepResults) -> pd.DataFrame:
    """See ``SweepResults.frame``. By columns: a row at a time takes pandas seconds for 10,000 trials."""
    pd = _pandas()
    spec, trials = results.spec, results.trials
    metrics = sorted({name for trial in trials for name in trial.metrics})
    names = [*spec.parameters, *([spec.repeats.parameter] if spec.repeats else [])]
    columns: dict[str, Any] = {
        "number": [t.number for t in trials],
        "state": [t.state for t in trials],
        "metric": pd.array([t.value for t in trials], dtype="float64"),
        "steps": [len(t.reports) for t in trials],
        "duration_s": pd.array([t.duration_s for t in trials], dtype="float64"),
        "attempts": [t.attempts for t in trials],
        **{f"params.{name}": [t.params.get(name) for t in trials] for name in names},
        **{f"metrics.{name}": [t.metrics.get(name) for t in trials] for name in metrics},
    }
    return pd.DataFrame(columns)


def histories_frame(results: SweepResults) -> pd.DataFrame:
    """See ``SweepResults.histories``."""
    pd = _pandas()
    kept = [(t.number, sorted(t.reports)) for t in results.trials if t.reports]
    by_number = {t.number: t.reports for t in results.trials}
    return pd.DataFrame(
        {
            "number": pd.array(list(chain.from_iterable(repeat(n, len(s)) for n, s in kept)), dtype="int64"),
            "step": pd.array([step for _, steps in kept for step in steps], dtype="int64"),
            "value": pd.array([by_number[n][step] for n, steps in kept for step in steps], dtype="float64"),
        }
    )


def export(results: SweepResults, file: str | os.PathLike[str], *, histories: bool = False) -> Path:
    """Write the trials, or with ``histories`` their reports, as the suffix of ``file`` says: one of ``FORMATS``.

    Raises SweepError for any other suffix, and where what the format needs is not installed.
    """
    path = Path(file)
    write = FORMATS.get(path.suffix.lower())
    if write is None:
        raise SweepError(
            f"The suffix of {path.name!r} is {path.suffix!r}, which says no format; the choices are "
            f"{', '.join(FORMATS)}."
        )
    if path.parent != Path() and not path.parent.is_dir():
        raise SweepError(f"Cannot write {path}: the directory {path.parent} does not exist.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(results.histories if histories else results.frame, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


def _write_lines(frame: pd.DataFrame, path: Path) -> None:
    """JSON Lines: an object a row; what JSON has no number for is null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
    with path.open("w", encoding="utf-8") as out:
        out.writelines(f"{json.dumps(_jsonable(row), ensure_ascii=False)}\n" for row in rows)


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Parquet has one type per column: listed values of several types, lists and mappings become JSON text."""
    try:
        import pyarrow  # noqa: F401  only whether it is there: pandas imports it itself
    except ImportError:
        raise SweepError(
            "Parquet needs pyarrow, which is not installed: pip install 'wandbsweep[analysis]'. "
            "CSV and JSON Lines need nothing more."
        ) from None
    mixed = {name: frame[name].map(_as_text) for name in frame.columns if _is_mixed(frame[name])}
    frame.assign(**mixed).to_parquet(path, index=False, engine="pyarrow")


FORMATS = {".csv": _write_csv, ".jsonl": _write_lines, ".parquet": _write_parquet}


def _is_mixed(column: pd.Series[Any]) -> bool:
    kinds = {type(value) for value in column if not _is_missing(value)}
    return len(kinds - {int, float}) + bool(kinds & {int, float}) > 1 or bool(kinds & {list, dict, tuple})


def _as_text(value: Any) -> str | None:
    if _is_missing(value):
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value  # numpy's scalars


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise SweepError("This needs pandas, which is not installed: pip install 'wandbsweep[analysis]'.") from None
    return pandas
