"""Health checks of a sweep: whether its result can be trusted, each with its evidence. A new check is one more function
in ``CHECKS``."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from wandbsweep.results.analysis.advice import RULES
from wandbsweep.results.analysis.convergence import Convergence, assess_convergence
from wandbsweep.results.analysis.savings import compute_savings
from wandbsweep.results.analysis.trial_matrix import RELIABLE_TRIALS, TrialMatrix, build_trial_matrix, to_coordinate
from wandbsweep.results.analysis.verdicts import judge_stops
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.stopping.history import as_history
from wandbsweep.stopping.successive_halving import bands
from wandbsweep.text import pluralize
from wandbsweep.trial import FAILED

Verdict = Literal["good", "doubtful", "unknown"]

_TRIALS_PER_DIMENSION = 10
_MAX_FAILED = 0.1
_MIN_LATE = 5
_EDGE_SHARE = 0.05


@dataclass(frozen=True)
class Check:
    """One question about a sweep, the answer, and what it rests on."""

    question: str
    verdict: Verdict
    answer: str
    evidence: str


@dataclass(frozen=True)
class _Examined:
    """What the checks read."""

    data: SweepData
    matrix: TrialMatrix
    """The trials with a value of the metric; not empty."""
    convergence: Convergence
    advice: dict[str, str]

    def list_advice(self, *prefixes: str) -> list[str]:
        return [text for key, text in self.advice.items() if key.startswith(prefixes)]


def check_health(data: SweepData, convergence: Convergence | None = None) -> list[Check]:
    """Return the checks of a sweep; without a metric, or without a trial that has a value, only that of the failures.

    Args:
        data: The sweep.
        convergence: Whether it has converged, if it is known already.
    """
    found = list(_check_failures(data))
    if not data.spec.objectives or not len(matrix := build_trial_matrix(data)):
        return found
    advice = {key: text for rule in RULES for key, text in rule(data.spec, data.trials)}
    convergence = assess_convergence(data) if convergence is None else convergence
    examined = _Examined(data, matrix, convergence, advice)
    return [check for examine in CHECKS for check in examine(examined)] + found


def _check_failures(data: SweepData) -> Iterator[Check]:
    ended = [t for t in data.trials if t.state not in ("running", "queued")]
    failed = [t for t in ended if t.state in FAILED]
    if not ended:
        return
    evidence = f"{len(failed)} of {pluralize(len(ended), 'ended trial')} failed or crashed."
    if failed:
        reason, count = Counter(t.reason.split(":")[0] for t in failed).most_common(1)[0]
        evidence += f" Most often ({count}): {reason or 'no reason was given'}."
    many = len(failed) > _MAX_FAILED * len(ended)
    answer = "no, many failed" if many else "a few failed" if failed else "yes"
    yield Check("Do the trials run?", "doubtful" if many else "good", answer, evidence)


def _check_count(examined: _Examined) -> Iterator[Check]:
    count, spec = len(examined.matrix), examined.data.spec
    continuous = sum(p.continuous for p in spec.parameters.values())
    wanted = max(RELIABLE_TRIALS, 0 if spec.method_info.finite else _TRIALS_PER_DIMENSION * continuous)
    yield Check(
        "Are there enough trials?",
        "good" if count >= wanted else "doubtful",
        "yes" if count >= wanted else "too few",
        f"{pluralize(count, 'trial')} with a value; {wanted} are wanted: {RELIABLE_TRIALS} for any statistics, and "
        f"{_TRIALS_PER_DIMENSION} for each of the {pluralize(continuous, 'continuous parameter')}.",
    )


def _check_report_counts(examined: _Examined) -> Iterator[Check]:
    spec = examined.data.spec
    if spec.metric is None:
        return
    finished = [t for t in examined.data.trials if t.state == "finished"]
    counts = [len(t.reports) for t in finished]
    if not counts:
        yield Check(f"Is {spec.metric.name} reported often enough?", "unknown", "unknown", "No trial finished.")
        return
    usual = int(statistics.median_low(counts))
    stopper = spec.early_terminate
    evidence = f"{pluralize(usual, 'report')} in a finished trial (median)."
    verdict: Verdict = "good"
    answer = "yes"
    if stopper is None:
        answer = "once is enough" if usual <= 1 else "yes"
        evidence += " Nothing stops trials early, so the search needs one."
    else:
        first = next(iter(bands(stopper)), None) if stopper.type == "hyperband" else stopper.min_iter
        evidence += f" Early termination first compares after {first}." if first else ""
        if usual <= (first or 1):
            verdict, answer = "doubtful", "too seldom to stop anything"
    yield Check(f"Is {spec.metric.name} reported often enough?", verdict, answer, evidence)


def _check_inside(examined: _Examined) -> Iterator[Check]:
    """The rule is advice's: it knows natural bounds. The evidence is where the best trial lies."""
    matrix, notes = examined.matrix, examined.list_advice("edge ")
    best = matrix.params[int(matrix.order[0])]
    shares = {
        name: to_coordinate(p, best[name]) for name, p in matrix.parameters.items() if p.values is None and name in best
    }
    if not shares:
        return
    near = [name for name, share in shares.items() if not _EDGE_SHARE < share < 1 - _EDGE_SHARE]
    places = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    evidence = " ".join([*notes, f"The best trial's place in each range: {places}."])
    if notes:
        yield Check("Is the best inside the space?", "doubtful", "it may lie beyond", evidence)
    else:
        answer = f"yes, but {', '.join(near)} {'is' if len(near) == 1 else 'are'} near an end" if near else "yes"
        yield Check("Is the best inside the space?", "good", answer, evidence)


