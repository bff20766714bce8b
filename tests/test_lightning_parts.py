"""The parts of ``wandbsweep.lightning`` by which a Lightning project of anybody's resumes bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import TensorDataset

from wandbsweep.current import DIRECTORY, CurrentTrial, Preempted, current_trial, running
from wandbsweep.lightning import AtomicCheckpointIO, EpochBatches, Reproducible, ResumableLoader, SweepCallback

pytestmark = pytest.mark.filterwarnings(
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated",
    "ignore:.*does not have many workers",
    "ignore:The `srun` command is available",
)


class Net(LightningModule):
    """It has dropout, and a schedule that asks for the number of steps. It notes the samples that it sees."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1))
        self.interrupt_at = interrupt_at
        self.seen: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == self.interrupt_at:
            current_trial().interrupt("a test")
        one = batch["one"][0] if isinstance(batch, dict) else batch[0]
        self.seen += one.flatten().tolist()
        return self.layers(one).square().mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_loader() -> ResumableLoader:
    data = TensorDataset(torch.linspace(0.0, 1.0, 20)[:, None])
    batches = EpochBatches(20, 4, seed=3)
    return ResumableLoader(data, sampler=batches, batch_size=None, generator=torch.Generator())


def fit(place: Path, module: Net, *, resumed: bool, several: bool) -> Net:
    torch.manual_seed(0)
    loader: Any = {"one": make_loader(), "two": [make_loader()]} if several else make_loader()
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=place,
        max_epochs=3,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Reproducible(0), SweepCallback()],
        plugins=[AtomicCheckpointIO()],
    )
    with running(CurrentTrial(number=0, resumed=resumed)):
        trainer.fit(module, loader, ckpt_path=current_trial().checkpoint, weights_only=False)
    return module


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # a resumed trial's own
@pytest.mark.parametrize("several", [False, True])
def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, monkeypatch, several):
    torch.manual_seed(0)
    start = Net().state_dict()

    def make(interrupt_at: int | None = None) -> Net:
        module = Net(interrupt_at)
        module.load_state_dict(start)
        return module

    monkeypatch.setenv(DIRECTORY, str(tmp_path / "undisturbed"))
    undisturbed = fit(tmp_path / "undisturbed", make(), resumed=False, several=several)
    monkeypatch.setenv(DIRECTORY, str(tmp_path / "interrupted"))
    interrupted = make(7)
    with pytest.raises(Preempted):
        fit(tmp_path / "interrupted", interrupted, resumed=False, several=several)
    resumed = fit(tmp_path / "interrupted", Net(), resumed=True, several=several)
    assert interrupted.seen + resumed.seen == undisturbed.seen
    for name, weights in undisturbed.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name
