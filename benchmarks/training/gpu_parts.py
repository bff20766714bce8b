"""What ``gpu.py`` measures, part by part. Each part runs in a process of its own."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gpu_records import record

ROOT = Path(__file__).resolve().parents[2]
CARRIED = ROOT / ".gpu"
NETWORKS = ("resnet18", "resnet50")
AGENTS = (1, 2, 4, 8)
# Dense bf16 products, in TFLOP/s, by a part of the card's name: data sheets.
PEAKS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "A10": 125, "V100": 125}
RECIPE = [  # of ResNet-18, for 94 %
    "optimizer=sgd",
    "optimizer.lr=0.4",
    "optimizer.weight_decay=5e-4",
    "optimizer.decay_norms_and_biases=false",
    "scheduler=one_cycle",
    "module.label_smoothing=0.1",
    "data.augment.crop_padding=4",
    "data.augment.flip=random",
    "data.augment.cutout=8",
]


class Size:
    """How much ``run`` measures."""

    def __init__(self, tiny: bool) -> None:
        self.tiny = tiny
        # Of networks, and whether they are compiled. On a CPU it takes minutes to compile a ResNet.
        self.throughput = (("resnet18", False), ("airbench", True)) if tiny else tuple(product(NETWORKS, (False, True)))
        self.batch = 8 if tiny else 512
        self.steps = 2 if tiny else 60  # of an epoch that is timed
        self.epochs = 1 if tiny else 30  # to an accuracy
        self.agents = (1, 2) if tiny else AGENTS
        self.trials = 2 if tiny else 6  # of every agent
        self.machine = (
            ["trainer.accelerator=cpu", "trainer.precision=bf16-mixed"] if tiny else ["trainer.precision=bf16-mixed"]
        )


def load_images(size: Size, out: Path) -> None:
    """Unpack the images, or make some, and keep them decoded for the other parts; say what the machine is."""
    import torch

    began, folder = time.perf_counter(), out / "images"
    if size.tiny:
        _make_images(folder)
    else:
        with tarfile.open(CARRIED / "images.tar.xz") as archive:
            archive.extractall(folder, filter="data")
    unpacked = time.perf_counter() - began
    _instantiate_data(_compose(size, out, "model=airbench"))
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    seconds = {"unpacking": unpacked, "decoding": time.perf_counter() - began - unpacked}
    record(out, {"machine": card, "cores": os.cpu_count(), "tiny": size.tiny, **versions, **seconds})


def _make_images(folder: Path) -> None:
    import numpy
    from PIL import Image

    random = numpy.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        for number in range(10):
            place = folder / split / f"class{number}"
            place.mkdir(parents=True)
            for image in range(count):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=numpy.uint8) // 2 + 12 * number
                Image.fromarray(pixels.astype(numpy.uint8)).save(place / f"{image}.jpg")


def measure_throughput(size: Size, out: Path) -> None:
    """Count images a second of our training and of a plain loop, in turns, and the share of the card's limit."""
    limit = _find_peak(size)
    record(out, {"peak": limit})
    for network, compiled in size.throughput:
        flops = _count_flops(_compose(size, out, f"model={network}"))
        overrides = [
            f"model={network}",
            f"data.batch_size={size.batch}",
            "data.drop_last=true",
            "data.val_size=0",
            "compute.channels_last=true",
            f"compute.compile={str(compiled).lower()}",
            "compute.dynamic_batch=false",
            "optimizer=sgd",
            f"trainer.limit_train_batches={size.steps}",
            "trainer.max_epochs=3",
            "trainer.gradient_clip_val=null",
            "trainer.enable_checkpointing=false",
            "metric=train/loss",
        ]
        cfg = _compose(size, out, *overrides)
        ours, plain = [], []
        for _ in range(2):
            ours += _time_training(cfg)
            plain += _time_plain_loop(cfg)
        speed, reference = statistics.median(ours), statistics.median(plain)
        share = speed * flops / (limit["measured TFLOP/s"] * 1e12)
        speeds = {"images/s": speed, "plain images/s": reference, "ratio": speed / reference}
        record(out, {"network": network, "compiled": compiled, **speeds, "GFLOP/image": flops / 1e9, "MFU": share})


