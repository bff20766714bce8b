"""The first step of reading a sweep configuration: the same configuration in plain objects, its numbers as numbers.

Values are not checked here. One that does not suit its key stays as it is, and is refused when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wandbsweep.spec.findings import Findings, describe_kind, is_finite, join_path, show
from wandbsweep.spec.sweep_file import describe_text_number, is_exponent_form, parse_exponent_form
from wandbsweep.trial import is_number

_EXACT_KEYS = ("min", "max")
"""The keys whose integers may be larger than any float."""
_INTEGER_KEYS = ("run_cap", "min_iter", "max_iter", "s", "startup")
_NUMBER_KEYS = (
    *(*_EXACT_KEYS, "mu", "sigma", "q", "a", "b", "probabilities"),
    *(*_INTEGER_KEYS, "target", "eta", "p"),
)
_NUMERIC_SECTIONS = ("parameters", "metric", "metrics", "early_terminate", "run_cap")
"""The keys of a configuration below which text may stand for numbers; ``prior`` depends on the parameters."""


def normalize(raw: object, findings: Findings, *, quotes_seen: bool) -> dict[str, Any] | None:
    """Return a deep copy of a sweep configuration, with numbers in place of text that means them.

    Keys whose value is null are absent from the copy, since null means the same.

    Args:
        raw: The configuration; it is not changed.
        findings: Collects a violation if ``raw`` is no configuration, and a note for each replaced text.
        quotes_seen: Whether ``raw`` was read from a file. There text in exponent form (``1e-5``) must have been
            quoted, so it stays text in ``value`` and ``values``.
    """
    if not isinstance(raw, Mapping) or not raw:
        what = "is empty" if raw is None or raw == {} else f"is {describe_kind(raw)}"
        findings.refuse("the sweep configuration", f"{what}, but must be a mapping with method and parameters")
        return None
    try:
        config: dict[str, Any] = _drop_null(copy_plain(raw, findings))
    except RecursionError:
        findings.refuse("the sweep configuration", "contains itself, or is nested too deeply")
        return None
    for key in ("metric", "early_terminate", "scheduler"):
        if key in config:
            config[key] = _drop_null(config[key])
    if isinstance(metrics := config.get("metrics"), list):
        config["metrics"] = list(map(_drop_null, metrics))
    for key in _NUMERIC_SECTIONS:
        if key in config:
            config[key] = _read_numbers(key, key, config[key], findings, quotes_seen=quotes_seen)
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
    """Return the number that the text ``value`` means, with a note; any other value is returned as it is."""
    number = _parse_text(value) if isinstance(value, str) else None
    if not is_finite(number) or not (exact or is_number(number)):
        return value
    findings.notes.append(describe_text_number(path, value, number))
    return number


def _drop_null(value: Any) -> Any:
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


def _read_numbers(path: str, key: object, value: Any, findings: Findings, *, quotes_seen: bool) -> Any:
    """Return ``value``, which ``key`` holds, with numbers for text if ``key``, or a key below it, holds numbers."""
    if key in ("value", "values"):
        return value if quotes_seen else _read_listed_numbers(path, value, findings)
    if key == "when":  # values of other parameters
        return value
    if key == "impute_while_running" and value is False:  # W&B knows the text only
        return "false"
    if isinstance(value, dict):
        read = {}
        for name, item in value.items():
            below = None if key == "parameters" else name  # a parameter may have the name of one of these keys
            read[name] = _read_numbers(f"{path}.{name}", below, item, findings, quotes_seen=quotes_seen)
        return read
    if isinstance(value, list):
        items = enumerate(value)
        return [_read_numbers(f"{path}[{i}]", key, item, findings, quotes_seen=quotes_seen) for i, item in items]
    number = read_text_number(path, value, findings, exact=key in _EXACT_KEYS) if key in _NUMBER_KEYS else value
    return int(number) if key in _INTEGER_KEYS and isinstance(number, float) and number.is_integer() else number


def _read_listed_numbers(path: str, values: Any, findings: Findings) -> Any:
    """Return numbers for text in exponent form, if that makes all values numbers; ``values`` may be a single one."""
    listed = values if isinstance(values, list) else [values]
    read = [parse_exponent_form(value) if is_exponent_form(value) else value for value in listed]
    if not all(map(is_finite, read)):
        return values
    for text, number in zip(listed, read, strict=True):
        if isinstance(text, str):
            findings.notes.append(describe_text_number(path, text, number))
    return read if isinstance(values, list) else read[0]


def _parse_text(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
