"""Faults at every phase of a trial, on real agents: what each does to the sweep, counted.

One sweep is one fault: four of its five agents are held, one while it asks, one while it trains, one in the middle of
a checkpoint, one while it completes a trial; the fault strikes all four, they are let go, and the sweep has to end.
``python -m tests.slurm.matrix`` runs all of them, and prints the table of docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.daemons import ServiceError
from scripts.databases import PostgreSQL
from scripts.server_directory import server_directory
from scripts.slurm.cluster import Cluster
from tests.services.fixtures import Database
from tests.slurm.faults import LOCAL, ON_DATABASE, ON_SLURM, SLURM, Fault, run
from tests.slurm.held import ENDED, EPOCHS, PHASES, Counted, Sweep, made


def random_kills(sweep: Sweep, *, kills: int, seed: int, pause_s: tuple[float, float]) -> Counter[str]:
    """Kill up to so many processes of ``sweep`` at random moments, and see it end; how many of which kind."""
    rng, killed = random.Random(seed), Counter[str]()
    launched = sweep.launch()
    while sum(killed.values()) < kills:
        time.sleep(rng.uniform(*pause_s))
        kind = rng.choice(["agent", "agent", "trial", "trial", "trial", "warm", "launcher"])
        if launched.poll() is not None:
            if all(counted.state in ENDED for counted in sweep.account()):
                break
            assert launched.returncode != 2, sweep.said()
            launched = sweep.launch(joins=True)
        if kind == "launcher":
            if not sweep.processes("agent"):
                continue
            launched.kill()
            launched.wait()
        else:
            pids = sorted(sweep.processes(kind))
            if not pids:
                continue
            with suppress(ProcessLookupError):
                os.kill(rng.choice(pids), signal.SIGKILL)
        killed[kind] += 1
    if launched.poll() is None:
        sweep.wait(launched)
    for _ in range(3):
        if all(not counted.lost for counted in sweep.account()):
            break
        sweep.join()
    return killed


# -- the table ------------------------------------------------------------------------------------------------------


def line(name: str, cells: Mapping[str, list[Counted]]) -> str:
    shown = []
    for phase in PHASES:
        seen = cells[phase]
        worst = max(counted.repeated for counted in seen)
        shown.append(f"{sum(c.lost for c in seen)} / {sum(c.duplicated for c in seen)} / {worst}")
    return f"| {name} | {' | '.join(shown)} |"


def scratch(place: Path, name: str) -> Path:
    slug = "".join(letter if letter.isalnum() else "-" for letter in name)
    directory = place / slug
    shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(place / f"{slug}.holds", ignore_errors=True)
    return directory


@dataclass
class Places:
    """Where faults happen: servers come up when they are needed."""

    directory: Path
    cluster: Cluster | None = None
    server: PostgreSQL | None = None

    def options(self, name: str) -> dict[str, Any]:
        """Of the sweep that the fault ``name`` is to strike."""
        if name in ON_SLURM:
            self.cluster = self.cluster or Cluster(self.directory / "slurm")
            self.cluster.up()
            return {"cluster": self.cluster, "launcher": "slurm_gpu", "overrides": SLURM}
        if name in ON_DATABASE:
            self.server = self.server or PostgreSQL(self.directory / "postgres")
            self.server.up()
            return {"database": Database(self.server)}
        return {}

    def tidy(self) -> None:
        if self.cluster:
            self.cluster.up()
            self.cluster.cancel_all()


def measure(name: str, fault: Fault, places: Places, *, runs: int) -> str:
    """Strike ``runs`` sweeps; a line of the table."""
    cells: dict[str, list[Counted]] = {phase: [] for phase in PHASES}
    for _ in range(runs):
        options = places.options(name)
        with made(scratch(places.directory, name), **options) as sweep:
            try:
                for phase, counted in run(sweep, fault).items():
                    cells[phase].append(counted)
            finally:
                if database := options.get("database"):
                    database.close()
        places.tidy()
    return line(name, cells)


def main() -> int:
    faults = {**LOCAL, **ON_SLURM, **ON_DATABASE}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "faults", nargs="*", default=list(faults), metavar="FAULT", help="a part of its name; none: all"
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--kills", type=int, default=30, help="how many processes to kill at random; 0: do not")
    options = parser.parse_args()
    chosen = [name for name in faults if any(word in name for word in options.faults)]
    failed = 0
    with server_directory() as directory:
        places = Places(directory)
        print(f"| fault | {' | '.join(PHASES)} |\n|---|{'---|' * len(PHASES)}", flush=True)
        for name in chosen:
            try:
                print(measure(name, faults[name], places, runs=options.runs), flush=True)
            except (AssertionError, TimeoutError, ServiceError) as error:
                failed += 1
                print(f"| {name} | {error} |", flush=True)
                places.tidy()
        if options.kills:
            failed += not at_random(scratch(places.directory, "random"), options.kills)
    return 1 if failed else 0


def at_random(directory: Path, kills: int) -> bool:
    """Processes of a sweep of 60 trials killed at random; whether nothing was lost."""
    overrides = ["epoch_s=0.6", "hydra.sweeper.max_attempts=20"]
    with made(directory, trials=60, agents=4, held=False, overrides=overrides) as sweep:
        killed = random_kills(sweep, kills=kills, seed=1, pause_s=(0.2, 1.2))
        account = sweep.account()
    lost, twice = (sum(getattr(c, what) for c in account) for what in ("lost", "duplicated"))
    again, most = sum(c.repeated for c in account), max(c.attempts for c in account)
    print(f"\n{sum(killed.values())} kills ({dict(killed)}): lost {lost}, duplicated {twice},", end=" ")
    print(f"epochs trained again {again} of {60 * EPOCHS}, attempts at one trial at most {most}")
    return not (lost or twice)


if __name__ == "__main__":
    sys.exit(main())
