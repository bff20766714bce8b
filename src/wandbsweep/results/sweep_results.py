"""``open_sweep`` and ``SweepResults``: a sweep's data together with its analyses, for use in Python and notebooks.

The methods import the analyses when they are called, so that ``open_sweep`` alone does not wait for NumPy.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from wandbsweep.results.reader import SweepReader
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.trial import ValueRule

if TYPE_CHECKING:
    import pandas as pd

    from wandbsweep.results.analysis.convergence import Convergence
    from wandbsweep.results.analysis.correlation import Correlation
    from wandbsweep.results.analysis.importance import Importance
    from wandbsweep.results.analysis.savings import Savings

_ROWS = 20  # of the table that is shown in place of the object


class SweepResults(SweepData):
    """What ``open_sweep`` returns: the data, and the analyses as methods. It prints as a table of its best trials.

    Every method calls one function that takes a ``SweepData``; code of this package calls those functions itself.
    """

    def __repr__(self) -> str:
        from wandbsweep.results.terminal.tables import format_sweep

        return format_sweep(self, width=shutil.get_terminal_size((120, 0)).columns, top=_ROWS)

    def _repr_html_(self) -> str:
        from wandbsweep.results.notebook import render_table

        return render_table(self, top=_ROWS)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per trial ever asked for; needs pandas (``pip install 'wandbsweep[analysis]'``).

        Columns: number, state, metric (the trial's value), steps (reports), duration_s, attempts, step (of its value),
        last (its last value), ``params.*``, ``metrics.*`` (last values). With ``metric.constraints``, infeasible says
        which of them the trial violates; empty: none.
        """
        from wandbsweep.results.frames import build_trial_frame

        return build_trial_frame(self)

    @cached_property
    def histories(self) -> pd.DataFrame:
        """One row per report, with ``number``, ``step`` and ``value`` of the metric; needs pandas."""
        from wandbsweep.results.frames import build_history_frame

        return build_history_frame(self)

    def export(self, file: str | os.PathLike[str], *, histories: bool = False) -> Path:
        """Write ``frame``, or ``histories``, to a ``.csv``, ``.jsonl`` or ``.parquet`` file."""
        from wandbsweep.results.frames import export_frame

        return export_frame(self.histories if histories else self.frame, file)

    def importance(self, metric: str | None = None, *, method: str | None = None) -> Importance:
        """Return how much of ``metric`` (by default the sweep's own) follows from each parameter."""
        from wandbsweep.results.analysis.importance import compute_importance
        from wandbsweep.results.analysis.trial_matrix import build_trial_matrix

        return compute_importance(build_trial_matrix(self, metric), method=method)

    def correlation(self, metric: str | None = None) -> Correlation:
        """Return how each parameter correlates with ``metric`` (by default the sweep's own)."""
        from wandbsweep.results.analysis.correlation import compute_correlation
        from wandbsweep.results.analysis.trial_matrix import build_trial_matrix

        return compute_correlation(build_trial_matrix(self, metric))

    def converged(self, *, patience: int = 20) -> Convergence:
        """Return whether it is time to stop searching, with the reasons; its truth value is the verdict."""
        from wandbsweep.results.analysis.convergence import assess_convergence

        return assess_convergence(self, patience=patience)

    def savings(self) -> Savings:
        """Return what early termination saved, and what it may have cost."""
        from wandbsweep.results.analysis.savings import compute_savings

        return compute_savings(self)

    def narrow(self, top: float = 0.2) -> SweepSpec:
        """Return the next sweep, with its ranges narrowed to where the best ``top`` of the trials are."""
        from wandbsweep.results.narrowing.narrow import narrow

        return narrow(self, top=top).spec


def open_sweep(ref: str | os.PathLike[str], *, by: ValueRule | None = None) -> SweepResults:
    """Read a sweep, during or after it.

    Args:
        ref: A sweep's directory; its id, if it is below ``outputs/`` of the working directory; ``URL#id`` for a sweep
            in a database, where ``${oc.env:NAME}`` in the URL may name an environment variable; or
            ``wandb:entity/project/id`` for a sweep at W&B.
        by: Whether the ``best`` or the ``last`` value that a trial reported is its value, as in ``rank_by``; None: what
            the sweep says, which is the best one by default.

    Raises:
        SweepDirectoryError: If there is no such sweep (the message names some that exist), or it is damaged.
    """
    data = SweepReader(ref).read()
    return SweepResults(**{field.name: getattr(data, field.name) for field in fields(SweepData)}).rank_by(by)