def _find_peak(size: Size) -> dict[str, Any]:
    """Measure a large bf16 matrix product, and look up what the card's maker states."""
    import torch

    device, n = ("cpu", 256) if size.tiny else ("cuda", 8192)
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(12):
        _synchronize()
        began = time.perf_counter()
        torch.matmul(a, b)
        _synchronize()
        best = min(best, time.perf_counter() - began)
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    stated = next((peak for name, peak in PEAKS.items() if name in card), None)
    return {"measured TFLOP/s": 2 * n**3 / best / 1e12, "stated TFLOP/s": stated}


def _count_flops(cfg: Any) -> float:
    """Count the floating-point operations of one image's training step, forwards and backwards."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from classifier.models import make_network

    network, images = make_network(cfg.model, input_shape=(3, 32, 32), classes=10), torch.zeros(4, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        network(images).sum().backward()
    return counter.get_total_flops() / len(images)


def _time_training(cfg: Any) -> list[float]:
    """Train as a trial does, and return the images a second of every epoch but the first, which warms up."""
    from classifier.training import train
    from wandbsweep.current import CurrentTrial, running
    from wandbsweep.trial import CONTINUE, Decision

    speeds: list[float] = []

    def send(step: int, metrics: Any) -> Decision:
        speeds.append(metrics["train/images_per_second"])
        return CONTINUE

    with running(CurrentTrial(number=0, metric="train/loss", send=send)):
        train(cfg)
    return speeds[1:]


def _time_plain_loop(cfg: Any) -> list[float]:
    """Do the same without Lightning, but with the batches of our data module, and return the same numbers."""
    import torch
    from torch.nn.functional import cross_entropy

    from classifier.models import make_network

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = _instantiate_data(cfg)
    loader, epochs, steps = data.train_dataloader(), cfg.trainer.max_epochs, cfg.trainer.limit_train_batches
    network = make_network(cfg.model, input_shape=data.input_shape, classes=data.classes)
    network.to(device, memory_format=torch.channels_last)
    if cfg.compute.compile:
        network.compile(dynamic=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    speeds = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        network.train()
        total, count, began = torch.zeros((), device=device), 0, time.perf_counter()
        for _, (images, classes) in zip(range(steps), loader, strict=False):
            with torch.autocast(device.type, torch.bfloat16):
                logits = network(images.contiguous(memory_format=torch.channels_last))
            loss = cross_entropy(logits.float(), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.detach() * len(classes)
            count += len(classes)
        float(total)
        _synchronize()
        speeds.append(count / (time.perf_counter() - began))
    return speeds[1:]


def _instantiate_data(cfg: Any) -> Any:
    """Make the data module as a trainer would have it: on the GPU, if there is one, in the training's precision."""
    import torch

    from classifier.instantiate import instantiate

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = instantiate(cfg.data)
    strategy = SimpleNamespace(root_device=device)
    data.trainer = SimpleNamespace(global_rank=0, world_size=1, strategy=strategy, precision=cfg.trainer.precision)
    data.setup()
    return data


def _synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def reach_accuracy(size: Size, out: Path) -> None:
    """Train ResNet-18 once on all training images, and measure the test accuracy of the last epoch."""
    from classifier.training import train

    overrides = [
        "model=resnet18",
        *RECIPE,
        f"data.batch_size={size.batch}",
        "data.val_size=0",
        "data.drop_last=true",
        f"trainer.max_epochs={size.epochs}",
        "trainer.gradient_clip_val=null",
        "trainer.enable_checkpointing=false",
        "compute.channels_last=true",
        f"compute.compile={str(not size.tiny).lower()}",
        "metric=test/accuracy",
        "test=true",
    ]
    began = time.perf_counter()
    accuracy = train(_compose(size, out, *overrides))
    record(out, {"accuracy": accuracy, "epochs": size.epochs, "seconds": time.perf_counter() - began})


