"""Interpolations in the key `sweep` of an application's configuration."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from wandbsweep.bridge.interpolations import resolve_sweep_config
from wandbsweep.errors import SweepConfigError


def test_all_but_values_and_the_command_is_resolved() -> None:
    config = OmegaConf.create(
        """
        wanted: val/acc
        spaces: {small: {x: {values: ["${wanted}"]}}, low: 0.5}
        sizes: [1, "${wanted}"]
        sweep:
          method: grid
          name: s ${.method}
          metric: {name: "${wanted}", goal: maximize, value: "${last}"}
          metrics: [{name: "${sweep.metric.name}"}]
          command: ["${env}", "${args}"]
          parameters:
            a: {value: "${nope}"}
            b: {values: ["${.dim}", {c: "${wanted}"}], when: {a: "${wanted}"}}
            c: {min: "${spaces.low}", max: 1, distribution: uniform}
            d: {values: "${sizes}"}
            e: {parameters: "${spaces.small}"}
          prior: {configurations: [{a: "${wanted}"}]}
        last: last
        """
    )
    assert resolve_sweep_config(config.sweep) == {
        "method": "grid",
        "name": "s grid",
        "metric": {"name": "val/acc", "goal": "maximize", "value": "last"},
        "metrics": [{"name": "val/acc"}],
        "command": ["${env}", "${args}"],
        "parameters": {
            "a": {"value": "${nope}"},
            "b": {"values": ["${.dim}", {"c": "${wanted}"}], "when": {"a": "${wanted}"}},
            "c": {"min": 0.5, "max": 1, "distribution": "uniform"},
            "d": {"values": [1, "${wanted}"]},
            "e": {"parameters": {"x": {"values": ["${wanted}"]}}},
        },
        "prior": {"configurations": [{"a": "${wanted}"}]},
    }


def test_every_interpolation_that_cannot_be_resolved_is_named() -> None:
    config = OmegaConf.create({"sweep": {"method": "${m}", "metric": {"name": "${nope:1}", "goal": "???"}}})
    with pytest.raises(SweepConfigError) as raised:
        resolve_sweep_config(config.sweep)
    assert raised.value.violations == (
        "method: '${m}' cannot be resolved: Interpolation key 'm' not found",
        "metric.name: '${nope:1}' cannot be resolved: Unsupported interpolation type nope",
    )
