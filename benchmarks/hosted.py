"""Measure a W&B trial's overhead before it trains: our agent, and ``wandb agent``, which starts a process per run.

Both run the same sweep of short digits trials against the tests' loopback server, one after the other. The overhead is
the time from the server's command to the first epoch's metrics, by wandb's time stamps; it includes one epoch of about
0.05 s. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # tests/ is not installed

from tests.hosted.parts import make_environment  # noqa: E402
from tests.hosted.server import WandbServer  # noqa: E402

SWEEP = {
    "program": "train.py",
    "command": ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"],
    "method": "random",
    "metric": {"name": "val/loss", "goal": "minimize"},
    "parameters": {
        "optimizer.lr": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 1.0e-2},
        "trainer.max_epochs": {"value": 3},
        "trainer.enable_checkpointing": {"value": False},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10)
    trials = parser.parse_args().trials
    print("| 10 short digits trials | to the first epoch, median | the first | a trial in all |\n|---|---|---|---|")
    ours = measure(trials, run_our_agent, "our agent (isolation=none)", "none")
    forked = measure(trials, run_our_agent, "our agent (isolation=process)", "process")
    stock = measure(trials, run_stock_agent, "`wandb agent`")
    print(f"\nTimes as fast as `wandb agent`: {stock / ours:.1f} in the agent, {stock / forked:.1f} forked.")


def measure(trials, run, name, *options) -> float:
    """One sweep; prints its row, and returns the median overhead of its trials but the first."""
    with tempfile.TemporaryDirectory() as folder, WandbServer() as server:
        home = Path(folder)
        for own in [key for key in os.environ if key.startswith(("WANDB_", "SLURM_"))]:
            del os.environ[own]  # the user's own, such as WANDB_MODE
        os.environ.update(make_environment(server, home) | {"OMP_NUM_THREADS": "1"})
        start = time.monotonic()
        run(server, home, trials, *options)
        each = (time.monotonic() - start) / trials
        runs = list(server.runs.values())
        assert [run.state for run in runs] == ["finished"] * trials, [run.state for run in runs]
        first, *others = [run.history[0]["_timestamp"] - run.at for run in runs]
    median = statistics.median(others or [first])
    print(f"| {name} | {median:.2f} s | {first:.2f} s | {each:.2f} s |", flush=True)
    return median


def run_our_agent(server, home, trials, isolation) -> None:
    (home / "digits.yaml").write_text(yaml.safe_dump(SWEEP | {"run_cap": trials}))
    (home / "conf" / "sweep").mkdir(parents=True)
    (home / "digits.yaml").rename(home / "conf" / "sweep" / "benchmark.yaml")
    command = [sys.executable, "train.py", "-m", "hydra/sweeper=wandbsweep", "hydra.sweeper.controller=wandb"]
    options = [f"hydra.sweeper.isolation={isolation}", f"hydra.sweep.dir={home}/sweep", "sweep=benchmark"]
    call([*command, *options, f"hydra.searchpath=[file://{home}/conf]"])


def run_stock_agent(server, home, trials) -> None:
    (home / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    wandb = str(Path(sys.executable).with_name("wandb"))
    call([wandb, "sweep", str(home / "sweep.yaml")])
    (sweep_id,) = server.sweeps
    call([wandb, "agent", "--count", str(trials), f"team/digits/{sweep_id}"])


def call(command) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
