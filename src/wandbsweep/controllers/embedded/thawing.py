"""``early_terminate: {type: thaw}``: trials are frozen instead of stopped, and may be taken up again.

``search.thawing`` decides which, from the trials alone. This module asks it at the right moments. A frozen trial is
continued as one that was released: any agent claims its next attempt, and the training resumes from its checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from wandbsweep.controllers.embedded.study import Study
from wandbsweep.controllers.trial_entry import REPEATED, TrialEntry, classify_claim, read_claim
from wandbsweep.search.make import make_thawing
from wandbsweep.search.thawing import Thawing
from wandbsweep.stopping.base import TrialView
from wandbsweep.storage.base import AttemptClosedError
from wandbsweep.trial import TrialRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FreezingRule:
    """The stopping rule of ``thaw``."""

    policy: Thawing

    def reason_to_stop(self, number: int, trials: TrialView) -> str | None:
        """Return why a trial that has just reported is frozen; None: it continues."""
        records = trials.records()
        if not self.policy.is_rung(len(records[number].reports)):
            return None
        return self.policy.reason_to_freeze(number, records)


class Thaws:
    """Chooses the frozen trials that agents take up again. Without ``thaw`` in the sweep's configuration, none."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._policy = make_thawing(study.spec)
        self._chosen: tuple[tuple[int, bool], int | None] | None = None
        """The last choice, and for which state of the trial table it was made."""
        self._warned = False

    @property
    def freezes(self) -> bool:
        """Whether trials are frozen rather than stopped."""
        return self._policy is not None

    def choose(self, *, may_start: bool) -> TrialEntry | None:
        """Return a frozen trial to continue now; None: a new one is better, or nothing is worth continuing.

        The model may take a moment, so the table is not locked meanwhile.

        Args:
            may_start: Whether there may be new trials.
        """
        while self._policy is not None:
            with self._study.refresh() as table:
                state, trials = (table.version, may_start), table.records()
            number = self._choose(self._policy, trials, state)
            if number is None:
                return None
            with self._study.refresh() as table:
                entry = table.entries[number]
                if entry.state == "frozen":  # otherwise another agent was faster
                    return entry.snapshot()
        return None

    def _choose(self, policy: Thawing, trials: Sequence[TrialRecord], state: tuple[int, bool]) -> int | None:
        chosen = self._chosen
        if chosen is None or chosen[0] != state:
            is_any = any(trial.state == "frozen" for trial in trials)
            number = policy.choose(trials, may_start=state[1]) if is_any else None
            chosen = self._chosen = state, number
        return chosen[1]

    def repeats(self, entry: TrialEntry, step: int) -> bool:
        """Return whether ``step``, which a trial has just reported, is one that it had reported when it was frozen.

        Its training then did not resume where it ended. That is said once, and noted for readers. Such a report is not
        judged again: a training that never resumes would otherwise be frozen at the same step again and again.
        """
        if entry.frozen_at is None or step > entry.frozen_at:
            return False
        if not entry.repeated and classify_claim(read_claim(entry.newest)) == "thaw":
            with suppress(AttemptClosedError):
                self._study.storage.set_attribute(entry.newest.key, REPEATED, True)
            self._warn(entry.number, entry.frozen_at, step)
        return True

    def _warn(self, number: int, frozen_at: int, step: int) -> None:
        if self._warned:
            return
        self._warned = True
        log.warning(
            "Trial %d was frozen after step %d and taken up again, but its training reports step %d: it repeats what "
            "it had done, and its new reports replace the old ones. Save a checkpoint in the trial's directory before "
            "each report, and resume from current_trial().checkpoint; a training that cannot resume is better stopped "
            "for good, with early_terminate: {type: auto}.",
            number,
            frozen_at,
            step,
        )
