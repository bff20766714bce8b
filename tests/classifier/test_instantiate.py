"""Hydra 1.4 wants to know which targets are trusted, and 1.3 would pass that on; 1.4 reads the parents of copies."""

import hydra.utils
import pytest
from omegaconf import OmegaConf

from classifier import instantiate as module


@pytest.fixture(autouse=True)
def _forget():
    module._make_whitelist.cache_clear()
    yield
    module._make_whitelist.cache_clear()


def test_the_option_is_passed_only_where_hydra_has_it(monkeypatch):
    def older(config, *args, **kwargs):
        return kwargs

    def newer(config, *args, _execution_whitelist_=None, **kwargs):
        return _execution_whitelist_

    monkeypatch.setattr(hydra.utils, "instantiate", older)
    assert module.instantiate({}, lr=1) == {"lr": 1}
    module._make_whitelist.cache_clear()
    monkeypatch.setattr(hydra.utils, "instantiate", newer)
    trusted = module.instantiate({}, lr=1)
    assert {"lightning.*", "torch.*", "classifier.*", "train.*"} <= set(trusted)  # train.py, and modules beside it
    assert not {"os.*", "subprocess.*", "*"} & set(trusted)


def test_it_makes_the_target():
    assert module.instantiate({"_target_": "torch.nn.Dropout", "p": 0.2}).p == 0.2


def test_what_is_removed_from_a_part_of_the_configuration_is_not_passed_on():
    config = OmegaConf.create({"decay": 0.2, "part": {"_target_": "torch.nn.Dropout", "p": "${decay}", "ours": 1}})
    part = module.detach(config.part)
    assert part.pop("ours") == 1
    assert module.instantiate(part, _partial_=True)().p == 0.2
    assert config.part.ours == 1
