"""``method: bayes``: a Gaussian process over the trials so far (``wandbsweep.search.bayes``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from wandbsweep.search.base import Search
from wandbsweep.search.random_draws import draw_parameters
from wandbsweep.spec.conditions import is_conditional, select_active
from wandbsweep.spec.constraints import are_met
from wandbsweep.spec.distributions import grid_key
from wandbsweep.spec.sweep_spec import Metric, SweepSpec
from wandbsweep.trial import TrialRecord

if TYPE_CHECKING:
    import numpy as np

    from wandbsweep.search.bayes.transfer import EarlierSweep

_MODEL_TRIES = 3
_RANDOM_TRIES = 1000


@dataclass(frozen=True)
class BayesianSearch(Search):
    """Proposes the point of largest expected improvement under the model; numpy and scipy are imported on first use."""

    spec: SweepSpec
    seed: int
    earlier: Sequence[Sequence[TrialRecord]] = ()
    """The trials of each sweep that ``spec.prior`` names."""

    @cached_property
    def _models(self) -> list[EarlierSweep]:
        return _fit_earlier(self.spec, self.earlier)

    def propose(self, number: int, trials: Sequence[TrialRecord], without_model: bool = False) -> dict[str, Any]:
        import numpy as np

        from wandbsweep.search.bayes import model as bayes
        from wandbsweep.search.pareto import scalarise

        rng = np.random.default_rng([self.seed, number])
        spec = self.spec
        if spec.metrics:
            together = [trial for group in (*self.earlier, trials) for trial in group]
            spec, together = scalarise(spec, together, rng)
            ends = np.cumsum([len(group) for group in self.earlier]).tolist()
            groups = [together[start:end] for start, end in pairwise([0, *ends, len(together)])]
            models, trials = _fit_earlier(spec, groups[:-1]), groups[-1]
        else:
            models = self._models
        suggest = bayes.vary if without_model else bayes.suggest
        if models:
            suggest = partial(suggest, earlier=models)
        if not is_conditional(spec.parameters):
            return suggest(spec, trials, rng=rng)
        return _suggest_active(suggest, spec, trials, rng)


def _fit_earlier(spec: SweepSpec, earlier: Sequence[Sequence[TrialRecord]]) -> list[EarlierSweep]:
    from wandbsweep.search.bayes.space import Space
    from wandbsweep.search.bayes.transfer import fit_earlier

    space, metric = Space(spec.parameters, zipped=spec.zip), spec.metric or Metric("")
    models = (fit_earlier(space, metric, trials) for trials in earlier)
    return [model for model in models if model is not None]


def _suggest_active(
    suggest: Callable[..., dict[str, Any]], spec: SweepSpec, trials: Sequence[TrialRecord], rng: np.random.Generator
) -> dict[str, Any]:
    """Suggest a configuration whose active parameters differ from those of all ``trials``.

    The model compares all parameters, so it takes two configurations for different that differ in inactive ones only.
    Such a suggestion is added to the trials and the model is asked again, a few times; after that, configurations are
    drawn at random. If the space holds nothing new, the last suggestion is returned although it was tried before.
    """
    tried = {grid_key(select_active(spec.parameters, trial.params)) for trial in trials}
    seen = list(trials)
    for _ in range(_MODEL_TRIES):
        suggested = suggest(spec, seen, rng=rng)
        found = select_active(spec.parameters, suggested)
        if grid_key(found) not in tried:
            return found
        seen.append(TrialRecord(number=-1, state="running", params=suggested))
    for _ in range(_RANDOM_TRIES):
        drawn = select_active(spec.parameters, draw_parameters(spec.parameters, spec.zip, rng))
        if grid_key(drawn) not in tried and are_met(spec.constraints, spec.parameters, drawn):
            return drawn
    return found
