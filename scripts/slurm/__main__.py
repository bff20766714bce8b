"""``python -m scripts.slurm up|down [DIRECTORY]``: start, or stop, a SLURM cluster on this machine."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

from scripts.daemons import MARK, ServiceError
from scripts.debian import Unavailable
from scripts.slurm.cluster import Cluster, Size

DIRECTORY = Path(tempfile.gettempdir(), f"wandbsweep-slurm-{os.getuid()}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.slurm", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY, help="default: %(default)s")
    parser.add_argument("--nodes", type=int, default=Size.nodes, help="default: %(default)s")
    parser.add_argument("--gpus", type=int, default=Size.gpus, help="of each node; default: %(default)s")
    given = parser.parse_args()
    cluster = Cluster(given.directory, Size(nodes=given.nodes, gpus=given.gpus))
    with open(f"{cluster.directory}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            up(cluster) if given.command == "up" else down(cluster)
        except (Unavailable, ServiceError) as error:
            sys.exit(f"slurm-{given.command}: {error}")


def up(cluster: Cluster) -> None:
    began = time.monotonic()
    cluster.up()
    nodes, gpus = cluster.size.nodes, cluster.size.gpus
    print(f"# SLURM is up after {time.monotonic() - began:.1f} s: {nodes} nodes with {gpus} GPUs each. To use it:")
    print(cluster.exports())


def down(cluster: Cluster) -> None:
    if not (cluster.directory / MARK).exists():
        print(f"Nothing to stop in {cluster.directory}.")
        return
    cluster.remove()
    print("SLURM is down.")


if __name__ == "__main__":
    main()
