"""``load_sweep``: from a file or a mapping to a validated ``SweepSpec``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.findings import Findings
from wandbsweep.spec.sweep_file import read_file
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.spec.validate import read_configuration


def load_sweep(source: str | os.PathLike[str] | Mapping[str, Any]) -> SweepSpec:
    """Read a sweep file, or the mapping that one holds.

    Numbers that are written as text are read as numbers, with a warning: any text where a number is needed, in a file
    unquoted text in exponent form (``1e-5``), and in a mapping, where quotes cannot be seen, this form in ``value``,
    and in ``values`` if all of them are numbers then.

    Raises:
        SweepConfigError: The configuration breaks its rules; the error lists every violation.
    """
    findings = Findings()
    if isinstance(source, Mapping):
        where = None
        spec = read_configuration(source, findings)
    else:
        where = os.fspath(source)
        raw, findings.notes = read_file(where)
        spec = read_configuration(raw, findings, quotes_seen=True)
    if spec is None:
        raise SweepConfigError(findings.violations, source=where)
    for note in findings.notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return spec
