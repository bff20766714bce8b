"""The next sweep: narrowed to where the best trials are, as far as they are evidence.

"Fix dropout at a reasonable value, narrow the learning rate search range to the region where your best runs clustered,
and run a second, focused sweep" ("How to Use W&B Sweeps for Hyperparameter Search").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from wandbsweep.errors import SweepError
from wandbsweep.results.analysis.convergence import compute_spread, find_best
from wandbsweep.results.analysis.importance import Importance, compute_importance
from wandbsweep.results.analysis.trial_matrix import RELIABLE_TRIALS, Indices, TrialMatrix, build_trial_matrix
from wandbsweep.results.narrowing.ranges import narrow_range
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.spec.constraints import list_names
from wandbsweep.spec.distributions import DISTRIBUTIONS, Parameter, grid_key
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.spec.zipped import join_group
from wandbsweep.text import join_words

MAX_UNIMPORTANT = 0.05
"""A parameter is fixed if its share of the variance is below this, even at the upper end of its interval."""

_MIN_CHANCE = 0.05
"""The best trials scatter over a parameter if random draws lie as close together at least this often."""
_MAX_ABSENCE_CHANCE = 0.05
"""A listed value is dropped if chance would leave it out of the best trials less often than this."""
_MIN_TRIALS = 5
_MIN_BEST = 3
"""A parameter that fewer of the best trials have is kept as it is."""


@dataclass(frozen=True)
class Change:
    """What happens to one parameter, and why."""

    config: Mapping[str, Any]
    """Its configuration in the next sweep file."""
    why: str
    reasons: Mapping[str, str]
    """By the keys of ``config``: why they have these values."""
    kind: Literal["narrowed", "fixed", "kept"]


@dataclass(frozen=True)
class Narrowing:
    """The next sweep, and the reasons for its changes."""

    spec: SweepSpec
    changes: Mapping[str, Change]
    dropped: Mapping[str, str]
    """Parameters that can no longer exist, with the reason."""
    trials: int
    best: int
    """How many of the trials count as the best."""
    fork: str | None
    """The directory of the sweep that the next one learns from."""
    notes: tuple[str, ...]


def narrow(data: SweepData, *, top: float = 0.2, fork: bool = False) -> Narrowing:
    """Return the sweep to follow ``data``.

    - A range becomes the one between the best trials (``ranges.py``).
    - A listed value is dropped if it was tried often and none of the best trials has it.
    - A parameter is fixed at its best value if its importance is below 5 % even at the upper end of its interval *and*
      the best trials scatter over it as random ones would. (A parameter that matters little over the whole space may
      still decide among the best.) Not all parameters are fixed, and none with fewer than ``RELIABLE_TRIALS`` trials.

    Args:
        data: The sweep to follow.
        top: The share of the trials that count as the best; at least 5 do.
        fork: Whether the new sweep learns from this one's trials. Then no parameter is fixed, because trials outside
            of the new space cannot be learned from.

    Raises:
        SweepError: If there are too few trials to narrow anything, or ``top`` is no share.
    """
    if not 0 < top <= 1:
        raise SweepError(
            f"The value of `top` is {top}, but must be above 0 and at most 1: the share that counts as best."
        )
    matrix = build_trial_matrix(data)
    if len(matrix) < _MIN_TRIALS:
        raise SweepError(
            f"The sweep {data.sweep_id} has {len(matrix)} trials with a value; it takes {_MIN_TRIALS} to narrow it, "
            f"and about {RELIABLE_TRIALS} to do so with some certainty."
        )
    best = find_best(matrix, top)
    importance = compute_importance(matrix)
    zipped = {name for group in data.spec.zip for name in group}
    fixed = set() if fork else _find_unimportant(matrix, importance, top) - zipped
    changes: dict[str, Change] = {}
    for name, parameter in data.spec.parameters.items():
        if name in fixed:
            changes[name] = _fix(matrix, parameter, importance)
        elif name in matrix.parameters:
            changes[name] = _narrow_parameter(matrix, parameter, best, importance)
        else:
            why = "does not vary" if parameter.distribution == "constant" else "kept"
            changes[name] = Change(parameter.config, why, {}, "kept")
    for group in data.spec.zip:
        changes.update(_narrow_group(matrix, data.spec, group, best, importance))
    dropped = _resolve_conditions(changes)
    config, notes = _build_config(data, changes, fork=fork)
    return Narrowing(
        spec=load_sweep(config),
        changes=changes,
        dropped=dropped,
        trials=len(matrix),
        best=len(best),
        fork=str(data.directory) if fork else None,
        notes=(*([matrix.warning] if matrix.warning else []), *notes),
    )


def _find_unimportant(matrix: TrialMatrix, importance: Importance, top: float) -> set[str]:
    """Return the parameters to fix: never one that a condition names, and never all."""
    if len(matrix) < RELIABLE_TRIALS:
        return set()
    parents = {parent for p in matrix.parameters.values() for parent, _ in p.when}
    found = {n for n in importance if importance.intervals[n][1] < MAX_UNIMPORTANT and n not in parents}
    found = {n for n in found if matrix.presence(n).all()}
    found = {n for n in found if (spread := compute_spread(matrix, n, top)) and spread.chance >= _MIN_CHANCE}
    return found if len(found) < len(matrix.parameters) else found - {next(iter(importance))}


def _fix(matrix: TrialMatrix, parameter: Parameter, importance: Importance) -> Change:
    best = int(matrix.order[0])
    share, (_, high) = importance[parameter.name], importance.intervals[parameter.name]
    why = f"fixed: importance {share:.1%}, at most {high:.1%}; the best scatter over it"
    reasons = {"value": f"the best trial's ({matrix.numbers[best]})"}
    return Change({"value": matrix.params[best][parameter.name]}, why, reasons, "fixed")


def _narrow_parameter(matrix: TrialMatrix, parameter: Parameter, best: Indices, importance: Importance) -> Change:
    name = parameter.name
    share = f"importance {importance[name]:.0%}" if name in importance else "importance unknown"
    values = [matrix.params[int(i)][name] for i in best if name in matrix.params[int(i)]]
    if len(values) < _MIN_BEST:
        return Change(parameter.config, f"kept: {share}; only {len(values)} of the best have it", {}, "kept")
    tried = [params[name] for params in matrix.params if name in params]
    narrow_config = narrow_range if parameter.values is None else _narrow_values
    config, reasons, is_kept = narrow_config(parameter, values, tried)
    when = {"when": {parent: list(values) for parent, values in parameter.when}} if parameter.when else {}
    kind: Literal["kept", "narrowed"] = "kept" if is_kept else "narrowed"
    return Change({**config, **when}, f"{kind}: {share}", reasons, kind)


def _narrow_group(
    matrix: TrialMatrix, spec: SweepSpec, group: Sequence[str], best: Indices, importance: Importance
) -> dict[str, Change]:
    """Narrow parameters that move together: drop the rows of their values that no best trial has.

    Args:
        matrix: The trials.
        spec: The sweep's configuration.
        group: The parameters' names.
        best: The best trials.
        importance: The parameters' importance.
    """
    joint = join_group(spec.parameters, group)

    def read(trials: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        return [tuple(params[name] for name in group) for params in trials if group[0] in params]

    values, tried = read([matrix.params[int(i)] for i in best]), read(matrix.params)
    config, reasons, is_kept = (
        _narrow_values(joint, values, tried) if len(values) >= _MIN_BEST else (joint.config, {}, True)
    )
    changes = {}
    for position, name in enumerate(group):
        share = f"importance {importance[name]:.0%}" if name in importance else "importance unknown"
        together = f"zipped with {join_words([other for other in group if other != name])}"
        own = {"values": [row[position] for row in config["values"]]}
        when = {"when": {parent: list(values) for parent, values in joint.when}} if joint.when else {}
        kind: Literal["kept", "narrowed"] = "kept" if is_kept else "narrowed"
        changes[name] = Change({**own, **when}, f"{kind}: {share}; {together}", reasons, kind)
    return changes


def _narrow_values(
    parameter: Parameter, best: Sequence[Any], tried: Sequence[Any]
) -> tuple[dict[str, Any], dict[str, str], bool]:
    """Drop values that no best trial has, if chance alone would leave them out in under 5 % of cases (hypergeometric).

    Args:
        parameter: A parameter with listed values.
        best: The values of the best trials.
        tried: The values of all trials.

    Returns:
        The parameter's configuration, the reasons by its keys, and whether it is unchanged.
    """
    from scipy.stats import hypergeom

    values = list(parameter.values or ())
    keys = [grid_key(value) for value in tried]
    best_keys = {grid_key(value) for value in best}
    kept, dropped = [], []
    for index, value in enumerate(values):
        count = keys.count(grid_key(value))
        chance_of_none = hypergeom.pmf(0, len(keys), count, len(best))
        if grid_key(value) not in best_keys and chance_of_none < _MAX_ABSENCE_CHANCE:
            dropped.append(f"{value} (tried {count} times)")
        else:
            kept.append(index)
    config = parameter.config
    if not dropped:
        return config, {"values": "each is among the best, or was tried too seldom to tell"}, True
    reasons = {"values": f"without {', '.join(dropped)}: never among the {len(best)} best"}
    left = [values[i] for i in kept]
    if parameter.probabilities is None:
        return {"values": left}, reasons, False
    weights = [parameter.probabilities[i] for i in kept]
    total = sum(weights)
    if total <= 0:
        return config, {}, True
    return {**config, "values": left, "probabilities": [w / total for w in weights]}, reasons, False


def _resolve_conditions(changes: dict[str, Change]) -> dict[str, str]:
    """Remove conditions on values that are gone, and parameters that cannot exist without them.

    Removing a parameter can make others impossible, so this repeats until nothing changes. Returns the removed
    parameters with the reason.
    """
    dropped: dict[str, str] = {}
    has_changed = True
    while has_changed:
        has_changed = False
        for name, change in list(changes.items()):
            when = change.config.get("when", {})
            left = {parent: _keep_possible(changes, parent, values) for parent, values in when.items()}
            if empty := next((parent for parent, values in left.items() if not values), None):
                dropped[name] = f"exists only with {empty}: {join_words(when[empty], 'or')}, which is gone"
                del changes[name]
                has_changed = True
            elif left != when:
                changes[name] = replace(change, config={**change.config, "when": left})
    return dropped


def _keep_possible(changes: Mapping[str, Change], parent: str, values: Sequence[Any]) -> list[Any]:
    """Return those of ``values`` that ``parent`` can still have."""
    if parent not in changes:
        return []
    config = changes[parent].config
    if "min" in config:  # integers
        return [value for value in values if config["min"] <= value <= config["max"]]
    known = {grid_key(value) for value in ([config["value"]] if "value" in config else config["values"])}
    return [value for value in values if grid_key(value) in known]


def _build_config(data: SweepData, changes: Mapping[str, Change], *, fork: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the next sweep's configuration, and notes on what else changes in it."""
    config = data.spec.dump()
    config["parameters"] = {name: _remove_defaults(change.config) for name, change in changes.items()}
    config.pop("prior", None)
    if data.spec.constraints:  # those of parameters that are gone no longer apply
        gone = data.spec.parameters.keys() - changes.keys()
        config["constraints"] = [text for text in data.spec.constraints if not list_names(text, gone)]
    if data.spec.zip:  # a group's members are gone together
        groups = [list(group) for group in data.spec.zip if group[0] in changes]
        config = {**config, "zip": groups} if groups else {key: own for key, own in config.items() if key != "zip"}
    notes = []
    if fork:
        if not data.spec.objectives:
            raise SweepError("No sweep can learn from a sweep without a metric.")
        if not data.spec.method_info.learns:
            notes.append(f"method was {config['method']}, which learns nothing from earlier trials")
            config["method"] = "bayes"
            config.pop("order", None)  # of a grid's points
            if "run_cap" not in config:
                config["run_cap"] = max(20, len(data.trials) // 2)
                notes.append("run_cap is new: bayes does not end by itself")
        config["prior"] = {"sweeps": [str(data.directory)]}
    elif data.spec.method_info.finite:
        configs = {name: change.config for name, change in changes.items() if "min" in change.config}
        lost = [name for name, own in configs.items() if DISTRIBUTIONS[own.get("distribution", "uniform")].grid is None]
        if lost:
            raise SweepError(f"The grid has no values of {', '.join(lost)} any more.")
    return config, notes


def _remove_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` without the distribution, if W&B infers it from the other keys."""
    inferred = {"constant": {"value"}, "categorical": {"values"}}
    keys = config.keys() - {"distribution", "when"}
    if inferred.get(config.get("distribution", "")) == keys:
        return {key: value for key, value in config.items() if key != "distribution"}
    return dict(config)
