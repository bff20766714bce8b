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
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gpu_parts import CARRIED, PARTS, ROOT, Size
from gpu_records import format_results, read_records, record

PACKAGES = (
    *("hydra-core", "omegaconf", "antlr4-python3-runtime", "optuna", "alembic", "mako", "colorlog", "sqlalchemy"),
    *("shtab", "cloudpickle", "threadpoolctl", "rich", "markdown-it-py", "mdurl", "pygments", "filelock", "tqdm"),
    *("lightning", "lightning-utilities", "torchmetrics", "packaging"),
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
            record(out, {"part": name, "left out": f"{left:.0f} s were left of {limit:.0f}"})
            continue
        print(f"== {name}: {left:.0f} s are left", flush=True)
        command = [sys.executable, "-u", __file__, "run", "--out", str(out), "--part", name]
        began = time.monotonic()
        code = run_session([*command, "--tiny"] if tiny else command, left)
        failure = {} if code == 0 else {"failed": "it ran out of time" if code is None else f"exit code {code}"}
        record(out, {"part": name, "seconds": round(time.monotonic() - began, 1), **failure})
        (out / "results.md").write_text(format_results(out), encoding="utf-8")
    (out / "results.md").write_text(format_results(out), encoding="utf-8")
    print((out / "results.md").read_text(encoding="utf-8"))
    if any("failed" in found for found in read_records(out)):
        raise SystemExit(1)


def run_session(command: Sequence[str], seconds: float) -> int | None:
    """Run ``command`` in a session of its own, and end all processes of that session afterwards.

    Args:
        command: The command.
        seconds: How long it may take.

    Returns:
        Its exit code; None: it took longer, and was ended.
    """
    process = subprocess.Popen(command, env=_make_environment(), start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        for how, until in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            end = time.monotonic() + until
            for pid in list_session(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, how)
            while list_session(process.pid) and time.monotonic() < end:
                process.poll()
                time.sleep(0.1)
        process.wait()


def list_session(session: int) -> list[int]:
    """Return the processes of a session that have not ended. An agent's have process groups of their own."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, own = stat.read_text().rpartition(")")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.append(int(stat.parent.name))
    return found


def _make_environment() -> dict[str, str]:
    """Let processes find this repository first, and carried packages last: those of the machine fit its torch."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    installed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    places = [str(ROOT), str(ROOT / "src"), installed, str(CARRIED / "packages")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "WANDB_MODE": "disabled", "PYTHONUNBUFFERED": "1"}


if __name__ == "__main__":
    main()
