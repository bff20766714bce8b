"""The first step of reading a sweep configuration: the same configuration in plain objects, its numbers as numbers.

Nothing is judged here. A value that cannot be what its key needs stays as it is, and is refused when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wandbsweep.spec.findings import (
    Findings,
    copy_without_null,
    describe_kind,
    fits_float,
    is_finite,
    join_path,
    show,
)
from wandbsweep.spec.sweep_file import describe_text_number, is_exponent_form, parse_exponent_form

_EXACT_KEYS = ("min", "max")
"""The keys of a parameter whose integers may be larger than any float."""
_NUMBER_KEYS = (*_EXACT_KEYS, "mu", "sigma", "q", "a", "b")
_ITERATION_KEYS = ("min_iter", "max_iter", "s", "startup")


def normalize(raw: Any, findings: Findings, *, quotes_seen: bool) -> dict[str, Any] | None:
    """Return a deep copy of a sweep configuration, with numbers in place of text that stands for them.

    Keys whose value is null are absent from the copy, since null means the same.

    Args:
        raw: The configuration; it is not changed.
        findings: Collects a violation if there is no configuration to read, and a note for each replaced text.
        quotes_seen: Whether quoted text was told from unquoted text when ``raw`` was read, so that text in exponent
            form (``1e-5``) which is left was quoted, and stays text in ``value`` and ``values``.
    """
    if not isinstance(raw, Mapping) or not raw:
        what = "is empty" if raw is None or raw == {} else f"is {describe_kind(raw)}"
        findings.refuse("the sweep configuration", f"{what}, but must be a mapping with method and parameters")
        return None
    try:
        config: dict[str, Any] = copy_plain(raw, findings)
    except RecursionError:
        findings.refuse("the sweep configuration", "contains itself, or is nested too deeply")
        return None
    config = copy_without_null(config)
    if "parameters" in config:
        config["parameters"] = _normalize_parameters(
            "parameters", config["parameters"], findings, quotes_seen=quotes_seen
        )
    for key, normalize_value in _NORMALIZERS.items():
        if key in config:
            config[key] = normalize_value(config[key], findings)
    return config


def copy_plain(value: object, findings: Findings, path: str = "") -> Any:
    """Return a deep copy in the objects that YAML and JSON know; others are refused."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {
            copy_plain(key, findings, path): copy_plain(item, findings, join_path(path, key))
            for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [copy_plain(item, findings, f"{path}[{i}]") for i, item in enumerate(value)]
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return copy_plain(value.tolist(), findings, path)
    rule = "must be text, a number, true, false, null, a list or a mapping"
    findings.refuse(path, f"{show(value)} is a {type(value).__name__}, but {rule}")
    return None


def read_text_number(path: str, value: Any, findings: Findings, *, exact: bool = False) -> Any:
    """Return the number that the text ``value`` stands for, with a note; any other value is returned as it is."""
    number = _parse_number(value) if isinstance(value, str) else None
    if not is_finite(number) or not (exact or fits_float(number)):
        return value
    findings.notes.append(describe_text_number(path, value, number))
    return number


def _normalize_parameters(path: str, raw: Any, findings: Findings, *, quotes_seen: bool) -> Any:
    if not isinstance(raw, dict):
        return raw
    read = {}
    for key, config in raw.items():
        here = f"{path}.{key}"
        if not isinstance(config, dict):
            read[key] = config
        elif "parameters" in config:
            nested = _normalize_parameters(
                f"{here}.parameters", config["parameters"], findings, quotes_seen=quotes_seen
            )
            read[key] = {**config, "parameters": nested}
        else:
            read[key] = _normalize_parameter(here, config, findings, quotes_seen=quotes_seen)
    return read


def _normalize_parameter(path: str, config: dict[Any, Any], findings: Findings, *, quotes_seen: bool) -> dict[Any, Any]:
    read = _with_numbers(path, config, _NUMBER_KEYS, findings)
    if not quotes_seen:
        if "value" in read:
            read["value"] = _read_listed_numbers(f"{path}.value", [read["value"]], findings)[0]
        if isinstance(read.get("values"), list):
            read["values"] = _read_listed_numbers(f"{path}.values", read["values"], findings)
    if isinstance(probabilities := read.get("probabilities"), list):
        read["probabilities"] = [
            read_text_number(f"{path}.probabilities[{i}]", item, findings) for i, item in enumerate(probabilities)
        ]
    return read


def _read_listed_numbers(path: str, values: list[Any], findings: Findings) -> list[Any]:
    """Return ``values`` with numbers for text in exponent form, if all of them are numbers then."""
    read = [parse_exponent_form(value) if is_exponent_form(value) else value for value in values]
    if not all(map(is_finite, read)):
        return values
    for text, number in zip(values, read, strict=True):
        if isinstance(text, str):
            findings.notes.append(describe_text_number(path, text, number))
    return read


def _normalize_metric(path: str, raw: Any, findings: Findings) -> Any:
    if not isinstance(raw, dict):
        return raw
    read = _with_numbers(path, copy_without_null(raw), ("target",), findings)
    if read.get("impute_while_running") is False:  # YAML's false; W&B wants the text
        read["impute_while_running"] = "false"
    return read


def _normalize_metrics(raw: Any, findings: Findings) -> Any:
    if not isinstance(raw, list):
        return raw
    return [_normalize_metric(f"metrics[{i}]", item, findings) for i, item in enumerate(raw)]


def _normalize_early_terminate(raw: Any, findings: Findings) -> Any:
    if not isinstance(raw, dict):
        return raw
    read = _with_numbers("early_terminate", copy_without_null(raw), (*_ITERATION_KEYS, "eta", "p"), findings)
    return {key: _as_integer(value) if key in _ITERATION_KEYS else value for key, value in read.items()}


def _with_numbers(path: str, config: dict[Any, Any], keys: Sequence[str], findings: Findings) -> dict[Any, Any]:
    return {
        key: read_text_number(f"{path}.{key}", value, findings, exact=key in _EXACT_KEYS) if key in keys else value
        for key, value in config.items()
    }


def _as_integer(value: Any) -> Any:
    """Return a whole float as an integer; any other value is returned as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _parse_number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _normalize_run_cap(raw: Any, findings: Findings) -> Any:
    return _as_integer(read_text_number("run_cap", raw, findings))


def _normalize_scheduler(raw: Any, findings: Findings) -> Any:
    return copy_without_null(raw) if isinstance(raw, dict) else raw


_NORMALIZERS = {
    "metric": lambda raw, findings: _normalize_metric("metric", raw, findings),
    "metrics": _normalize_metrics,
    "early_terminate": _normalize_early_terminate,
    "run_cap": _normalize_run_cap,
    "scheduler": _normalize_scheduler,
}
