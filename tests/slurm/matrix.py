"""Strike real agents in every phase of a trial, and count what each fault does to the sweep.

Each sweep meets one fault. Four of its five agents are held: one while it asks, one while it trains, one in the middle
of a checkpoint, one while it completes a trial. The fault strikes all four, they are released, and the sweep has to
end. ``python -m tests.slurm.matrix`` runs all faults, and prints the table of docs/reliability.md.
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
from tests.slurm.held import ENDED, EPOCHS, PHASES, Sweep, TrialAccount, held_sweep


def random_kills(sweep: Sweep, *, kills: int, seed: int, pause_s: tuple[float, float]) -> Counter[str]:
    """Kill processes of a sweep at random moments, and wait for its end.

    Args:
        sweep: The sweep, which is launched here.
        kills: How many processes to kill, unless the sweep ends before.
        seed: Of the random numbers.
        pause_s: The shortest and the longest pause before a kill, in seconds.

    Returns:
        How many processes of each kind were killed.
    """
    rng, killed = random.Random(seed), Counter[str]()
    launched = sweep.launch()
    while sum(killed.values()) < kills:
        time.sleep(rng.uniform(*pause_s))
        kind = rng.choice(["agent", "agent", "trial", "trial", "trial", "fork server", "launcher"])
        if launched.poll() is not None:
            if all(counted.state in ENDED for counted in sweep.account()):
                break
            assert launched.returncode != 2, sweep.read_log()
            launched = sweep.launch(resume=True)
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
        sweep.resume_sweep()
    return killed


# -- the table ------------------------------------------------------------------------------------------------------


def format_row(name: str, cells: Mapping[str, list[TrialAccount]]) -> str:
    shown = []
    for phase in PHASES:
        seen = cells[phase]
        worst = max(counted.repeated for counted in seen)
        shown.append(f"{sum(c.lost for c in seen)} / {sum(c.duplicated for c in seen)} / {worst}")
    return f"| {name} | {' | '.join(shown)} |"


def make_scratch(place: Path, name: str) -> Path:
    slug = "".join(letter if letter.isalnum() else "-" for letter in name)
    directory = place / slug
    shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(place / f"{slug}.holds", ignore_errors=True)
    return directory


@dataclass
class Servers:
    """The servers of the sweeps, which are started when a fault needs them."""

    directory: Path
    cluster: Cluster | None = None
    server: PostgreSQL | None = None

    def options(self, name: str) -> dict[str, Any]:
        """The options of the sweep that the fault ``name`` strikes."""
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


def measure(name: str, fault: Fault, servers: Servers, *, runs: int) -> str:
    """Strike ``runs`` sweeps with a fault, and return a row of the table."""
    cells: dict[str, list[TrialAccount]] = {phase: [] for phase in PHASES}
    for _ in range(runs):
        options = servers.options(name)
        with held_sweep(make_scratch(servers.directory, name), **options) as sweep:
            try:
                for phase, counted in run(sweep, fault).items():
                    cells[phase].append(counted)
            finally:
                if database := options.get("database"):
                    database.close()
        servers.tidy()
    return format_row(name, cells)


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
        servers = Servers(directory)
        print(f"| fault | {' | '.join(PHASES)} |\n|---|{'---|' * len(PHASES)}", flush=True)
        for name in chosen:
            try:
                print(measure(name, faults[name], servers, runs=options.runs), flush=True)
            except (AssertionError, TimeoutError, ServiceError) as error:
                failed += 1
                print(f"| {name} | {error} |", flush=True)
                servers.tidy()
        if options.kills:
            failed += not strike_at_random(make_scratch(servers.directory, "random"), options.kills)
    return 1 if failed else 0


def strike_at_random(directory: Path, kills: int) -> bool:
    """Kill processes of a sweep of 60 trials at random; whether no trial was lost."""
    overrides = ["epoch_s=0.6", "hydra.sweeper.max_attempts=20"]
    with held_sweep(directory, trials=60, agents=4, held=False, overrides=overrides) as sweep:
        killed = random_kills(sweep, kills=kills, seed=1, pause_s=(0.2, 1.2))
        account = sweep.account()
    lost, twice = (sum(getattr(c, what) for c in account) for what in ("lost", "duplicated"))
    again, most = sum(c.repeated for c in account), max(c.attempts for c in account)
    print(f"\n{sum(killed.values())} kills ({dict(killed)}): lost {lost}, duplicated {twice},", end=" ")
    print(f"epochs trained again {again} of {60 * EPOCHS}, attempts at one trial at most {most}")
    return not (lost or twice)


if __name__ == "__main__":
    sys.exit(main())
