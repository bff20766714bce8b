"""The settings of other sweepers, read from configurations."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.wandbsweep.config import TargetNode, WandbSweeperConf
from wandbsweep.bridge.foreign_sweepers import describe_foreign_settings, read_foreign_space
from wandbsweep.errors import SpaceError
from wandbsweep.settings import Settings
from wandbsweep.spec.load import load_sweep

OURS = "hydra_plugins.wandbsweep.sweeper.WandbSweeper"
SPACE = {"method": "bayes", "metric": {"name": "loss"}, "run_cap": 3, "parameters": {"x": {"min": 0.0, "max": 1.0}}}


def compose(sweeper: dict[str, Any], **choices: str) -> DictConfig:
    hydra = {"runtime": {"choices": choices}, "overrides": {"hydra": []}}
    config = OmegaConf.create({"hydra": {**hydra, "sweeper": OmegaConf.structured(WandbSweeperConf)}})
    config.hydra.sweeper = OmegaConf.merge(config.hydra.sweeper, sweeper)
    return config


@pytest.mark.parametrize(
    ("sweeper", "lines"),
    [
        ({}, []),
        ({"params": {"x": [1, "a"], "y": "1,2", "z": 3}}, ["x=[1, 'a']", "y=1,2", "z=3"]),
        ({"search_space": {"x": {"type": "float", "low": 0, "high": 1}}}, ["x=interval(0.0,1.0)"]),
        ({"search_space": {"x": {"type": "float", "low": 0, "high": 1, "step": 0.5}}}, ["x=range(0.0,1.25,0.5)"]),
        ({"search_space": {"x": {"type": "int", "low": 1, "high": 9, "step": 2}}}, ["x=range(1,10,2)"]),
        ({"search_space": {"x": {"type": "int", "low": 1, "high": 9, "log": True}}}, ["x=tag(log,interval(1,9))"]),
        ({"search_space": {"x": {"type": "categorical", "choices": [1, "b c"]}}}, ["x=choice(1,'b c')"]),
        ({"search_space": {"x": {"type": "int", "low": 1, "high": 9}}, "params": {"y": "1,2"}}, ["y=1,2"]),
        ({"ax_config": {"params": {"x": {"type": "range", "bounds": [1, 9]}}}}, ["x=interval(1,9)"]),
        ({"ax_config": {"params": {"x": {"type": "range", "bounds": [1, 9.5]}}}}, ["x=interval(1.0,9.5)"]),
        ({"ax_config": {"params": {"x": {"type": "choice", "values": [1, 2]}}}}, ["x=choice(1,2)"]),
        ({"ax_config": {"params": {"x": {"type": "fixed", "value": "a b"}}}}, ["x='a b'"]),
        (
            {"parametrization": {"x": {"lower": 0, "upper": 1}, "y": ["a", "b"]}},
            ["x=interval(0.0,1.0)", "y=choice(a,b)"],
        ),
        ({"parametrization": {"x": {"lower": 1, "upper": 8, "integer": True}}}, ["x=interval(1,8)"]),
        ({"parametrization": {"x": {"lower": 1e-3, "upper": 1, "log": True}}}, ["x=tag(log,interval(0.001,1.0))"]),
        ({"parametrization": {"x": "choice(1,2)"}}, ["x=choice(1,2)"]),
    ],
)
def test_space(sweeper: dict[str, Any], lines: list[str]) -> None:
    assert read_foreign_space(compose(sweeper)) == lines


@pytest.mark.parametrize(
    ("sweeper", "message"),
    [
        ({"params": {"x": {"type": "text"}}}, "hydra.sweeper.params.x: {'type': 'text'} is not a parameter"),
        ({"params": {"x": {"type": "float", "low": 1}}}, "hydra.sweeper.params.x: "),
        ({"search_space": {"x": {"type": "categorical"}}}, "hydra.sweeper.search_space.x: None must be a list"),
        ({"parametrization": {"x": {"init": 1}}}, "hydra.sweeper.parametrization.x: {'init': 1} needs lower and upper"),
    ],
)
def test_what_is_no_space(sweeper: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError) as raised:
        read_foreign_space(compose(sweeper))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("sweeper", "ours"),
    [
        (
            {"directions": ["minimize", "maximize"]},
            "metrics=[{name:objective_0,goal:minimize},{name:objective_1,goal:max",
        ),
        ({"sampler": {"_target_": "optuna.samplers.RandomSampler", "seed": 3}}, "method=random"),
        ({"sampler": {"_target_": "optuna.samplers.RandomSampler", "seed": 3}}, "++hydra.sweeper.seed=3"),
        ({"sampler": {"_target_": "optuna.samplers.GridSampler"}}, "method=grid"),
        ({"custom_search_space": "pkg.extend"}, "`when` in the sweep configuration"),
        ({"ax_config": {"max_trials": 7}}, "++hydra.sweeper.sweep.run_cap=7"),
        ({"ax_config": {"experiment": {"minimize": False}}}, "++hydra.sweeper.sweep.metric.goal=maximize"),
        ({"optim": {"budget": 9, "num_workers": 4}}, "++hydra.sweeper.agents=4"),
        ({"optim": {"optimizer": "OnePlusOne"}}, "++hydra.sweeper.sweep.method=bayes"),
    ],
)
def test_what_a_setting_is_called_here(sweeper: dict[str, Any], ours: str) -> None:
    assert ours in describe_foreign_settings(compose(sweeper), Settings(), None)


def test_only_what_is_not_given_is_named() -> None:
    config = compose({"n_trials": 5, "direction": "minimize", "n_jobs": 2})
    assert "agents" not in describe_foreign_settings(config, Settings(agents=2), None)
    assert describe_foreign_settings(config, Settings(agents=2), load_sweep(SPACE)) == ""
    assert describe_foreign_settings(compose({}), Settings(), None) == ""


def test_the_class_of_another_sweeper_is_replaced() -> None:
    other = "hydra_plugins.hydra_ax_sweeper.ax_sweeper.AxSweeper"
    config = compose({"_target_": other})
    assert config.hydra.sweeper._target_ == OURS
    assert other in describe_foreign_settings(config, Settings(), None)
    assert TargetNode("hydra_plugins.mine.Sweeper")._value() == "hydra_plugins.mine.Sweeper"
