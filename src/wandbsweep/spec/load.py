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

    Text that means a number is read as one, with a warning. That is any text where a number is needed. In a file it is
    also unquoted text in exponent form (``1e-5``). A mapping does not show quotes, so there this form is a number in
    ``value``, and in ``values`` if it makes all of them numbers.

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
