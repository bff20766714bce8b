"""A training that is interrupted and resumed ends bit for bit like one that was not."""

import signal
import subprocess
import sys
import time

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from classifier.data import Digits
from classifier.module import ImageClassifier
from classifier.training import train
from wandbsweep.agent.signals import SignalWatch
from wandbsweep.current import CurrentTrial, Preempted, running
from wandbsweep.lightning import AtomicCheckpointIO, is_intact
from wandbsweep.trial import CONTINUE

OPTIONS = [
    "metric=val/loss",
    "model.dropout=0.3",
    "optimizer=sgd",
    "scheduler=cosine",
    "trainer.max_epochs=3",
    "data.batch_size=128",  # 10 steps an epoch
    "report_every_n_steps=1",
]
GROUPS = ["optimizer.head_lr=0.01", "optimizer.decay_norms_and_biases=false"]


class Sweep:
    """Records the reports, and interrupts the training within the step ``at``."""

    def __init__(self, at=None):
        self.at, self.reports = at, {}

    def run(self, cfg, *, resumed=False):
        def send(step, metrics):
            self.reports.setdefault(step, {}).update(metrics)
            return CONTINUE

        trial = CurrentTrial(number=0, resumed=resumed, metric="val/loss", send=send)
        step = ImageClassifier.training_step

        def interrupt(module, batch, batch_idx):
            if module.global_step + 1 == self.at:
                trial.interrupt("a test")
            return step(module, batch, batch_idx)

        with running(trial), pytest.MonkeyPatch.context() as patch:
            patch.setattr(ImageClassifier, "training_step", interrupt)
            return train(cfg)

    def curve(self, name):
        return {step: metrics[name] for step, metrics in self.reports.items() if name in metrics}


def load_checkpoint(place):
    return torch.load(place / "checkpoints/last.ckpt", weights_only=False)


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


AUGMENTED = ["data.batch_size=16", "data.augment.crop_padding=1", "data.augment.flip=alternating"]
CIFAR = ["data=cifar10", "data.val_size=10", *AUGMENTED, "data.augment.cutout=4", "data.augment.mixup=0.3"]
FOLDER = ["data=image_folder", "data.root=${oc.env:DATA_DIR}/folder", "data.val_size=4", *AUGMENTED]
WORKERS = ["data.batch_size=4", "data.in_memory=false", "data.image_size=12", "data.num_workers=1"]  # 4 steps an epoch


@pytest.mark.usefixtures("small_data")
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated")
@pytest.mark.parametrize(
    ("at", "left_at", "options"),
    [
        (13, 13, []),
        (13, 13, ["module.ema=0.9"]),
        (10, 10, []),  # an epoch's last step: its validation and report come first
        (11, 11, ["data.batch_size=64"]),  # 19 steps an epoch
        (5, 5, ["trainer.accumulate_grad_batches=2"]),
        (7, 7, ["trainer.accumulate_grad_batches=2"]),
        (15, 16, ["trainer.val_check_interval=5"]),  # a validation comes first
        (12, 12, ["trainer.check_val_every_n_epoch=2"]),
        (17, 17, CIFAR),  # 12 steps an epoch
        (6, 6, [*FOLDER, *WORKERS]),
        (5, 5, ["trainer.accumulate_grad_batches=3", "scheduler=one_cycle"]),  # 4 steps an epoch, the last of one batch
        (13, 13, ["scheduler=one_cycle", "scheduler.warmup_steps=0.5", "optimizer=adamw", *GROUPS]),
        (6, 6, ["scheduler.warmup_steps=8", "trainer.precision=bf16-mixed", "compute.channels_last=true", *GROUPS]),
    ],
)
def test_an_interrupted_training_ends_with_the_same_bits(make_config, tmp_path, at, left_at, options):
    options = [*OPTIONS, *options]
    undisturbed = Sweep()
    loss = undisturbed.run(make_config(*options, output="undisturbed"))
    sweep = Sweep(at)
    with pytest.raises(Preempted):
        sweep.run(make_config(*options, output="interrupted"))
    assert load_checkpoint(tmp_path / "interrupted")["global_step"] == left_at
    sweep.at = None
    assert sweep.run(make_config(*options, output="interrupted"), resumed=True) == loss
    one, other = load_checkpoint(tmp_path / "undisturbed"), load_checkpoint(tmp_path / "interrupted")
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert equal(one[part], other[part]), part
    assert sweep.curve("val/loss") == undisturbed.curve("val/loss")
    whole = undisturbed.curve("train/loss")  # an attempt that must end reports nothing after it knows
    assert sweep.curve("train/loss") == {step: loss for step, loss in whole.items() if step != at}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_in_mid_epoch_saves_then(make_config, tmp_path, monkeypatch, signum):
    """The signal is really sent, twice but for Ctrl-C; Lightning's own handler of TERM must not run."""
    step = ImageClassifier.training_step

    def raise_signal(module, batch, batch_idx):
        if module.global_step == 12 or (module.global_step == 11 and signum != signal.SIGINT):
            signal.raise_signal(signum)
        return step(module, batch, batch_idx)

    monkeypatch.setattr(ImageClassifier, "training_step", raise_signal)
    monkeypatch.setattr(ModelCheckpoint, "on_train_epoch_end", lambda *_: None)
    trial, watch = CurrentTrial(number=0, metric="val/loss"), SignalWatch()
    handlers = {s: signal.signal(s, signal.SIG_DFL) for s in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        with pytest.raises(Preempted), watch.watching(), running(trial), watch.notifying(trial):
            train(make_config(*OPTIONS))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert load_checkpoint(tmp_path / "out")["global_step"] == (13 if signum == signal.SIGINT else 12)
    assert trial.interrupt_requested
    assert not trial.listening
    assert trial.decision.reason == f"interrupted ({signum.name})"


def test_an_interrupt_at_the_last_report_does_not_matter(make_config):
    trial = CurrentTrial(number=0, metric="val/loss")
    trial.send = lambda step, metrics: (trial.interrupt("a test") if step == 30 else None, CONTINUE)[1]
    with running(trial):
        train(make_config(*OPTIONS))
    assert not trial.interrupt_requested
    assert not trial.decision.stop


def test_a_training_interrupted_twice(make_config, tmp_path):
    loss = Sweep().run(make_config(*OPTIONS, output="undisturbed"))
    for at, resumed in [(4, False), (8, True)]:
        with pytest.raises(Preempted):
            Sweep(at).run(make_config(*OPTIONS, output="interrupted"), resumed=resumed)
    assert Sweep().run(make_config(*OPTIONS, output="interrupted"), resumed=True) == loss


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:600] + b"x" * 9 + b[609:]])
def test_a_damaged_checkpoint_is_reported_and_the_training_starts_over(make_config, tmp_path, caplog, spoil):
    loss = Sweep().run(make_config(*OPTIONS))
    last = tmp_path / "out/checkpoints/last.ckpt"
    last.write_bytes(spoil(last.read_bytes()))
    assert Sweep().run(make_config(*OPTIONS), resumed=True) == loss
    assert "last.ckpt is damaged" in caplog.text
    assert "from the beginning" in caplog.text


