"""Parameter groups, with any optimizer of torch, on small networks and torchvision's."""

import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from torch import nn

from classifier.models import find_head
from classifier.optimizers import read_optimizer


def read(**options):
    return read_optimizer(OmegaConf.create({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, **options}))


@pytest.fixture(scope="module")
def resnet():
    return torchvision.models.resnet18(num_classes=10)


def test_by_default_all_parameters_are_one_group(resnet):
    (group,) = read(weight_decay=1e-4)(resnet).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in resnet.parameters()]
    assert group["weight_decay"] == 1e-4


@pytest.mark.parametrize("target", ["SGD", "AdamW", "Adam", "RMSprop", "NAdam", "Adadelta"])
def test_norms_and_biases_are_not_decayed(resnet, target):
    optimizer = read(_target_=f"torch.optim.{target}", weight_decay=0.01, decay_norms_and_biases=False)(resnet)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, module in resnet.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            is_weight = isinstance(module, nn.Conv2d | nn.Linear) and key == "weight"
            assert decay.pop(id(parameter)) == (0.01 if is_weight else 0.0), f"{name}.{key}"
    assert decay == {}


def test_a_norm_over_images_is_not_decayed():
    network = nn.Sequential(nn.LayerNorm([3, 4, 4]), nn.Flatten(), nn.Linear(48, 2))
    groups = read(weight_decay=0.1, decay_norms_and_biases=False)(network).param_groups
    assert [(group["weight_decay"], [tuple(p.shape) for p in group["params"]]) for group in groups] == [
        (0.0, [(3, 4, 4), (3, 4, 4), (2,)]),
        (0.1, [(2, 48)]),
    ]


def test_the_head_has_its_own_rate_and_frozen_parameters_are_left_out(resnet):
    try:
        resnet.requires_grad_(False)
        resnet.layer4.requires_grad_(True)
        resnet.fc.requires_grad_(True)
        optimizer = read(weight_decay=0.1, head_lr=1.0, decay_norms_and_biases=False)(resnet)
    finally:
        resnet.requires_grad_(True)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "network": (0.1, 0.1),
        "network/no_decay": (0.1, 0.0),
        "head": (1.0, 0.1),
        "head/no_decay": (1.0, 0.0),
    }
    assert groups["head"]["params"] == [resnet.fc.weight]
    layer = {id(p) for p in resnet.layer4.parameters()}
    assert {id(p) for name in ("network", "network/no_decay") for p in groups[name]["params"]} == layer


def test_a_shared_parameter_is_in_one_group():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    groups = read(head_lr=1.0)(network).param_groups
    assert sum(len(group["params"]) for group in groups) == 3


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("alexnet", "classifier.6"),
        ("convnext_tiny", "classifier.2"),
        ("densenet121", "classifier"),
        ("efficientnet_b0", "classifier.1"),
        ("mobilenet_v3_small", "classifier.3"),
        ("squeezenet1_1", "classifier.1"),
        ("swin_t", "head"),
        ("vit_b_32", "heads.head"),
    ],
)
def test_the_head_of_torchvision_s_classifiers(name, head):
    with torch.device("meta"):
        network = torchvision.models.get_model(name)
    assert find_head(network) == (head, network.get_submodule(head))


def test_interpolations_of_the_configuration_are_resolved():
    cfg = OmegaConf.create(
        {"rate": 0.5, "optimizer": {"_target_": "torch.optim.SGD", "lr": "${rate}", "head_lr": None}}
    )
    OmegaConf.set_struct(cfg, True)
    (group,) = read_optimizer(cfg.optimizer)(nn.Linear(2, 2)).param_groups
    assert group["lr"] == 0.5
    assert "head_lr" in cfg.optimizer


def test_an_optimizer_without_weight_decay_says_so():
    with pytest.raises(ValueError, match="must be true: Rprop has no weight decay"):
        read(_target_="torch.optim.Rprop", decay_norms_and_biases=False)(nn.Linear(2, 2))


def test_a_network_that_is_all_frozen_is_refused():
    with pytest.raises(ValueError, match="all are frozen"):
        read()(nn.Linear(2, 2).requires_grad_(False))
