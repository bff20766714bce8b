"""``early_terminate``: which stopping rules a sweep file may name, and the settings of each.

W&B knows ``hyperband`` alone; the other types are extensions. ``controllers.embedded.stopping_rules`` says what
implements each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from wandbsweep.spec.findings import Findings

_PATH = "early_terminate"
THAW = "thaw"
"""The type that keeps stopped trials, to continue some of them later."""


@dataclass(frozen=True, slots=True)
class EarlyTerminate:
    """A stopping rule's settings. Those that its type does not have keep their defaults.

    With ``max_iter`` and ``s``, hyperband has ``s`` bands downwards from ``max_iter``. Otherwise its bands go upwards
    from ``min_iter``.
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
    """A key of ``early_terminate``."""

    read: Callable[[Findings, str, object], Any]
    """Returns the value at a path if it fits the rules; see ``Findings``."""
    default: int | float | bool | None = None


_POSITIVE = Setting(partial(Findings.read_integer, least=1))

STOPPING_RULES: Mapping[str, Mapping[str, Setting]] = {
    "hyperband": {
        "min_iter": _POSITIVE,
        "max_iter": _POSITIVE,
        "s": _POSITIVE,
        "eta": Setting(partial(Findings.read_number, above=1), 3),
        "strict": Setting(Findings.read_boolean, default=True),
    },
    "auto": {},
    THAW: {
        "min_iter": _POSITIVE,
        "max_iter": _POSITIVE,
        "eta": Setting(partial(Findings.read_number, above=1), 2),
    },
    # Optuna's pruners, with its defaults.
    "median": {"min_iter": _POSITIVE, "startup": Setting(partial(Findings.read_integer, least=0), 5)},
    "asha": {"min_iter": _POSITIVE, "eta": Setting(partial(Findings.read_integer, least=2), 4)},
    "wilcoxon": {
        "p": Setting(partial(Findings.read_number, above=0, below=1), 0.1),
        "startup": Setting(partial(Findings.read_integer, least=0), 2),
    },
}
"""By type, the settings of each rule."""


def read_early_terminate(findings: Findings, raw: Any) -> EarlyTerminate | None:
    if not findings.check_mapping(_PATH, raw, "{type: hyperband, min_iter: 3}"):
        return None
    kind = findings.read_choice(f"{_PATH}.type", raw.get("type"), tuple(STOPPING_RULES))
    rule = STOPPING_RULES[kind or "hyperband"]
    findings.check_keys(_PATH, raw, ("type", *rule), _PATH if kind in (None, "hyperband") else kind)
    settings: dict[str, Any] = {}
    for key, setting in rule.items():
        value = setting.read(findings, f"{_PATH}.{key}", raw.get(key, setting.default))
        settings[key] = setting.default if value is None else value
    terminate = EarlyTerminate(kind or "hyperband", **settings)
    if terminate.type == "hyperband":
        _check_bands(findings, raw, terminate)
    return terminate


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