def test_without_a_checkpoint_a_resumed_training_starts_over(make_config, caplog):
    assert Sweep().run(make_config(*OPTIONS), resumed=True) == Sweep().run(make_config(*OPTIONS, output="again"))
    assert caplog.text == ""


def test_an_epoch_continues_at_the_batch_where_it_was_left():
    data = Digits(batch_size=100)
    data.setup()
    loader = data.train_dataloader()
    batches = iter(loader)
    first = [next(batches) for _ in range(3)]
    assert loader.state_dict() == {"epoch": 0, "batches": 3}
    resumed = data.train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert equal([*first, *resumed], [*data.train_dataloader()])
    resumed.sampler.set_epoch(1)
    assert len([*resumed]) == len(resumed) == 12  # the next epoch begins at its start


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "last.ckpt"
    program = (
        "import os, sys, signal, torch\n"
        "from wandbsweep.lightning import AtomicCheckpointIO\n"
        "class Fatal:\n"
        "    def __reduce__(self):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "AtomicCheckpointIO().save_checkpoint({'step': 1}, sys.argv[1])\n"
        "AtomicCheckpointIO().save_checkpoint({'step': 2, 'tensor': torch.ones(1000), 'rest': Fatal()}, sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert is_intact(path)
    assert torch.load(path)["step"] == 1


def test_a_full_disk_leaves_the_checkpoint_before_and_nothing_else(tmp_path):
    path = tmp_path / "last.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, path)

    class Full:
        def __reduce__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        writer.save_checkpoint({"step": 2, "rest": Full()}, path)
    assert torch.load(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_checkpoints_that_come_too_soon_are_written_together(tmp_path, monkeypatch):
    writer, weights, written = AtomicCheckpointIO(every_s=60), torch.zeros(3), []
    write = AtomicCheckpointIO._write
    monkeypatch.setattr(
        AtomicCheckpointIO, "_write", lambda self, *given: (written.append(given[1].stem), write(self, *given))
    )
    for epoch in range(3):
        weights += 1  # the training goes on in place
        if epoch < 2:
            writer.save_checkpoint({"weights": weights, "parts": [{"epoch": epoch}]}, tmp_path / "best.ckpt")
        writer.save_checkpoint({"weights": weights}, tmp_path / "last.ckpt")
    assert written == []
    weights += 1
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 61)
    writer.save_checkpoint({"weights": weights}, tmp_path / "last.ckpt")
    assert written == ["best", "last"]
    saved = torch.load(tmp_path / "best.ckpt")
    assert (saved["weights"].tolist(), saved["parts"]) == ([2.0] * 3, [{"epoch": 1}])
    assert torch.load(tmp_path / "last.ckpt")["weights"].tolist() == [4.0] * 3
    writer.save_checkpoint({"weights": weights + 1}, tmp_path / "last.ckpt")
    assert written == ["best", "last"]
    assert writer.load_checkpoint(tmp_path / "last.ckpt")["weights"].tolist() == [5.0] * 3  # what was saved last


def test_a_training_that_raises_writes_its_last_epochs(make_config, tmp_path, monkeypatch):
    """Also an epoch that has just ended; the next attempt goes on from there."""

    def fail(module, batch, batch_idx):
        if module.current_epoch == 2:
            raise RuntimeError("a test")
        return step(module, batch, batch_idx)

    step = ImageClassifier.training_step
    monkeypatch.setattr(ImageClassifier, "training_step", fail)
    with pytest.raises(RuntimeError, match="a test"), running(CurrentTrial(number=0, metric="val/loss")):
        train(make_config(*OPTIONS, "checkpoint_every_s=60"))
    assert load_checkpoint(tmp_path / "out")["epoch"] == 1
    best = torch.load(tmp_path / "out/checkpoints/best.ckpt", weights_only=False)
    assert best["epoch"] <= 1


def test_every_s_must_be_a_time():
    with pytest.raises(ValueError, match="The value of `every_s` is -1, but must be >= 0"):
        AtomicCheckpointIO(-1)
