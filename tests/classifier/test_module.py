"""Averaged weights, label smoothing and soft targets."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from classifier.averaging import copy_network, update_average
from classifier.module import ImageClassifier
from classifier.training import train
from wandbsweep.current import CurrentTrial, running
from wandbsweep.trial import CONTINUE

AVERAGED = ["model=convnet", "metric=val/loss", "module.ema=0.9", "model.dropout=0.2", "trainer.max_epochs=2"]


def load(place, name="last.ckpt"):
    return torch.load(place / "checkpoints" / name, weights_only=False)


def make_module(**options):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 5))
    return ImageClassifier(network, None, None, **options)


def test_the_average_is_that_of_its_formula():
    network = make_module().network
    averaged = copy_network(network)
    by_hand = copy.deepcopy(averaged.state_dict())
    for step in range(30):
        network(torch.rand(4, 3, 2, 2))  # changes the statistics
        for parameter in network.parameters():
            parameter.data += 1.0
        update_average(averaged, network, decay=0.7, step=step)
        keep = min(0.7, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            by_hand[name] = keep * by_hand[name] + (1 - keep) * value if value.is_floating_point() else value
    for name, value in averaged.state_dict().items():
        torch.testing.assert_close(value, by_hand[name])
    assert not any(parameter.requires_grad for parameter in averaged.parameters())


def test_training_uses_the_weights_and_evaluation_their_average():
    module, images = make_module(ema=0.9), torch.rand(4, 3, 2, 2)
    module.network[3].bias.data += 1.0
    assert torch.equal(module.train()(images), module.network(images))
    logits = module.eval()(images)
    assert torch.equal(logits, module.ema(images))
    assert not torch.allclose(logits, module.network(images))


def test_validation_best_checkpoint_and_test_are_of_the_average(make_config, tmp_path, monkeypatch):
    logits = []
    forward = ImageClassifier.forward

    def record(module, images):
        result = forward(module, images)
        if not module.training:
            averaged, trained = module.ema(images), module.network(images)
            logits.append(torch.equal(result, averaged) and not torch.equal(result, trained))
        return result

    monkeypatch.setattr(ImageClassifier, "forward", record)
    tested = train(make_config(*AVERAGED, "metric=test/loss", "test=true"))
    assert logits == [True, True, True]  # two validations and the test
    # The best checkpoint begins another training: its averaged weights are what is used.
    monkeypatch.undo()
    best = tmp_path / "out/checkpoints/best.ckpt"
    options = ["model=convnet", f"model.weights={best}", "optimizer.lr=0", "metric=test/loss", "test=true"]
    # The statistics of the normalisation must stay too.
    assert train(make_config(*options, "model.freeze=backbone", output="again")) == pytest.approx(tested, rel=1e-5)


def test_a_checkpoint_without_averaged_weights_starts_the_average(make_config, tmp_path):
    plain = [option for option in AVERAGED if "ema" not in option]
    train(make_config(*plain, "trainer.max_epochs=1", output="plain"))
    last = tmp_path / "plain/checkpoints/last.ckpt"
    train(make_config(*AVERAGED, f"ckpt_path={last}"))
    assert any(key.startswith("ema.") for key in load(tmp_path / "out")["state_dict"])
    train(make_config(*plain, f"ckpt_path={tmp_path}/out/checkpoints/last.ckpt", "trainer.max_epochs=3", output="back"))
    assert not any(key.startswith("ema.") for key in load(tmp_path / "back")["state_dict"])


def test_without_an_average_nothing_of_it_is_kept(make_config, tmp_path):
    train(make_config())
    assert not any("ema" in key for key in load(tmp_path / "out")["state_dict"])


def test_the_copy_is_no_part_of_the_models_size(make_config):
    sizes = []
    trial = CurrentTrial(number=0, send=lambda _, found: sizes.append(found["model/parameters"]) or CONTINUE)
    for ema in ("null", "0.9"):
        with running(trial):
            train(make_config(f"module.ema={ema}"))
    assert sizes[0] == sizes[1]


def test_an_average_of_half_precision_is_refused(make_config):
    with pytest.raises(ValueError, match=r"`module.ema` is 0.9, but must be null with trainer.precision=bf16-true"):
        train(make_config(*AVERAGED, "trainer.precision=bf16-true"))


def test_smoothing_is_of_the_training_alone(monkeypatch):
    module, images, classes = make_module(label_smoothing=0.2), torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 4])
    smooth = one_hot(classes, 5) * 0.8 + 0.2 / 5
    expected = -(module(images).log_softmax(1) * smooth).sum(1).mean()
    torch.testing.assert_close(module.training_step((images, classes), 0), expected)
    logged = {}
    monkeypatch.setattr(module, "log_dict", lambda values, **_: logged.update(values))
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    module.validation_step((images, classes), 0)
    assert logged["val/loss"] == cross_entropy(module(images), classes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_targets_may_be_probabilities(dtype):
    module, images, classes = make_module(), torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 4])
    hard = module.training_step((images, classes), 0)
    soft = module.training_step((images, one_hot(classes, 5).to(dtype)), 0)
    torch.testing.assert_close(hard, soft)
    assert soft.dtype == torch.float32
