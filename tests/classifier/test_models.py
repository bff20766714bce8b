"""Networks of every kind, their weights from elsewhere, and their heads."""

import pickle
import re

import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from torch import nn
from torchvision.models import VisionTransformer

from classifier.models import find_head, make_network
from classifier.models.pretrained import load_weights
from classifier.training import train
from wandbsweep.current import CurrentTrial, running

NAMES = torchvision.models.list_models(module=torchvision.models)
CIFAR, GREY = (3, 32, 32), (1, 28, 28)
SMALL = {"_target_": "classifier.models.torchvision_classifier", "name": "shufflenet_v2_x0_5"}
CONVNET = {"_target_": "classifier.models.convnet", "channels": [4, 8], "dropout": 0.0}
RESNET = {"_target_": "classifier.models.torchvision_classifier", "name": "resnet18", "stem": "auto"}


def make(options, *, input_shape=CIFAR, classes=10, **more):
    return make_network(OmegaConf.create({**options, **more}), input_shape=input_shape, classes=classes)


def save(network, path):
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 2, 3), (3, 7, 9), (3, 15, 40), CIFAR, (3, 64, 64)])
def test_airbench_takes_images_of_any_size(shape):
    network = make({"_target_": "classifier.models.airbench", "width": 0.1, "dropout": 0.0}, input_shape=shape)
    assert network(torch.zeros(2, *shape)).shape == (2, 10)


def test_the_stem_follows_the_size_of_the_images():
    networks = {
        (size, stem): make({**RESNET, "stem": stem}, input_shape=(3, size, size))
        for size, stem in [(32, "auto"), (65, "auto"), (32, "imagenet"), (65, "small")]
    }
    kernels = {key: (network.conv1.kernel_size[0], network.conv1.stride[0]) for key, network in networks.items()}
    assert kernels == {(32, "auto"): (3, 1), (65, "auto"): (7, 2), (32, "imagenet"): (7, 2), (65, "small"): (3, 1)}
    assert isinstance(networks[32, "auto"].maxpool, nn.Identity)


def test_images_may_be_resized_first():
    network = make({"_target_": RESNET["_target_"], "name": "alexnet"}, image_size=64)
    assert network(torch.zeros(2, *CIFAR)).shape == (2, 10)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18"])
def test_dropout_comes_before_the_head(name):
    network = make({"_target_": RESNET["_target_"], "name": name, "dropout": 1.0})
    head = find_head(network)[1]
    images = torch.rand(2, *CIFAR)
    assert torch.equal(network(images), head.bias.expand(2, -1))  # all features are dropped
    network.eval()
    assert (network(images) != head.bias).any()


def test_a_grey_image_counts_as_three_equal_channels():
    torch.manual_seed(0)
    coloured = make(SMALL).eval()
    torch.manual_seed(0)
    grey = make(SMALL, input_shape=(1, 32, 32)).eval()
    image = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(grey(image), coloured(image.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet19"}, "'resnet19'; torchvision's classifiers are alexnet, "),
        ({"stem": "large"}, "'large'; the choices are auto, small and imagenet"),
        ({"name": "alexnet"}, "alexnet does not take images of 32x32 pixels: .*image_size"),
        ({"name": "vit_b_16", "image_size": 40}, "vit_b_16 does not take images of 40x40 pixels"),
        ({"name": "mobilenet_v3_small", "stem": "small"}, "`model.stem=small` is for ResNets, not for mobilenet"),
        ({"freeze": "head"}, "'head'; the choices are null and backbone"),
        ({"weights": "nowhere.pt"}, "'nowhere.pt': there is no file /.*nowhere.pt, and .* are IMAGENET1K_V1, DEFAULT"),
    ],
)
def test_a_wrong_value_is_named_with_the_choices(options, message):
    with pytest.raises(ValueError, match=message):
        make(RESNET, **options)


def test_weights_for_other_classes_leave_the_head_as_it_is(tmp_path, caplog):
    caplog.set_level("INFO")
    old = make(SMALL, classes=10)
    path = save(old, tmp_path / "old.pt")
    new, same = make(SMALL, classes=7, weights=path), make(SMALL, classes=10, weights=path)
    for key, value in old.state_dict().items():
        assert torch.equal(value, same.state_dict()[key])
        assert key.startswith("fc.") or torch.equal(value, new.state_dict()[key])
    assert [record.getMessage() for record in caplog.records] == [
        f"Weights: {path}, without its head (fc), which does not fit",
        f"Weights: {path}",
    ]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": {f"model.{key}": value for key, value in state.items()}, "epoch": 3},
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
        lambda state: {
            f"{part}.{key}": value * (part == "ema") for key, value in state.items() for part in ("net", "ema")
        },
    ],
    ids=["lightning", "ddp", "compiled", "averaged"],
)
def test_weights_are_found_in_what_trainings_save(tmp_path, wrap):
    old = make(CONVNET)
    torch.save(wrap(old.state_dict()), tmp_path / "old.ckpt")
    new = make(CONVNET, weights=str(tmp_path / "old.ckpt"))
    assert all(torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True))


def test_grey_weights_are_made_from_coloured_ones(tmp_path):
    old = make(SMALL).eval()
    new = make(SMALL, input_shape=(1, 32, 32), weights=save(old, tmp_path / "old.pt")).eval()
    image = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(new(image), old(image.expand(-1, 3, -1, -1)))


def test_the_automatic_stem_is_that_of_the_weights(tmp_path):
    for stem in ("imagenet", "small"):
        path = save(make(RESNET, stem=stem), tmp_path / stem)
        assert make(RESNET, weights=path).conv1.kernel_size == {"imagenet": (7, 7), "small": (3, 3)}[stem]


