"""Measure trainings on a GPU: beside a plain loop and the card's limit, to an accuracy, and several agents on one card.

``prepare`` gathers, on a machine with a network, what a bare machine with torch and torchvision lacks, in ``.gpu/``:
packages, and the archive of CIFAR-10's images as JPEG files (``train/CLASS/*``, ``test/CLASS/*``). ``run`` needs no
network. It measures part by part, in the order of ``PARTS``, and leaves out at the end what ``--limit`` has no time
for. After every measurement the results are in ``OUT/results.jsonl``, after every part also in ``OUT/results.md``.
``--tiny`` tries all parts on a CPU, with images that it makes; its numbers mean nothing.

    python benchmarks/training/gpu.py prepare --images cifar10-jpeg.tar.xz
    python benchmarks/training/gpu.py run --out results
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CARRIED = ROOT / ".gpu"
PACKAGES = (
    *("hydra-core", "omegaconf", "antlr4-python3-runtime", "optuna", "alembic", "mako", "colorlog", "sqlalchemy"),
    *("shtab", "cloudpickle", "threadpoolctl", "rich", "markdown-it-py", "mdurl", "pygments", "filelock", "tqdm"),
    *("lightning", "lightning-utilities", "torchmetrics", "packaging"),
)
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
        self.networks = ("resnet18",) if tiny else NETWORKS
        self.compiled = (False,) if tiny else (False, True)
        self.batch = 8 if tiny else 512
        self.steps = 2 if tiny else 60  # of an epoch that is timed
        self.epochs = 1 if tiny else 30  # to an accuracy
        self.agents = (1, 2) if tiny else AGENTS
        self.trials = 2 if tiny else 6  # of every agent
        self.machine = (
            ["trainer.accelerator=cpu", "trainer.precision=bf16-mixed"] if tiny else ["trainer.precision=bf16-mixed"]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="gather what a bare machine lacks")
    prepare.add_argument("--images", type=Path, help="the archive of images")
    prepare.add_argument("--python", default="3.12", help="the bare machine's Python (default: 3.12)")
    run = commands.add_parser("run", help="measure")
    run.add_argument("--out", type=Path, default=ROOT / "outputs/gpu", help="directory of the results")
    run.add_argument("--limit", type=float, default=570, help="seconds that the run may take (default: 570)")
    run.add_argument("--tiny", action="store_true", help="try everything on a CPU")
    run.add_argument("--part", choices=PARTS, help="measure this part alone, in this process")
    options = parser.parse_args()
    if options.command == "prepare":
        prepare_folder(options.images, options.python)
    elif options.part:
        PARTS[options.part][0](Size(options.tiny), options.out)
    else:
        run_parts(options.out.absolute(), options.limit, tiny=options.tiny)


def prepare_folder(images: Path | None, python: str) -> None:
    """Fill ``.gpu/``, which Git ignores: ``packages/``, and ``images.tar.xz`` if ``images`` is given."""
    pins = [line.partition(" ;")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines()]
    wanted = [pin for pin in pins if pin.partition("==")[0] in PACKAGES]
    if missing := set(PACKAGES) - {pin.partition("==")[0] for pin in wanted}:
        raise SystemExit(f"requirements.lock does not pin {', '.join(sorted(missing))}")
    target = CARRIED / "packages"
    shutil.rmtree(target, ignore_errors=True)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not uv:
        raise SystemExit("`prepare` needs uv, which `make setup` installs")
    command = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(target),
        "--python-version",
        python,
        *wanted,
    ]
    subprocess.run(command, check=True)
    if images:
        shutil.copyfile(images, CARRIED / "images.tar.xz")
    size = sum(path.stat().st_size for path in CARRIED.rglob("*") if path.is_file())
    print(f"{CARRIED}: {size / 2**20:.0f} MiB. There: python3 benchmarks/training/gpu.py run --out DIR")


def run_parts(out: Path, limit: float, *, tiny: bool) -> None:
    """Measure every part in a process of its own, as long as time is left; a part that fails does not end the others.

    Args:
        out: The directory of the results, which begins empty.
        limit: How many seconds there are.
        tiny: Whether to try everything on a CPU.
    """
    end = time.monotonic() + limit
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name, (_, least) in PARTS.items():
        left = end - time.monotonic()
        if left < least and not tiny:
            _record(out, {"part": name, "left out": f"{left:.0f} s were left of {limit:.0f}"})
            continue
        print(f"== {name}: {left:.0f} s are left", flush=True)
        command = [
            sys.executable,
            "-u",
            __file__,
            "run",
            "--out",
            str(out),
            "--part",
            name,
            *(["--tiny"] if tiny else []),
        ]
        began = time.monotonic()
        try:
            code = subprocess.run(command, env=_make_environment(), timeout=left, check=False).returncode
            failure = {"failed": f"exit code {code}"} if code else {}
        except subprocess.TimeoutExpired:
            failure = {"failed": "it ran out of time"}
        _record(out, {"part": name, "seconds": round(time.monotonic() - began, 1), **failure})
        (out / "results.md").write_text(format_results(out), encoding="utf-8")
    (out / "results.md").write_text(format_results(out), encoding="utf-8")
    print((out / "results.md").read_text(encoding="utf-8"))
    if any("failed" in record for record in _read(out)):
        raise SystemExit(1)


def _make_environment() -> dict[str, str]:
    """Let processes find this repository first, and carried packages last: those of the machine fit its torch."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    installed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    places = [str(ROOT), str(ROOT / "src"), installed, str(CARRIED / "packages")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "WANDB_MODE": "disabled", "PYTHONUNBUFFERED": "1"}


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
    _record(out, {"machine": card, "cores": os.cpu_count(), "tiny": size.tiny, **versions, **seconds})


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
    _record(out, {"peak": limit})
    for network in size.networks:
        flops = _count_flops(_compose(size, out, f"model={network}"))
        for compiled in size.compiled:
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
            found = {
                "images/s": speed,
                "plain images/s": reference,
                "ratio": speed / reference,
                "GFLOP/image": flops / 1e9,
            }
            _record(out, {"network": network, "compiled": compiled, **found, "MFU": share})


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
    _record(out, {"accuracy": accuracy, "epochs": size.epochs, "seconds": time.perf_counter() - began})


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
        _record(out, {"agents": agents, "trials": trials, **_find_rate(place / "sweep", agents)})


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


def _record(out: Path, found: dict[str, Any]) -> None:
    print(found, flush=True)
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps(found) + "\n")


def _read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def format_results(out: Path) -> str:
    """Return the results so far as Markdown, one table for records of the same kind."""
    lines: list[str] = []
    columns: list[str] = []
    for record in _read(out):
        if list(record) != columns:
            columns = list(record)
            lines += ["", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        lines.append(f"| {' | '.join(_format(value) for value in record.values())} |")
    return "\n".join([*lines, ""]).lstrip("\n")


def _format(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


PARTS: dict[str, tuple[Callable[[Size, Path], None], float]] = {
    "images": (load_images, 0),
    "throughput": (measure_throughput, 60),
    "accuracy": (reach_accuracy, 100),
    "agents": (count_trials, 60),
}
"""Each part's function, and with how many seconds left it is begun."""


if __name__ == "__main__":
    main()
