"""The next sweep: where the best trials are, and no narrower than they are matrix for.

"Fix dropout at a reasonable value, narrow the learning rate search range to the region where your best runs clustered,
and run a second, focused sweep" ("How to Use W&B Sweeps for Hyperparameter Search").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wandbsweep.errors import SweepError
from wandbsweep.results.analysis.convergence import best_positions, spread_of
from wandbsweep.results.analysis.importance import Importance, compute_importance
from wandbsweep.results.analysis.trial_matrix import FEW, TrialMatrix, build_trial_matrix
from wandbsweep.results.narrowing.ranges import narrowed_range
from wandbsweep.spec.distributions import DISTRIBUTIONS, Parameter, grid_key
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.text import join_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wandbsweep.results.sweep_data import SweepData

UNIMPORTANT = 0.05
"""Of the variance: a parameter whose share is below this even at the upper end of its interval is fixed."""

_CHANCE = 0.05


@dataclass(frozen=True)
class Change:
    """What becomes of one parameter, and why."""

    config: Mapping[str, Any]
    """As it stands in the next sweep file."""
    why: str
    reasons: Mapping[str, str]
    """By the keys of ``config``: why they have these values."""
    kind: str
    """``narrowed``, ``fixed`` or ``kept``."""


@dataclass(frozen=True)
class Narrowing:
    """The next sweep, and what it follows from."""

    spec: SweepSpec
    changes: Mapping[str, Change]
    dropped: Mapping[str, str]
    """Parameters that cannot exist any more, with the reason."""
    trials: int
    best: int
    fork: str | None
    notes: tuple[str, ...]


def narrow(data: SweepData, *, top: float = 0.2, fork: bool = False) -> Narrowing:
    """The sweep to follow ``results``.

    A range of numbers becomes the one between the best ``top`` of the trials (5 at least), widened to what so few
    draws leave possible (``ranges.py``), on the parameter's own scale, within the old one. A listed value is dropped
    if none of the best has it although it was tried so often that chance would leave it out in fewer than 5 %
    (hypergeometric). A parameter is fixed at its best value if its importance is below 5 % even at the upper end of
    its interval *and* the best trials scatter over it as random ones would: over the whole space something else may
    outweigh what decides among the best. Never all of them are. Below 20 trials nothing is fixed. ``fork``: the new
    sweep learns from this one's trials; nothing is fixed then, since what lies outside of the new space is no
    matrix in it. Raises SweepError where there are too few trials to narrow anything.
    """
    if not 0 < top <= 1:
        raise SweepError(
            f"The value of `top` is {top}, but must be above 0 and at most 1: the share that counts as best."
        )
    matrix = build_trial_matrix(data)
    if len(matrix) < 5:
        raise SweepError(
            f"The sweep {data.sweep_id} has {len(matrix)} trials with a value; it takes 5 to narrow it, and "
            f"about {FEW} to do so with some certainty."
        )
    chosen = best_positions(matrix, top)
    weights = compute_importance(matrix)
    fixed = set() if fork else _unimportant(matrix, weights, top)
    changes: dict[str, Change] = {}
    for name, parameter in data.spec.parameters.items():
        if name in fixed:
            changes[name] = _fix(matrix, parameter, weights)
        elif name in matrix.parameters:
            changes[name] = _narrowed(matrix, parameter, chosen, weights)
        else:
            changes[name] = Change(parameter.config, "does not vary" if _fixed(parameter) else "kept", {}, "kept")
    dropped = _settle_conditions(changes)
    notes = [matrix.warning] if matrix.warning else []
    config, more = _config(data, changes, fork)
    return Narrowing(
        load_sweep(config),
        changes,
        dropped,
        len(matrix),
        len(chosen),
        str(data.directory) if fork else None,
        (*notes, *more),
    )


def _fixed(parameter: Parameter) -> bool:
    return parameter.distribution == "constant"


def _unimportant(matrix: TrialMatrix, weights: Importance, top: float) -> set[str]:
    """The parameters that can be fixed: never those on which others depend, and never all."""
    if len(matrix) < FEW:
        return set()
    parents = {parent for p in matrix.parameters.values() for parent, _ in p.when}
    low = {n for n in weights if weights.intervals[n][1] < UNIMPORTANT and n not in parents}
    low -= {n for n in low if not bool(matrix.having(n).all())}
    low = {n for n in low if (spread := spread_of(matrix, n, top)) is not None and spread.chance >= _CHANCE}
    return low if len(low) < len(matrix.parameters) else low - {next(iter(weights))}


def _fix(matrix: TrialMatrix, parameter: Parameter, weights: Importance) -> Change:
    value = matrix.params[int(matrix.order[0])][parameter.name]
    share, (_, high) = weights[parameter.name], weights.intervals[parameter.name]
    why = f"fixed: importance {share:.1%}, at most {high:.1%}; the best scatter over it"
    return Change(
        {"value": value}, why, {"value": f"the best trial's ({matrix.numbers[int(matrix.order[0])]})"}, "fixed"
    )


def _narrowed(matrix: TrialMatrix, parameter: Parameter, chosen: NDArray[np.int64], weights: Importance) -> Change:
    name = parameter.name
    own = chosen[matrix.having(name)[chosen]]
    share = f"importance {weights[name]:.0%}" if name in weights else "importance unknown"
    when = {"when": {parent: list(values) for parent, values in parameter.when}} if parameter.when else {}
    if len(own) < 3:
        return Change(parameter.config, f"kept: {share}; only {len(own)} of the best have it", {}, "kept")
    if parameter.values is not None:
        config, reasons, kept = _listed(matrix, parameter, own)
    else:
        values = [matrix.params[int(i)][name] for i in own]
        tried = [p[name] for p in matrix.params if name in p]
        config, reasons, kept = narrowed_range(parameter, values, tried)
    kind = "kept" if kept else "narrowed"
    return Change({**config, **when}, f"{kind}: {share}", reasons, kind)


def _listed(
    matrix: TrialMatrix, parameter: Parameter, chosen: NDArray[np.int64]
) -> tuple[dict[str, Any], dict[str, str], bool]:
    values = list(parameter.values or ())
    there = [grid_key(p[parameter.name]) if parameter.name in p else None for p in matrix.params]
    among = {there[int(i)] for i in chosen}
    kept, gone = [], []
    for value in values:
        key = grid_key(value)
        tried = there.count(key)
        untouched = key not in among
        if untouched and _chance_of_none(sum(k is not None for k in there), tried, len(chosen)) < _CHANCE:
            gone.append(f"{value} (tried {tried} times)")
        else:
            kept.append(value)
    base = parameter.config
    if not gone:
        return base, {"values": "each is among the best, or was tried too seldom to tell"}, True
    reasons = {"values": f"without {', '.join(gone)}: never among the {len(chosen)} best"}
    if parameter.probabilities is None:
        return {"values": kept}, reasons, False
    weights = [
        p for v, p in zip(values, parameter.probabilities, strict=True) if any(grid_key(v) == grid_key(k) for k in kept)
    ]
    total = sum(weights)
    if total <= 0:
        return base, {}, True
    return {**base, "values": kept, "probabilities": [w / total for w in weights]}, reasons, False


def _chance_of_none(total: int, tried: int, best: int) -> float:
    """That none of ``tried`` trials is among the ``best`` of ``total`` by chance (hypergeometric)."""
    if total - tried < best:
        return 0.0
    return math.exp(_log_choose(total - tried, best) - _log_choose(total, best))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _settle_conditions(changes: dict[str, Change]) -> dict[str, str]:
    """Take out conditions on values that are gone, and parameters that cannot exist without them."""
    dropped: dict[str, str] = {}
    settled = False
    while not settled:
        settled = True
        for name, change in list(changes.items()):
            when = change.config.get("when", {})
            left = {parent: _possible(changes, parent, values) for parent, values in when.items()}
            if empty := next((parent for parent, values in left.items() if not values), None):
                dropped[name] = f"exists only with {empty}: {join_words(when[empty], 'or')}, which is gone"
                del changes[name]
                settled = False
            elif left != when:
                changes[name] = replace(change, config={**change.config, "when": left})
    return dropped


def _possible(changes: Mapping[str, Change], parent: str, values: Sequence[Any]) -> list[Any]:
    if parent not in changes:
        return []
    law = changes[parent].config
    if "min" in law:  # integers
        return [value for value in values if law["min"] <= value <= law["max"]]
    known = {grid_key(value) for value in ([law["value"]] if "value" in law else law["values"])}
    return [value for value in values if grid_key(value) in known]


def _config(data: SweepData, changes: Mapping[str, Change], fork: bool) -> tuple[dict[str, Any], list[str]]:
    config = data.spec.dump()
    config["parameters"] = {name: _without_defaults(change.config) for name, change in changes.items()}
    config.pop("prior", None)
    notes = []
    if fork:
        if data.spec.metric is None and not data.spec.metrics:
            raise SweepError("A sweep without a metric has nothing that another could learn from it.")
        if not data.spec.method_info.learns:
            notes.append(f"method was {config['method']}, which learns nothing from earlier trials")
            config["method"] = "bayes"
            if "run_cap" not in config:
                config["run_cap"] = max(20, len(data.trials) // 2)
                notes.append("run_cap is new: bayes has no end of its own")
        config["prior"] = {"sweeps": [str(data.directory)]}
    elif data.spec.method_info.finite:
        lost = [n for n, c in changes.items() if "min" in c.config and DISTRIBUTIONS[_law(c.config)].grid is None]
        if lost:
            raise SweepError(f"The grid has no values of {', '.join(lost)} any more.")
    return config, notes


def _law(config: Mapping[str, Any]) -> str:
    return str(config.get("distribution", "uniform"))


def _without_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without the distribution where W&B tells it from the other keys."""
    plain = {"constant": {"value"}, "categorical": {"values"}}
    law = config.get("distribution")
    if law in plain and config.keys() - {"distribution", "when"} == plain[str(law)]:
        return {key: value for key, value in config.items() if key != "distribution"}
    return dict(config)