def count_trials(size: Size, out: Path) -> None:
    """Count the trials an hour that agents finish who share the device, each in a process of its own."""
    for agents in size.agents:
        place = out / f"agents-{agents}"
        trials = agents * size.trials
        sweep = [
            "method: random",
            f"run_cap: {trials}",
            "metric: {name: val/accuracy, goal: maximize}",
            "parameters: {optimizer.lr: {distribution: log_uniform_values, min: 0.01, max: 0.3}}",
        ]
        (place / "conf/sweep").mkdir(parents=True)
        (place / "conf/sweep/small.yaml").write_text("\n".join([*sweep, ""]))
        overrides = [
            "model=airbench",
            "optimizer=sgd",
            "trainer.max_epochs=2",
            f"data.batch_size={size.batch}",
            f"data.val_size={20 if size.tiny else 5000}",
        ]
        command = [sys.executable, str(ROOT / "train.py"), "-m", "hydra/sweeper=wandbsweep", "hydra/launcher=basic"]
        command += [f"hydra.sweep.dir={place / 'sweep'}", f"hydra.searchpath=[file://{place / 'conf'}]", "sweep=small"]
        command += [*_list_overrides(size, out), *overrides]
        processes = []
        for agent in range(agents):
            with (place / f"{agent}.log").open("w") as log:
                processes.append(subprocess.Popen(command, cwd=place, stdout=log, stderr=subprocess.STDOUT))
            while not (place / "sweep/sweep.yaml").exists() and processes[0].poll() is None:
                time.sleep(0.1)  # the others join the sweep that the first one makes
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit(f"Agents ended with {codes}: {(place / '0.log').read_text()[-2000:]}")
        record(out, {"agents": agents, "trials": trials, **_find_rate(place / "sweep", agents)})


def _find_rate(sweep: Path, agents: int) -> dict[str, float]:
    """Return the trials an hour while all agents worked: from the end of each one's first trial to the last start."""
    import wandbsweep

    trials = wandbsweep.open_sweep(sweep).trials
    if failed := [trial for trial in trials if trial.state != "finished"]:
        raise SystemExit(f"Of {len(trials)} trials {len(failed)} failed: {failed[0].reason}")
    ends = sorted(trial.ended for trial in trials)
    first = {trial.agent: min(t.ended for t in trials if t.agent == trial.agent) for trial in trials}
    begin, end = max(first.values()), max(trial.started for trial in trials)
    counted = [moment for moment in ends if begin < moment <= end] or ends[-1:]
    spans = [trial.ended - trial.started for trial in trials]
    hours = (counted[-1] - begin) / 3600 or (ends[-1] - ends[0]) / 3600
    return {
        "trials/h": len(counted) / hours,
        "seconds a trial": statistics.median(spans),
        "agents that worked": len(first),
    }


def _list_overrides(size: Size, out: Path) -> list[str]:
    images = [f"data.root={out / 'images'}", f"data.cache={out / 'cache'}", "data.in_memory=true"]
    normalised = ["data.mean=[0.4914,0.4822,0.4465]", "data.std=[0.2470,0.2435,0.2616]"]
    return ["data=image_folder", *images, *normalised, "logger=none", *size.machine]


def _compose(size: Size, out: Path, *overrides: str) -> Any:
    from hydra import compose, initialize_config_dir

    place = out / "runs"
    place.mkdir(exist_ok=True)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=[*_list_overrides(size, out), f"output_dir={place}", *overrides])


PARTS: dict[str, tuple[Callable[[Size, Path], None], float]] = {
    "images": (load_images, 0),
    "throughput": (measure_throughput, 60),
    "accuracy": (reach_accuracy, 100),
    "agents": (count_trials, 60),
}
"""Each part's function, and with how many seconds left it is begun."""
