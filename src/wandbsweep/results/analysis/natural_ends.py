"""Ends of a range beyond which no value makes sense, such as a dropout of 0, so that no sweep can reach beyond them."""

from __future__ import annotations

import re
from typing import Literal

from wandbsweep.spec.distributions import Parameter

_FRACTION = re.compile(
    r"betas?\d?|drop(out|rate|path)?|ema|fraction|frac|keep|mixup|momentum|p|percent|prob(ability|abilities)?|proportion|"
    r"ratio|rho|share|smoothing|sparsity|split|subsample|colsample|discount"
)
_POSITIVE = re.compile(
    r"alpha|batch|clip|count|decay|depth|dim|epochs?|eps(ilon)?|eta\d?|gamma|heads|hidden|jitter|l[12]|lambda|lambd|layers|"
    r"lr|noise|num(ber)?|n|patience|penalty|rate|reg(ularization)?|scale|sigma|size|std|steps?|temperature|units|warmup|"
    r"wd|weight|width"
)
_COUNTS = (0, 1)
"""The natural least values of whole numbers: a count cannot be below 0, and often not below 1."""


def is_natural_end(parameter: Parameter, side: Literal["lower", "upper"]) -> bool:
    """Return whether ``parameter`` cannot go beyond an end of its range: a count below 0 or 1, or what its name says.

    Probabilities, fractions and momenta lie between 0 and 1; sizes, rates and penalties are not negative.
    """
    if side == "lower":
        if parameter.distribution == "int_uniform":
            return parameter.min in _COUNTS
        return parameter.min == 0 and _is_named(parameter, _FRACTION, _POSITIVE)
    return parameter.max == 1 and _is_named(parameter, _FRACTION)


def _is_named(parameter: Parameter, *kinds: re.Pattern[str]) -> bool:
    """Return whether a word in the last two parts of the name, such as ``betas.1``, is of one of the kinds."""
    near = re.sub(r"([a-z])([A-Z])", r"\1_\2", ".".join(parameter.name.split(".")[-2:])).lower()
    return any(kind.fullmatch(word) for kind in kinds for word in re.split(r"[^a-z0-9]+", near))
