"""Advice where it is due: what sweeps commonly go wrong by, told in one line each.

The pitfalls are those of "How to Use W&B Sweeps for Hyperparameter Search". ``WANDBSWEEP_ADVICE=0`` silences all of it.
"""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise

from wandbsweep.spec.distributions import Parameter
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.stopping.history import as_history
from wandbsweep.stopping.successive_halving import bands
from wandbsweep.text import pluralize
from wandbsweep.trial import TrialRecord

_PER_PARAMETER = 5
_RATES = re.compile(r"(^|.*_)(lr|learning_rate|eta0|step_size)(_.*)?")
_ENOUGH = 20
_BEST = 0.2
_EDGE = 0.05
_FOREWARNED = 0.3


def advice(spec: SweepSpec, trials: Sequence[TrialRecord] = ()) -> list[str]:
    """What is to be said of a sweep as it stands, a line each; before its first trial of its space alone."""
    return list(found(spec, trials).values())


def silenced() -> bool:
    """Whether the user wants none."""
    return os.environ.get("WANDBSWEEP_ADVICE", "").strip().lower() in ("0", "off", "no", "false")


class Adviser:
    """Says everything once, however its numbers change."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def fresh(self, spec: SweepSpec, trials: Sequence[TrialRecord]) -> list[str]:
        """What was not said before."""
        if silenced():
            return []
        new = {key: text for key, text in found(spec, trials).items() if key not in self._said}
        self._said |= new.keys()
        return list(new.values())


def found(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Mapping[str, str]:
    """The lines by what they are about, which stays the same while a sweep goes on."""
    rules = (_sparse, _linear_rate, _silent_curves, _hasty, _at_an_edge, _within_noise)
    return {key: text for rule in rules for key, text in rule(spec, trials)}


def _sparse(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    """10 trials per dimension are the rule (J. Loeppky, J. Sacks and W. Welch, Technometrics 51, 2009), 5 too few."""
    continuous = [p for p in spec.parameters.values() if p.continuous]
    if spec.method_info.finite or spec.run_cap is None or len(continuous) < 3:
        return
    if spec.run_cap < _PER_PARAMETER * len(continuous):
        yield (
            "sparse",
            f"{spec.run_cap} trials can hardly cover {len(continuous)} continuous parameters: fix those that matter "
            f"least, or raise run_cap to {10 * len(continuous)}.",
        )


def _linear_rate(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    for name, p in spec.parameters.items():
        if not _RATES.fullmatch(name.rpartition(".")[2]) or p.distribution not in ("uniform", "q_uniform"):
            continue
        low, high = float(p.min or 0), float(p.max or 0)
        if high > 0 and (low <= 0 or high / low >= 10):
            least = low if low > 0 else high / 1000
            yield (
                f"linear {name}",
                f"{name} is searched on a linear scale, so nine tenths of the trials are above {high / 10:.3g}: use "
                f"distribution: log_uniform_values, min: {least:.1e}, max: {high:.1e}.",
            )


def _silent_curves(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    finished = [t for t in trials if t.state == "finished"]
    if spec.early_terminate and spec.metric and len(finished) >= 2 and all(len(t.reports) <= 1 for t in finished):
        yield (
            "silent",
            f"{spec.metric.name} is reported once a trial, so early_terminate can stop nothing: report it every epoch.",
        )


def _hasty(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    """Whether the first comparison foretells the end: Kendall's rank correlation over the trials that got there."""
    stopper = spec.early_terminate
    if stopper is None or spec.metric is None:
        return
    first = next(iter(bands(stopper)), None) if stopper.type == "hyperband" else stopper.min_iter
    whole = [as_history(t.history) for t in trials if t.state == "finished"]
    whole = [curve for curve in whole if first and len(curve) > first]
    if not first or len(whole) < 8:
        return
    sign = -1 if spec.goal == "maximize" else 1
    agreement = _kendall([(sign * curve[first - 1], min(sign * value for value in curve)) for curve in whole])
    if agreement < _FOREWARNED:
        yield (
            "hasty",
            f"After {pluralize(first, 'report')}, where early_terminate first compares, the finished "
            f"trials' order says little about their final one (Kendall's tau {agreement:.2f}): raise min_iter.",
        )


def _at_an_edge(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    ended = _ranked(spec, trials)
    if len(ended) < _ENOUGH:
        return
    best = ended[: max(5, round(_BEST * len(ended)))]
    for name, p in spec.parameters.items():
        at = [p.cdf(t.params[name]) for t in best if name in t.params] if _has_edges(p) else []
        if len(at) < 5:
            continue
        for side, near in (("lower", sum(u <= _EDGE for u in at)), ("upper", sum(u >= 1 - _EDGE for u in at))):
            if near > len(at) / 2:
                end = p.min if side == "lower" else p.max
                yield (
                    f"edge {name}",
                    f"{near} of the {len(at)} best trials have {name} at its {side} end ({end}): the next sweep should "
                    "reach beyond it.",
                )


def _within_noise(spec: SweepSpec, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, str]]:
    """The noise of a value: how much the best trial's last reports scatter, from one to the next."""
    ended = _ranked(spec, trials)
    if spec.metric is None or spec.repeats or len(ended) < _ENOUGH:
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


def _ranked(spec: SweepSpec, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    if spec.metric is None:
        return []
    sign = -1 if spec.goal == "maximize" else 1
    ended = [t for t in trials if t.state in ("finished", "stopped") and t.value is not None]
    return sorted(ended, key=lambda t: (sign * (t.value or 0.0), t.number))


def _has_edges(p: Parameter) -> bool:
    if p.distribution == "int_uniform":
        return p.max is not None and p.min is not None and p.max - p.min >= 20
    return p.min is not None and "q_" not in p.distribution


def _kendall(pairs: Sequence[tuple[float, float]]) -> float:
    signs = [_sign(a[0] - b[0]) * _sign(a[1] - b[1]) for a, b in combinations(pairs, 2)]
    return sum(signs) / len(signs)


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)
