"""The trials of other sweeps (``prior: {sweeps: [outputs/ID]}``) that a new sweep learns from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.extensions import explain_misfit
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.spec.zipped import find_zip_fault
from wandbsweep.storage.json_codec import decode_json, encode_json
from wandbsweep.storage.open import open_reader
from wandbsweep.sweep.directory import find_sweep, locate_storage, read_spec
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.text import join_words, pluralize
from wandbsweep.trial import SUCCEEDED, TrialRecord

log = logging.getLogger(__name__)


def find_known_trials(spec: SweepSpec) -> list[dict[str, Any]]:
    """Return the trials of ``spec.prior.sweeps`` that have a value and lie in this space, as JSON values.

    A trial may lack parameters of this space. They are stored with the new sweep, which therefore depends on no other
    directory later. A sweep of which only a part can be used is warned of.

    Raises:
        SweepConfigError: A sweep optimises something else, or none of its trials lies in this space.
    """
    faults: list[str] = []
    found: list[dict[str, Any]] = []
    for index, ref in enumerate(spec.prior.sweeps if spec.prior else ()):
        other, trials = _read_sweep(ref)
        path = f"prior.sweeps[{index}]"
        theirs, ours = other.identity["metric"], spec.identity["metric"]
        if theirs != ours:
            faults.append(f"{path}: {ref} has the objective {theirs}, this sweep {ours}")
            continue
        ended = [trial for trial in trials if trial.state in SUCCEEDED]
        fitting = [trial for trial in ended if _fits(trial, spec)]
        if not ended:
            faults.append(f"{path}: {ref} has {pluralize(len(trials), 'trial')}, and none that ended with a value")
        elif not fitting:
            faults.append(f"{path}: none of the {len(ended)} trials of {ref} lies in the space of this sweep")
        elif notes := list(_describe_differences(spec, ended, fitting)):
            log.warning("%s: %s: %s.", path, ref, "; ".join(notes))
        found.extend({**_encode_trial(trial), "sweep": index} for trial in fitting)
    if faults:
        raise SweepConfigError(faults)
    return found


def decode_known_trials(stored: Sequence[Mapping[str, Any]]) -> list[list[TrialRecord]]:
    """Return the trials that ``find_known_trials`` encoded, those of each sweep in a list.

    Their numbers are negative, so that they differ from those of the sweep's own trials. A sweep that an older version
    stored does not tell from which sweep each is: they count as one.
    """
    found: dict[int, list[TrialRecord]] = {}
    for index, trial in enumerate(stored):
        record = TrialRecord(
            number=-1 - index,
            state=trial["state"],
            params=decode_json(trial["params"]),
            reports={int(step): value for step, value in trial["reports"]},
            value=trial["value"],
            metrics=trial["metrics"],
        )
        found.setdefault(trial.get("sweep", 0), []).append(record)
    return list(found.values())


def _encode_trial(trial: TrialRecord) -> dict[str, Any]:
    return {
        "state": trial.state,
        "params": encode_json(trial.params),
        "reports": list(trial.reports.items()),
        "value": trial.value,
        "metrics": dict(trial.metrics),
    }


def _read_sweep(ref: str) -> tuple[SweepSpec, list[TrialRecord]]:
    directory = find_sweep(ref)
    spec = read_spec(directory)
    url, study = locate_storage(directory, LaunchRecord.load_if_exists(directory))
    table = TrialTable(spec.goal, spec.value_rule)
    table.update(open_reader(directory, study, url).changes())
    return spec, table.records()


def _fits(trial: TrialRecord, spec: SweepSpec) -> bool:
    """Whether ``trial`` could belong to this sweep: it has a parameter of this space, and possible values of all."""
    shared = [name for name in spec.parameters if name in trial.params]
    return (
        any(spec.parameters[name].distribution != "constant" for name in shared)
        and not any(explain_misfit(spec.parameters[name], trial.params[name]) for name in shared)
        and not find_zip_fault(spec.parameters, spec.zip, trial.params)
    )


def _describe_differences(
    spec: SweepSpec, ended: Sequence[TrialRecord], fitting: Sequence[TrialRecord]
) -> Iterator[str]:
    """Say what of an earlier sweep cannot be used.

    Args:
        spec: This sweep.
        ended: The trials of the earlier sweep that ended with a value.
        fitting: Those of them that lie in this space.
    """
    if outside := len(ended) - len(fitting):
        yield f"{outside} of {pluralize(len(ended), 'trial')} lie outside this space and do not count"
    varied = [name for name, parameter in spec.parameters.items() if parameter.distribution != "constant"]
    if lacking := [name for name in varied if not any(name in trial.params for trial in fitting)]:
        yield f"it had no {join_words(lacking, 'and')}, so it says nothing of {'it' if len(lacking) == 1 else 'them'}"
