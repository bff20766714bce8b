"""Advice on common mistakes in sweeps, one line each.

The pitfalls are those of "How to Use W&B Sweeps for Hyperparameter Search". ``WANDBSWEEP_ADVICE=0`` silences all of it.
A new rule is one more function in ``RULES``.
"""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from wandbsweep.results.analysis.natural_ends import is_natural_end
from wandbsweep.results.analysis.savings import compute_agreement
from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.stopping.history import as_history
from wandbsweep.stopping.successive_halving import bands
from wandbsweep.text import pluralize, show_name
from wandbsweep.trial import SUCCEEDED, TrialRecord

_TRIALS_PER_PARAMETER = 5
_LEARNING_RATE = re.compile(r"(^|.*_)(lr|learning_rate|eta0|step_size)(_.*)?")
_MIN_TRIALS = 20
"""With fewer trials, no advice is given on where the best ones lie."""
_BEST_SHARE = 0.2
_EDGE_SHARE = 0.05
_MIN_CURVES = 8
_MIN_AGREEMENT = 0.3


def collect_advice(spec: SweepSpec, trials: Sequence[TrialRecord] = ()) -> list[str]:
    """Return the advice on a sweep, one line each; without trials, on its search space alone."""
    return [text for rule in RULES for _, text in rule(spec, trials)]


def collect_new_advice(spec: SweepSpec, trials: Sequence[TrialRecord], given: set[str]) -> list[str]:
    """Return the advice that was not given before, even if its numbers changed; none if the user wants none.

    Args:
        spec: The sweep.
        trials: Its trials.
        given: The keys of what was given; those of the new advice are added.
    """
    if os.environ.get("WANDBSWEEP_ADVICE", "").strip().lower() in ("0", "off", "no", "false"):
        return []
    new = {key: text for rule in RULES for key, text in rule(spec, trials) if key not in given}
    given.update(new)
    return list(new.values())