def test_all_differences_are_in_one_message(tmp_path):
    path = save(make(CONVNET, channels=[4, 9]), tmp_path / "other.pt")
    with pytest.raises(
        ValueError,
        match=r"(?s)'.*other.pt'.* another network: 5 of another shape: 4.weight \(9, 4, 3, 3\) instead of \(8",
    ):
        make(CONVNET, weights=path)
    with pytest.raises(ValueError, match=r"missing: .* and \d+ more; \d+ unknown: "):
        make(SMALL, weights=path)


def make_vit(size):
    return VisionTransformer(size, patch_size=8, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=4, num_classes=3)


def test_positions_of_a_vision_transformer_are_interpolated():
    old, new = make_vit(32), make_vit(64)
    load_weights(new, old.state_dict(), source="old")
    assert torch.equal(new.encoder.pos_embedding[:, 0], old.encoder.pos_embedding[:, 0])  # of the class token
    assert new.encoder.pos_embedding.shape == (1, 65, 4)
    assert torch.equal(new.conv_proj.weight, old.conv_proj.weight)


def test_old_names_and_auxiliary_classifiers_in_torchvisions_files():
    old, new = (torchvision.models.DenseNet(4, (2, 2), 8, num_classes=3) for _ in range(2))
    names = {name: re.sub(r"(norm|conv)([12])\.", r"\1.\2.", name) for name in old.state_dict() if "denselayer" in name}
    assert "features.denseblock1.denselayer1.norm.1.weight" in names.values()
    state = {names.get(name, name): value for name, value in old.state_dict().items()}
    load_weights(new, {**state, "AuxLogits.fc.weight": torch.ones(2)}, source="old")
    assert all(torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True))


class Anything:
    pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda path: torch.save({"state_dict": {}, "config": Anything()}, path),
            "objects of .*Anything.*the state_dict alone",
        ),
        (lambda path: path.write_bytes(pickle.dumps([1])), "is not loaded|are not loaded|no weights"),
        (lambda path: path.write_bytes(b"PK"), "not loaded"),
        (lambda path: path.write_bytes(b""), "not loaded"),
        (lambda path: torch.save({"epoch": 3}, path), "There are no weights in .*dictionary of tensors"),
        (lambda path: torch.save(torch.ones(3), path), "There are no weights in "),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content, message):
    content(tmp_path / "file.pt")
    with pytest.raises(ValueError, match=message):
        make(CONVNET, weights=str(tmp_path / "file.pt"))


def test_torchvisions_weights_are_found_where_it_keeps_them(tmp_path, monkeypatch):
    """The real names and formats; the values are random."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = torchvision.models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1
    old = torchvision.models.shufflenet_v2_x0_5()
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    save(old, tmp_path / "hub/checkpoints" / weights.url.rpartition("/")[2])
    for name in ("DEFAULT", "IMAGENET1K_V1", "ShuffleNet_V2_X0_5_Weights.DEFAULT"):
        assert torch.equal(make(SMALL, weights=name).conv1[0].weight, old.conv1[0].weight)


def test_without_a_network_the_message_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(
        OSError, match=rf"Get https://\S+/shufflenetv2_x0.5-\w+.pth elsewhere and put it to {tmp_path}/hub"
    ):
        make(SMALL, weights="DEFAULT")
    assert not list(tmp_path.rglob("*.*"))


def test_a_frozen_backbone_keeps_its_weights_and_statistics(make_config, tmp_path):
    with running(CurrentTrial(number=0, metric="val/loss")):  # the trial of a sweep, with all that it saves
        train(make_config("model=convnet", "scheduler=one_cycle", "callbacks=[early_stopping]", output="first"))
    weights = f"model.weights={tmp_path}/first/checkpoints/best.ckpt"
    train(make_config("model=convnet", weights, "model.freeze=backbone", "model.dropout=0.3", output="second"))
    first, second = (
        torch.load(tmp_path / name / "checkpoints/best.ckpt", weights_only=False)["state_dict"]
        for name in ("first", "second")
    )
    changed = {key for key in first if key.startswith("network.") and not torch.equal(first[key], second[key])}
    assert changed == {"network.14.weight", "network.14.bias"}


def test_in_a_frozen_network_only_what_follows_the_backbone_is_in_training_mode(tmp_path):
    network = make(CONVNET, freeze="backbone", weights=save(make(CONVNET), tmp_path / "old.pt"))
    assert [layer.training for layer in network] == [False] * 6 + [True] * 5
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {"10.weight", "10.bias"}


def test_a_frozen_backbone_without_weights_is_warned_of(caplog):
    make(CONVNET, freeze="backbone")
    assert "keeps its random weights" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "regnet_y_128gf"])  # 2.6 GB
def test_every_classifier_of_torchvision_fits_images_and_classes(name):
    large = name.startswith(("alexnet", "convnext", "densenet", "inception", "maxvit", "squeezenet", "vgg", "vit"))
    options = {"_target_": RESNET["_target_"], "name": name, "dropout": 0.3, "image_size": 224 if large else None}
    # The meta device computes shapes alone; RegNets compute their widths with tensors.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        network = make(options, input_shape=GREY, classes=7)
        assert network(torch.zeros(2, *GREY)).shape == (2, 7)
    head_name, head = find_head(network)
    assert isinstance(head, nn.Linear | nn.Conv2d)
    assert re.match(r"fc|classifier|head", head_name)
