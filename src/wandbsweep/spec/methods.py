"""The search methods that a sweep file may name, and what the rest of the code has to know about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """One search method. ``search.make.SEARCHES`` says what implements it."""

    name: str
    finite: bool = False
    """Whether it tries every point of a grid once, and so ends by itself; every parameter must have a grid."""
    learns: bool = False
    """Whether its proposals depend on the results of earlier trials; it then needs a metric."""
    external: bool = False
    """Whether an engine on W&B's side proposes the trials, so that only ``controller=wandb`` can run it."""
    engines: tuple[str, ...] = ("wandb",)
    """The values of ``scheduler.engine`` that W&B accepts with it."""


METHODS: Mapping[str, MethodInfo] = {
    method.name: method
    for method in (
        MethodInfo("grid", finite=True),
        MethodInfo("random"),
        MethodInfo("bayes", learns=True),
        MethodInfo("custom", external=True, engines=("optuna", "ax")),
    )
}
"""By name. A new method is one entry here, one in ``search.make.SEARCHES`` and one new file in ``search/``."""


def find_method(name: object) -> MethodInfo | None:
    """Return the method called ``name``, which may be anything that a sweep file holds; None: there is none."""
    return METHODS.get(name) if isinstance(name, str) else None
