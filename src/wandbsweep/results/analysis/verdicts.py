"""Whether early termination hurt a sweep, by the model over its own curves.

``savings`` asks how often finished trials improved as much as a stopped one lacked. But the finished trials are those
that looked good early: if slow starters win, hardly one of them has finished, and their curves say nothing. The model
of ``method: bayes`` knows how curves continue for which parameters, so it can tell how stopped trials would have ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from wandbsweep.results.analysis.savings import compute_agreement
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.stopping.history import as_history
from wandbsweep.stopping.successive_halving import bands
from wandbsweep.trial import SUCCEEDED

DRAWS = 400
"""How many joint draws of the stopped trials' final values there are."""
AMONG_BEST = 0.1
"""The share of all trials that counts as the best ones."""
HURT = 0.5
"""The stops hurt if this chance is exceeded that a stopped trial would have become the best."""
LOW_AGREEMENT = 0.3
"""A band whose order agrees less with the final one stops trials nearly at random."""
FEWEST = 3
"""With fewer finished trials, the model knows too little of how curves end."""


@dataclass(frozen=True)
class Verdicts:
    """What stopping trials early has cost, as far as the sweep's own curves tell."""

    rule: str
    """The type of the stopping rule."""
    stopped: int
    chance: float
    """The chance that a stopped trial would have ended better than every finished one."""
    expected_losses: float
    """How many stopped trials are expected among the best tenth of all trials, had they continued."""
    best_places: int
    """How many trials that tenth has."""
    likely: tuple[int, ...]
    """The stopped trials that most probably would have become the best."""
    agreements: Mapping[int, float]
    """By band of hyperband: Kendall's tau between the finished trials' order there and at the end."""

    @property
    def hurt(self) -> bool:
        return self.chance > HURT

    def describe(self) -> str:
        """Return one or two sentences for the user."""
        text = (
            f"By the model over all curves, {self.expected_losses:.1f} of the best {self.best_places} trials were "
            f"stopped, and the best trial of all would have been one of them with {self.chance:.0%}"
        )
        if not self.hurt:
            return f"{text}: the stops did not hurt."
        listed = ", ".join(map(str, self.likely))
        text += f" (likeliest: {listed}): {self.rule}'s stops probably hurt this sweep."
        low = [f"{tau:.2f} at {band}" for band, tau in self.agreements.items() if tau < LOW_AGREEMENT]
        if low:
            text += f" Early and final order hardly agree (Kendall's tau {', '.join(low)})."
        return f"{text} Raise min_iter, or use early_terminate: {{type: thaw}}, which takes up stopped trials again."


def judge_stops(data: SweepData) -> Verdicts | None:
    """Return what the stops have cost; None: no rule stopped anything, or too few trials finished to tell.

    Args:
        data: The sweep; with several metrics the result is None.
    """
    from wandbsweep.search.bayes.endings import draw_endings

    spec = data.spec
    stopped = [t.number for t in data.trials if t.state == "stopped" and t.reports and t.value is not None]
    finished = [t for t in data.trials if t.state == "finished" and t.reports]
    if spec.metric is None or spec.early_terminate is None or not stopped or len(finished) < FEWEST:
        return None
    # To the model a stopped trial is a frozen one: its final value may still be seen.
    trials = [replace(t, state="frozen") if t.state == "stopped" else t for t in data.trials if t.state in SUCCEEDED]
    endings = draw_endings(spec, trials, np.random.default_rng(0), draws=DRAWS)
    if endings is None or not endings.finished or not len(endings.data.pending):
        return None
    drawn = endings.posterior.drawn
    whole = np.repeat(np.array(list(endings.finished.values()))[:, None], DRAWS, axis=1)
    places = max(1, round(AMONG_BEST * len(endings.trials)))
    limit = np.sort(np.concatenate([drawn, whole]), axis=0)[places - 1]
    wins = (drawn == np.minimum(drawn.min(0), endings.best)) & (drawn < endings.best)
    shares = dict(zip(endings.data.pending.tolist(), wins.mean(1).tolist(), strict=True))
    likely = sorted((row for row, share in shares.items() if share > 0), key=lambda row: -shares[row])[:3]
    return Verdicts(
        rule=spec.early_terminate.type,
        stopped=len(stopped),
        chance=float(wins.any(0).mean()),
        expected_losses=float((drawn <= limit).sum(0).mean()),
        best_places=places,
        likely=tuple(endings.trials[row].number for row in likely),
        agreements=_compute_agreements(data),
    )


def _compute_agreements(data: SweepData) -> dict[int, float]:
    settings = data.spec.early_terminate
    if settings is None or settings.type != "hyperband":
        return {}
    sign = data.spec.sign
    curves = [sign * np.array(as_history(t.history)) for t in data.trials if t.state == "finished" and t.reports]
    longest = max(map(len, curves), default=0)
    found = {band: compute_agreement(curves, band) for band in takewhile(lambda band: band < longest, bands(settings))}
    return {band: tau for band, tau in found.items() if tau is not None}
