"""What a sweep knows before its first trial: configurations to try first, and other sweeps' trials.

An extension of W&B's format: ``prior: {configurations: [{optimizer.lr: 0.001}], sweeps: [outputs/ID]}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wandbsweep.controllers.trial_table import Ledger
from wandbsweep.errors import SweepConfigError
from wandbsweep.search.make import RandomSearch, Search
from wandbsweep.spec.conditions import active
from wandbsweep.spec.extensions import outside
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.json_codec import packed, unpacked
from wandbsweep.trial import TrialRecord


@dataclass(frozen=True)
class PriorSearch:
    """Another search, after the configurations that are to be tried first, and with the trials of other sweeps.

    What a configuration leaves open is drawn at random, by the sweep's seed and the trial's number.
    """

    inner: Search
    spec: SweepSpec
    seed: int
    configurations: Sequence[Mapping[str, Any]]
    known: Sequence[TrialRecord]

    @property
    def size(self) -> int | None:
        return self.inner.size

    def draw(self, number: int) -> dict[str, Any] | None:
        if number >= len(self.configurations):
            return self.inner.draw(number)
        drawn = RandomSearch(self.spec, self.seed).draw_all(number)
        return active(self.spec.parameters, {**drawn, **self.configurations[number]})

    def propose(self, number: int, trials: Sequence[TrialRecord], hurried: bool = False) -> dict[str, Any]:
        return self.inner.propose(number, [*self.known, *trials], hurried)


def find_known(spec: SweepSpec) -> list[dict[str, Any]]:
    """The trials of ``spec.prior.sweeps`` that have a value and lie in this space, as JSON holds them.

    Stored with the new sweep, which so depends on no other directory. Raises SweepConfigError for a sweep that
    optimises something else, or of which no trial lies in this space.
    """
    faults: list[str] = []
    found: list[dict[str, Any]] = []
    for index, ref in enumerate(spec.prior.sweeps if spec.prior else ()):
        other, trials = _read_sweep(ref)
        path = f"prior.sweeps[{index}]"
        if _objectives(other) != _objectives(spec):
            faults.append(f"{path}: {ref} has the objective {_objectives(other)}, this sweep {_objectives(spec)}")
            continue
        ended = [trial for trial in trials if trial.state in ("finished", "stopped")]
        fitting = [trial for trial in ended if _fits(trial, spec)]
        if not ended:
            faults.append(f"{path}: {ref} has {len(trials)} trials, and none that ended with a value")
        elif not fitting:
            faults.append(f"{path}: none of the {len(ended)} trials of {ref} lies in the space of this sweep")
        found.extend(map(_as_json, fitting))
    if faults:
        raise SweepConfigError(faults)
    return found


def read_known(stored: Sequence[Mapping[str, Any]]) -> list[TrialRecord]:
    """The inverse of ``find_known``; the numbers are negative, and so nobody else's."""
    return [
        TrialRecord(
            number=-1 - index,
            state=trial["state"],
            params=unpacked(trial["params"]),
            reports={int(step): value for step, value in trial["reports"]},
            value=trial["value"],
            metrics=trial["metrics"],
        )
        for index, trial in enumerate(stored)
    ]


def _read_sweep(ref: str) -> tuple[SweepSpec, list[TrialRecord]]:
    from wandbsweep.storage.open import open_storage, read_ledger
    from wandbsweep.sweep.directory import find_sweep, read_spec, storage_of
    from wandbsweep.sweep.launch_record import Plan

    directory = find_sweep(ref)
    spec = read_spec(directory)
    url, study = storage_of(directory, Plan.load_if_any(directory))
    ledger: Ledger = read_ledger(open_storage(directory, url), study, spec.goal)
    return spec, ledger.records()


def _as_json(trial: TrialRecord) -> dict[str, Any]:
    return {
        "state": trial.state,
        "params": packed(trial.params),
        "reports": list(trial.reports.items()),
        "value": trial.value,
        "metrics": dict(trial.metrics),
    }


def _fits(trial: TrialRecord, spec: SweepSpec) -> bool:
    """Whether ``trial`` could have been one of this sweep: all its parameters are there, with possible values."""
    needed = active(spec.parameters, {**dict.fromkeys(spec.parameters), **trial.params})
    return all(name in trial.params and not outside(spec.parameters[name], trial.params[name]) for name in needed)


def _objectives(spec: SweepSpec) -> str:
    metrics = [spec.metric] if spec.metric else spec.metrics
    return ", ".join(f"{metric.goal} {metric.name}" for metric in metrics) or "none"
