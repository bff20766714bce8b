"""``hydra.sweeper.*``: the settings that are refused, and Hydra's schema of them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.wandbsweep.config import WandbSweeperConf
from wandbsweep.errors import SweepError
from wandbsweep.settings import FOREIGN_KEYS, Settings


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("controller", "optuna", "the value is 'optuna'; the choices are embedded, wandb"),
        ("isolation", "thread", "the value is 'thread'; the choices are process, none, or null"),
        ("preload", ["a b"], "the value is ['a b'], but must be a list of modules, such as [torch, lightning]"),
        ("count", -1, "the value is -1, but must be an integer >= 1"),
        ("agents_at_once", 0, "the value is 0, but must be an integer >= 1"),
        ("max_failures", 0, "the value is 0, but must be an integer >= 1"),
        ("agents", 0, "the value is 0, but must be an integer >= 1"),
        ("gpus_per_agent", -1, "the value is -1, but must be an integer >= 1"),
        ("seed", -3, "the value is -3, but must be an integer >= 0"),
        ("lease_s", 0.5, "the value is 0.5, but must be at least 1 seconds"),
        ("lease_s", float("nan"), "the value is nan, but must be at least 1 seconds"),
    ],
)
def test_an_invalid_value_is_refused_with_the_valid_ones(key: str, value: Any, reason: str) -> None:
    with pytest.raises(SweepError) as refused:
        Settings(**{key: value})
    assert str(refused.value) == f"hydra.sweeper.{key}: {reason}"


@pytest.mark.parametrize(("key", "value"), [("agents", "many"), ("agentz", 2), ("seed", 1.5), ("sweep", 3)])
def test_hydra_refuses_a_wrong_type_and_an_unknown_key(key: str, value: Any) -> None:
    with pytest.raises(OmegaConfBaseException, match=key):
        OmegaConf.merge(OmegaConf.structured(WandbSweeperConf), {key: value})


def test_every_invalid_value_is_named() -> None:
    with pytest.raises(SweepError) as refused:
        Settings(count=0, max_attempts=0)
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "hydra.sweeper.count",
        "hydra.sweeper.max_attempts",
    ]


def test_the_schema_has_the_settings_and_their_defaults() -> None:
    schema = OmegaConf.structured(WandbSweeperConf)
    defaults = Settings()
    assert list(schema) == ["_target_", "_recursive_", *(key.name for key in fields(Settings)), *FOREIGN_KEYS]
    assert all(schema[key.name] == getattr(defaults, key.name) for key in fields(Settings))
    schema.agents = 4  # not read-only
