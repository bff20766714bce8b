"""Which sweep configurations W&B's servers accept."""

from __future__ import annotations

from collections.abc import Mapping

from wandbsweep.errors import SweepConfigError
from wandbsweep.spec.sweep_spec import SweepSpec


def check_supported(spec: SweepSpec) -> None:
    """Raise SweepConfigError with everything in ``spec`` that only the embedded controller supports."""
    faults = [f"parameters.{name}: W&B allows no `/` and `@` in names" for name in spec.names_wandb_refuses]
    faults += [f"{key}: an extension that W&B does not know" for key in ("repeats", "prior") if getattr(spec, key)]
    faults += [
        f"parameters.{p.name}.when: an extension that W&B does not know" for p in spec.parameters.values() if p.when
    ]
    if spec.early_terminate and spec.early_terminate.type != "hyperband":
        faults.append(f"early_terminate.type: W&B knows only hyperband, not {spec.early_terminate.type}")
    if spec.metrics and not spec.method_info.external:
        faults.append("metrics: W&B knows several metrics only with `method: custom`")
    if faults:
        raise SweepConfigError([f"{fault} (controller=wandb)" for fault in faults])


def find_mixed_bounds(spec: SweepSpec) -> list[str]:
    """Return the parameters without a distribution of which one bound is an integer and the other a float.

    W&B's client refuses them.
    """
    given = spec.config.get("parameters") or {}
    return [
        name
        for name, parameter in given.items()
        if isinstance(parameter, Mapping)
        and "distribution" not in parameter
        and {type(parameter.get("min")), type(parameter.get("max"))} == {int, float}
    ]
