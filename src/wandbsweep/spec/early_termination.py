"""``early_terminate``: which stopping rules a sweep file may name, and the settings of each.

W&B knows ``hyperband`` alone; the other types are extensions. ``controllers.embedded.stopping_rules`` says what
implements each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wandbsweep.spec.findings import Findings, describe_kind, show

_PATH = "early_terminate"


@dataclass(frozen=True, slots=True)
class EarlyTerminate:
    """A stopping rule's settings; a setting that its type does not have is at its default.

    With ``max_iter`` and ``s``, hyperband has ``s`` bands downwards from ``max_iter``, otherwise bands upwards from
    ``min_iter``.
    """

    type: str = "hyperband"
    """A key of ``STOPPING_RULES``."""
    min_iter: int | None = None
    max_iter: int | None = None
    s: int | None = None
    eta: int | float = 3
    strict: bool = True
    startup: int | None = None
    """How many trials (median) or steps (wilcoxon) there must be before anything is stopped."""
    p: int | float | None = None
    """The p-value below which wilcoxon stops."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of ``early_terminate``, what it must hold, and its value if it is absent."""

    kind: Literal["integer", "number", "boolean"]
    default: int | float | bool | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of ``read_number``, or ``least`` for ``read_integer``."""


_MIN_ITER = Setting("integer", limits={"least": 1})

STOPPING_RULES: Mapping[str, Mapping[str, Setting]] = {
    "hyperband": {
        "min_iter": _MIN_ITER,
        "max_iter": Setting("integer", limits={"least": 1}),
        "s": Setting("integer", limits={"least": 1}),
        "eta": Setting("number", 3, {"above": 1}),
        "strict": Setting("boolean", default=True),
    },
    "auto": {},
    # Optuna's pruners, with its defaults.
    "median": {"min_iter": _MIN_ITER, "startup": Setting("integer", 5, {"least": 0})},
    "asha": {"min_iter": _MIN_ITER, "eta": Setting("integer", 4, {"least": 2})},
    "wilcoxon": {
        "p": Setting("number", 0.1, {"above": 0, "below": 1}),
        "startup": Setting("integer", 2, {"least": 0}),
    },
}
"""By type, the settings of each rule."""


def read_early_terminate(findings: Findings, raw: Any) -> EarlyTerminate | None:
    if not findings.check_mapping(_PATH, raw, "{type: hyperband, min_iter: 3}"):
        return None
    kind = findings.read_choice(f"{_PATH}.type", raw.get("type"), tuple(STOPPING_RULES))
    rule = STOPPING_RULES[kind or "hyperband"]
    owner = _PATH if kind in (None, "hyperband") else kind
    findings.check_keys(_PATH, raw, ("type", *rule), owner)
    settings = {key: _read_setting(findings, key, raw, setting) for key, setting in rule.items()}
    terminate = EarlyTerminate(kind or "hyperband", **settings)
    if terminate.type == "hyperband":
        _check_bands(findings, raw, terminate)
    return terminate


def _read_setting(findings: Findings, key: str, raw: Mapping[str, Any], setting: Setting) -> Any:
    path, value = f"{_PATH}.{key}", raw.get(key, setting.default)
    if setting.kind == "integer":
        return findings.read_integer(path, value, **setting.limits)
    if setting.kind == "number":
        number = findings.read_number(path, value, **setting.limits)
        return setting.default if number is None else number
    if not isinstance(value, bool):
        findings.refuse(path, f"{show(value)} is {describe_kind(value)}, but must be true or false")
    return value


def _check_bands(findings: Findings, raw: Mapping[str, Any], settings: EarlyTerminate) -> None:
    """Refuse settings of hyperband that give no band, and note those that are ignored."""
    min_iter, max_iter, s, eta = settings.min_iter, settings.max_iter, settings.s, settings.eta
    if "min_iter" not in raw and not {"max_iter", "s"} <= raw.keys():
        given = ", ".join(sorted({"max_iter", "s"} & raw.keys())) or "neither"
        findings.refuse(_PATH, f"needs min_iter, or both max_iter and s; given: {given}")
    if max_iter is not None and s is not None and max_iter / eta < 1:
        rule = "the largest band is max_iter / eta, and must be at least 1"
        findings.refuse(f"{_PATH}.max_iter", f"{max_iter} with eta {eta} gives no band: {rule}")
    if min_iter is None:
        return
    if max_iter is not None and s is not None:
        findings.note(f"{_PATH}.min_iter", "is ignored, as max_iter and s are given")
    elif max_iter is not None:
        findings.note(f"{_PATH}.max_iter", "is ignored without s; bands start at min_iter")
    elif s is not None:
        findings.note(f"{_PATH}.s", "is ignored without max_iter; bands start at min_iter")
