"""Precision, memory format, compilation and determinism of a training, on a CPU."""

import logging
import os
import shutil

import pytest
import torch
from omegaconf import OmegaConf

from classifier.compute import Compute, find_image_dtype, prepare_process
from classifier.module import ImageClassifier
from classifier.training import train
from wandbsweep.current import CurrentTrial, running
from wandbsweep.process_state import libraries, system
from wandbsweep.process_state.guard import Guard
from wandbsweep.trial import CONTINUE

SHORT = ["model=convnet", "metric=val/loss", "trainer.limit_train_batches=3"]


@pytest.fixture(autouse=True)
def restore_process():
    """What a trial sets for its process ends with it, as in an agent."""
    with Guard([*libraries.PARTS, *system.PARTS]).restore("A test"):
        yield


@pytest.fixture
def seen(monkeypatch):
    """The images that the network takes, and the parameters, of each call in a training or validation step."""
    calls, forward = [], ImageClassifier.forward

    def record(module, images):
        logits = forward(module, images)
        calls.append((images, next(module.network.parameters()), logits))
        return logits

    monkeypatch.setattr(ImageClassifier, "forward", record)
    return calls


@pytest.mark.parametrize(
    ("precision", "images", "parameters", "logits"),
    [
        ("32-true", torch.float32, torch.float32, torch.float32),
        ("bf16-mixed", torch.bfloat16, torch.float32, torch.float32),
        ("bf16-true", torch.bfloat16, torch.bfloat16, torch.float32),
        ("64-true", torch.float64, torch.float64, torch.float64),
    ],
)
def test_precision(make_config, seen, precision, images, parameters, logits):
    loss = train(make_config(*SHORT, f"trainer.precision={precision}"))
    assert 0 < loss < 5
    assert {call[1].dtype for call in seen} == {parameters}
    assert {call[2].dtype for call in seen} == {logits}
    assert {call[0].dtype for call in seen} == {images}


def test_half_precision_on_a_cpu_is_bfloat16_and_one_warning_says_so(make_config):
    with pytest.warns(UserWarning, match=r"fp16 is not supported on CPU. Using `precision='bf16-mixed'`"):
        loss = train(make_config(*SHORT, "trainer.precision=16-mixed"))
    assert loss == train(make_config(*SHORT, "trainer.precision=bf16-mixed"))


def test_the_dtype_of_images():
    assert [find_image_dtype(p) for p in ("32-true", "bf16-mixed", "bf16-true", "16-mixed", "64-true", 32)] == [
        torch.float32,
        torch.bfloat16,
        torch.bfloat16,
        torch.float16,
        torch.float64,
        torch.float32,
    ]


def test_channels_last_changes_the_layout_and_not_the_result(make_config, tmp_path, monkeypatch):
    layouts, conv = [], torch.nn.Conv2d.forward

    def record(module, images):
        layouts.extend(t.is_contiguous(memory_format=torch.channels_last) for t in (images, module.weight))
        return conv(module, images)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", record)
    options = [*SHORT, "data.batch_size=16", "trainer.max_epochs=1"]
    plain = train(make_config(*options, output="plain"))
    assert not all(layouts)
    layouts.clear()
    assert train(make_config(*options, "compute.channels_last=true", output="last")) == pytest.approx(plain, rel=1e-4)
    assert all(layouts)
    one, other = (torch.load(tmp_path / d / "checkpoints/last.ckpt", weights_only=False) for d in ("plain", "last"))
    assert one["state_dict"].keys() == other["state_dict"].keys()


@pytest.fixture
def compile_quickly(monkeypatch):
    """Compiles with a backend that runs the graph as it is."""
    compile_network = torch.nn.Module.compile

    def compile_with_backend(module, *, mode, dynamic):
        assert mode == "default"
        compile_network(module, backend="eager", dynamic=dynamic)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_with_backend)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("compile_quickly")
