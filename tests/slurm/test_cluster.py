"""The throw-away cluster does what the other tests rely on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.daemons import Daemons, read_start_time
from scripts.slurm.cluster import Cluster

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_a_requeued_job_runs_again_within_seconds(slurm: Cluster) -> None:
    job = slurm.submit("sleep 1000")
    slurm.await_state(job, "RUNNING")
    slurm.requeue(job)
    slurm.await_state(job, "PENDING")
    slurm.await_state(job, "RUNNING", within_s=20)
    assert [run["State"] for run in slurm.read_accounting(job)][:1] == ["REQUEUED"]


def test_the_high_partition_takes_the_places_of_main(slurm: Cluster) -> None:
    # The signal that it asked for comes first.
    whole = ["--exclusive", f"--nodes={slurm.size.nodes}"]
    low = slurm.submit("trap 'echo warned; exit 0' USR2; sleep 1000 & wait", "--signal=B:USR2@60", *whole)
    slurm.await_state(low, "RUNNING")
    high = slurm.submit("true", *whole, partition="high")
    slurm.await_end(high)
    # SLURM's own remarks may follow.
    assert (slurm.directory / "submitted" / f"{low}.out").read_text().splitlines()[:1] == ["warned"]


def test_a_node_that_was_lost_comes_back(slurm: Cluster) -> None:
    job = slurm.submit("sleep 1000", "--nodelist=n1")
    slurm.await_state(job, "RUNNING")
    slurm.lose_node("n1")
    slurm.await_state(job, "PENDING")
    slurm.start_node("n1")
    slurm.await_state(job, "RUNNING")


def test_up_brings_back_what_died_and_leaves_the_rest(slurm: Cluster) -> None:
    names = slurm.daemons.names()
    before = {name: slurm.daemons.pid(name) for name in names}
    assert set(names) == {"munged", "slurmdbd", "slurmctld", *slurm.nodes}
    slurm.kill_node("n2")
    Cluster(slurm.directory).up()
    after = {name: slurm.daemons.pid(name) for name in names}
    assert {name for name in names if before[name] != after[name]} == {"n2"}


def test_from_the_command_line_again_and_after_a_kill(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = slurm.directory.parent / "by-hand"
    command = [sys.executable, "-m", "scripts.slurm"]

    def run(what: str) -> str:
        asked = [*command, what, str(place), "--nodes=1"]
        return subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    printed = run("up")
    found = subprocess.run(f"{printed}\nsinfo -h -o %G", shell=True, check=True, capture_output=True, text=True).stdout
    assert set(found.split()) == {"gpu:2"}
    killed = Daemons(place)
    first = killed.pid("slurmctld")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    run("up")
    assert killed.pid("slurmctld") not in (None, first)
    pids = [killed.pid(name) for name in killed.names()]
    assert "SLURM is down" in run("down")
    assert not place.exists()
    assert [read_start_time(pid) for pid in pids if pid] == [None] * 4
    assert "Nothing to stop" in run("down")