def _check_stopping(examined: _Examined) -> Iterator[Check]:
    savings, notes = compute_savings(examined.data), examined.list_advice("first comparison")
    question = "Did early stopping help?"
    if not savings.stopped:
        return
    if savings.full_steps is None or not savings.chances:
        why = "; ".join(savings.notes) or "too few finished trials to compare the stopped ones with"
        yield Check(question, "unknown", "unknown", f"{pluralize(savings.stopped, 'trial')} stopped; {why}.")
        return
    evidence = f"It saved {pluralize(savings.steps_saved, 'step')}, {savings.share_saved:.0%} of all. "
    evidence += f"Of {pluralize(savings.stopped, 'stopped trial')}, "
    if doubtful := savings.doubtful:
        listed = ", ".join(f"{n} ({savings.chances[n]:.0%})" for n in doubtful[:3])
        evidence += f"{len(doubtful)} might have become the best: {listed}."
    else:
        evidence += "none was likely to become the best, by how finished trials improved."
    if savings.agreement is not None:
        evidence += f" Early and final order agree with Kendall's tau {savings.agreement:.2f}."
    verdicts = judge_stops(examined.data)
    if verdicts is not None:
        evidence += f" {verdicts.describe()}"
    hurt = bool(doubtful or notes or (verdicts and verdicts.hurt))
    yield Check(question, "doubtful" if hurt else "good", "it may have hurt" if hurt else "yes", evidence)


def _check_lead(examined: _Examined) -> Iterator[Check]:
    """Compare the lead of the best trial with the noise: between seeds, or else within the best trial's own curve."""
    data = examined.data
    if data.spec.metrics:
        return
    question = "Is the lead more than noise?"
    if data.spec.repeats:
        known = [c for c in data.configurations if c.mean is not None]
        if len(known) < 2 or known[0].deviation is None:
            return
        first, second = known[0], known[1]
        noise, lead = first.deviation or 0.0, abs((first.mean or 0.0) - (second.mean or 0.0))
        source = f"the standard deviation between {pluralize(len(first.values), 'seed')} of the best configuration"
    else:
        order = examined.matrix.order
        numbers, values = examined.matrix.numbers, examined.matrix.values
        if len(order) < 2:
            return
        lead = abs(float(values[order[0]] - values[order[1]]))
        best = next(t for t in data.trials if t.number == numbers[order[0]])
        late = as_history(best.history)[-max(_MIN_LATE, len(best.reports) // 3) :]
        if len(late) < _MIN_LATE:
            yield Check(
                question,
                "unknown",
                "unknown",
                f"The lead over the runner-up is {lead:.3g}; what another seed changes is not known. "
                "`wandbsweep evaluate --seeds 5 --top 2` can tell.",
            )
            return
        noise = statistics.stdev(b - a for a, b in pairwise(late)) / 2**0.5
        source = f"how much the last {len(late)} reports of trial {best.number} vary; seeds can vary more"
    clear = lead > 2 * noise
    hint = "" if clear else " `wandbsweep evaluate --seeds 5 --top 2` can tell."
    yield Check(
        question,
        "good" if clear else "doubtful",
        "yes" if clear else "hardly",
        f"The lead over the runner-up is {lead:.3g}, the noise {noise:.2g} ({source}).{hint}",
    )


def describe_verdict(convergence: Convergence) -> str:
    """Return in a few words whether to continue searching."""
    if convergence.converged:
        return "it has converged"
    if convergence.warning:
        return "too early to tell"
    if convergence.stalled:
        return "stalled, but scattered"
    return "it is closing in" if convergence.concentrated else "it still improves"


def _check_convergence(examined: _Examined) -> Iterator[Check]:
    verdict = examined.convergence
    yield Check(
        "Has the search converged?",
        "good" if verdict.converged else "unknown" if verdict.warning else "doubtful",
        "yes" if verdict else describe_verdict(verdict),
        " ".join(f"{reason[0].upper()}{reason[1:]}." for reason in verdict.reasons),
    )


def _check_scales(examined: _Examined) -> Iterator[Check]:
    if notes := examined.list_advice("learning rate"):
        yield Check("Are rates searched on a logarithmic scale?", "doubtful", "no", " ".join(notes))


CHECKS: Sequence[Callable[[_Examined], Iterator[Check]]] = (
    _check_count,
    _check_convergence,
    _check_inside,
    _check_lead,
    _check_stopping,
    _check_report_counts,
    _check_scales,
)