@pytest.mark.parametrize(("dynamic", "count"), [("true", 2), ("false", 3)])
def test_one_compilation_serves_all_batch_sizes(make_config, tmp_path, caplog, dynamic, count):
    """Batches of 400 and 397 images in the training, and 300 in the validation: a training and an evaluation."""
    caplog.set_level(logging.INFO, "classifier.compute")
    reports = {}
    trial = CurrentTrial(number=0, metric="val/loss", send=lambda step, metrics: reports.update(metrics) or CONTINUE)
    options = ["data.batch_size=400", "trainer.max_epochs=2", "module.ema=0.9"]
    with running(trial):
        loss = train(make_config(*options, "compute.compile=true", f"compute.dynamic_batch={dynamic}"))
    assert [record.getMessage().count("torch.compile took") for record in caplog.records] == [1] * count
    assert 0 < reports["compile_seconds"] < 1000
    # The checkpoint has the plain network's keys, so a training may go on without compiling.
    saved = torch.load(tmp_path / "out/checkpoints/last.ckpt", weights_only=False)
    assert "network.1.weight" in saved["state_dict"]
    with running(CurrentTrial(number=0, metric="val/loss", resumed=True, send=trial.send)):
        assert train(make_config(*options, "trainer.max_epochs=3")) <= loss


@pytest.mark.slow  # a C++ compiler takes its time
def test_the_real_compiler_computes_the_same(make_config, caplog, monkeypatch, tmp_path):
    """Of a training and an evaluation, each for all sizes of a batch."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    caplog.set_level(logging.INFO, "classifier.compute")
    options = ["model.hidden=[8]", "model.dropout=0", "data.batch_size=400", "trainer.max_epochs=2", "metric=val/loss"]
    plain = train(make_config(*options, output="plain"))
    torch.compiler.reset()
    compiled = train(make_config(*options, "compute.compile=true", output="compiled"))
    torch.compiler.reset()
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert caplog.text.count("torch.compile took") == 2
    assert list((tmp_path / "compiled").rglob("*.so"))


def test_an_epoch_without_compiling_has_no_such_metric(make_config):
    reports = {}
    with running(CurrentTrial(number=0, metric="val/loss", send=lambda _, m: reports.update(m) or CONTINUE)):
        train(make_config(*SHORT))
    assert "compile_seconds" not in reports


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("compute.compile=fast", "fast; the choices are false, true, default, reduce-overhead, max-autotune"),
        ("compute.channels_last=1", "`compute.channels_last` is 1; the choices are false, true"),
        ("compute.float32_matmul_precision=low", "low; the choices are null, highest, high, medium"),
        ("+compute.chanels_last=true", "Unknown key.* of `compute`: chanels_last. Valid keys are channels_last, "),
        ("trainer.deterministic=yes", "`trainer.deterministic` is yes; the choices are null, false, true, warn"),
    ],
)
def test_bad_options_are_refused_with_the_choices(make_config, option, message):
    with pytest.raises(ValueError, match=message):
        prepare_process(make_config(option))


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("CXX", r"needs the compiler missing-g\+\+, which this machine lacks"),
        ("PATH", r"needs the compiler g\+\+ or clang\+\+, which this machine lacks"),
    ],
)
def test_without_a_compiler_one_message_says_so(make_config, monkeypatch, variable, message):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv(variable, "missing-g++")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert shutil.which("g++") is None or variable == "CXX"
    with pytest.raises(ValueError, match=message):
        prepare_process(make_config("compute.compile=true"))


def test_what_is_set_for_the_process_ends_with_the_trial(make_config):
    cfg = make_config("compute.threads=3", "compute.float32_matmul_precision=medium", "trainer.deterministic=warn")

    def read():
        return (
            torch.get_num_threads(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
            os.environ.get("PL_SEED_WORKERS"),
        )

    before = read()
    with Guard([*libraries.PARTS, *system.PARTS]).restore("A trial"):
        train(cfg)
        assert read() == (3, "medium", True, True, ":4096:8", "1")
    assert read() == before != (3, "medium", True, True, ":4096:8", "1")


def test_a_gpu_that_was_used_before_is_no_longer_deterministic(make_config, monkeypatch, caplog):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    prepare_process(make_config("trainer.deterministic=true"))
    assert "this process has used its GPU before" in caplog.text
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_configuration_without_the_group_has_the_defaults():
    assert prepare_process(OmegaConf.create({"trainer": {}})) == Compute()