def _check_budget(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    """The rule is 10 trials a dimension (J. Loeppky, J. Sacks and W. Welch, Technometrics 51, 2009); 5 are too few."""
    continuous = [p for p in spec.parameters.values() if p.continuous]
    if spec.method_info.finite or spec.run_cap is None or len(continuous) < 3:
        return
    if spec.run_cap < _TRIALS_PER_PARAMETER * len(continuous):
        yield (
            "budget",
            f"{spec.run_cap} trials can hardly cover {len(continuous)} continuous parameters: fix those that matter "
            f"least, or raise run_cap to {10 * len(continuous)}.",
        )


def _check_learning_rates(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    for name, p in spec.parameters.items():
        if not _LEARNING_RATE.fullmatch(name.rpartition(".")[2]) or p.distribution not in ("uniform", "q_uniform"):
            continue
        low, high = float(p.min or 0), float(p.max or 0)
        if high > 0 and (low <= 0 or high / low >= 10):
            least = low if low > 0 else high / 1000
            yield (
                f"learning rate {name}",
                f"{name} is searched on a linear scale, so nine tenths of the trials are above {high / 10:.3g}: use "
                f"distribution: log_uniform_values, min: {least:.1e}, max: {high:.1e}.",
            )


def _check_reports(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    finished = [t for t in trials if t.state == "finished"]
    if spec.early_terminate and spec.metric and len(finished) >= 2 and all(len(t.reports) <= 1 for t in finished):
        how = "reported once a trial" if any(t.reports for t in finished) else "returned and never reported"
        yield (
            "reports",
            f"{show_name(spec.metric.name)} is {how}, so early_terminate can stop nothing: report it every epoch.",
        )


def _check_thaws(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    repeated = [trial.number for trial in trials if trial.repeated]
    if repeated:
        yield (
            "thaws",
            f"Trial {repeated[0]} was frozen and taken up again, but its training did not resume where it ended, so "
            "epochs are trained twice: save a checkpoint before each report and load current_trial().checkpoint, or "
            "use early_terminate: {type: auto}.",
        )


def _check_first_comparison(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    """Check whether the order at the first comparison predicts the final order of the trials that were not stopped."""
    stopper = spec.early_terminate
    if stopper is None or spec.metric is None:
        return
    first = next(iter(bands(stopper)), None) if stopper.type == "hyperband" else stopper.min_iter
    sign = spec.sign
    curves = [sign * np.array(as_history(t.history)) for t in trials if t.state == "finished"]
    curves = [curve for curve in curves if first and len(curve) > first]
    if not first or len(curves) < _MIN_CURVES:
        return
    agreement = compute_agreement(curves, first) or 0.0
    if agreement < _MIN_AGREEMENT:
        yield (
            "first comparison",
            f"After {pluralize(first, 'report')}, where early_terminate first compares, the finished trials' order "
            f"says little about their final one (Kendall's tau {agreement:.2f}): raise min_iter.",
        )


def _check_edges(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    ended = _rank(spec, trials)
    if len(ended) < _MIN_TRIALS:
        return
    best = ended[: max(5, round(_BEST_SHARE * len(ended)))]
    for name, p in spec.parameters.items():
        at = [p.cdf(t.params[name]) for t in best if name in t.params] if _has_edges(p) else []
        if len(at) < 5:
            continue
        below, above = sum(u <= _EDGE_SHARE for u in at), sum(u >= 1 - _EDGE_SHARE for u in at)
        ends: tuple[tuple[Literal["lower", "upper"], int, Any], ...]
        ends = (("lower", below, p.min), ("upper", above, p.max))
        for side, near, end in ends:
            if near > len(at) / 2 and not is_natural_end(p, side):
                yield (
                    f"edge {name}",
                    f"{near} of the {len(at)} best trials have {name} at its {side} end ({end}): the next sweep should "
                    "reach beyond it.",
                )


def _check_noise(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    """Compare the gaps between the best trials with the noise: how much the best one's late reports vary."""
    ended = _rank(spec, trials)
    if spec.metric is None or spec.repeats or len(ended) < _MIN_TRIALS:
        return
    best, rivals = ended[0], ended[1:5]
    late = as_history(best.history)[-max(5, len(best.reports) // 3) :]
    if len(late) < 5:
        return
    noise = statistics.stdev(b - a for a, b in pairwise(late)) / 2**0.5
    gaps = [abs((t.value or 0.0) - (best.value or 0.0)) for t in rivals]
    close = sum(gap < noise for gap in gaps)
    if noise > 0 and close == len(rivals):
        yield (
            "noise",
            f"Trial {best.number} is no better than the next {close} within the noise of its own curve "
            f"({noise:.2g}): `wandbsweep evaluate --seeds 5 --top 2` can tell.",
        )


RULES: Sequence[Callable[[SweepSpec, Sequence[TrialRecord]], Iterator[tuple[str, str]]]] = (
    _check_budget,
    _check_learning_rates,
    _check_reports,
    _check_thaws,
    _check_first_comparison,
    _check_edges,
    _check_noise,
)
"""Each yields a key, which stays the same while the sweep runs, and a line of advice."""


def _rank(spec: SweepSpec, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the feasible trials that ended with a value, the best first; none without a metric."""
    if spec.metric is None:
        return []
    sign = spec.sign
    ended = [t for t in trials if t.state in SUCCEEDED and t.value is not None]
    ended = [trial for trial in ended if not spec.describe_infeasibility(trial)]
    return sorted(ended, key=lambda t: (sign * (t.value or 0.0), t.number))


def _has_edges(p: Parameter) -> bool:
    """Return whether the best trials of a parameter can lie at an end by more than chance."""
    if p.distribution == "int_uniform":
        return p.max is not None and p.min is not None and p.max - p.min >= 20
    return p.min is not None and "q_" not in p.distribution
