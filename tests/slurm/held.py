"""A sweep whose agents are held in each phase of a trial, and what becomes of its trials after a fault."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.daemons import wait_until
from scripts.slurm.cluster import Cluster
from tests.services.fixtures import Database
from wandbsweep import open_sweep
from wandbsweep.controllers.trial_entry import OUTCOME, read_outcome
from wandbsweep.controllers.trial_table import TrialTable
from wandbsweep.storage.open import open_reader
from wandbsweep.sweep.directory import locate_storage
from wandbsweep.sweep.launch_record import LaunchRecord
from wandbsweep.trial import TrialRecord

ROOT = Path(__file__).parents[2]
APP = ROOT / "tests" / "apps" / "faults"
PHASES = ("asking", "training", "checkpointing", "completing")
TRIALS, EPOCHS, LEASE_S = 10, 3, 3.0
PATIENCE_S = 120
ENDED = ("finished", "stopped", "failed")


@dataclass
class TrialAccount:
    """What became of one trial. The counts are 0 if all is well."""

    number: int
    lost: int = 0
    """1: it did not end."""
    duplicated: int = 0
    """How often it ended after the first time."""
    repeated: int = 0
    """How often an epoch was trained again, at most."""
    unreported: int = 0
    """How many of its epochs' values the sweep lacks, if it finished."""
    attempts: int = 0
    state: str = ""


@dataclass
class Sweep:
    """A sweep of ``tests/apps/faults``."""

    directory: Path
    overrides: list[str] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)
    database: Database | None = None
    """None: a journal."""
    agents: int = 5
    trials: int = TRIALS
    held: bool = True
    lease_s: float = LEASE_S
    launcher: str = "submitit_local"
    cluster: Cluster | None = None
    starts: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def holds(self) -> Path:
        return self.directory.parent / f"{self.directory.name}.holds"

    @property
    def log(self) -> Path:
        return self.directory.parent / f"{self.directory.name}.log"

    @property
    def on(self) -> Cluster:
        assert self.cluster is not None
        return self.cluster

    @property
    def within(self) -> Database:
        assert self.database is not None
        return self.database

    def command(self, *more: str, resume: bool = False) -> list[str]:
        """The command line; with ``resume`` only those overrides that a resumed sweep accepts."""
        both = [
            f"hydra.sweep.dir={self.directory}",
            f"hydra/launcher={self.launcher}",
            f"hydra.sweeper.agents={self.agents}",
            *(line for line in self.overrides if line.startswith(("hydra.launcher.", "hydra.searchpath"))),
        ]
        start = [sys.executable, str(APP / "app.py"), "-m", "hydra/sweeper=wandbsweep", *both]
        if resume:
            return [*start, f"hydra.sweeper.sweep_id={self.plan.sweep_id}", *more]
        fresh = [
            f"hydra.sweeper.lease_s={self.lease_s}",
            f"++sweep.run_cap={self.trials}",
            "hydra.sweeper.seed=1",
            *(["hydra.sweeper.storage='${oc.env:FAULTS_DATABASE}'"] if self.database else []),
        ]
        own = [line for line in self.overrides if line not in both]
        return [*start, *fresh, *own, *more]

    def launch(self, *more: str, resume: bool = False) -> subprocess.Popen[bytes]:
        """Start the launching process, in a new session."""
        ours = {"OMP_NUM_THREADS": "1", "FAULTS": str(self.directory)}
        if self.database:
            # This process reads the sweep, so it needs the URL too.
            ours["FAULTS_DATABASE"] = os.environ["FAULTS_DATABASE"] = self.database.url_through_proxy
        if self.held:
            self.holds.mkdir(exist_ok=True)
            ours |= {"HOLDS": str(self.holds), "PYTHONPATH": str(APP / "agents")}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command(*more, resume=resume),
                cwd=self.directory.parent,
                env={**os.environ, **ours, **self.environment, **(self.cluster.environment if self.cluster else {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts.append(process)
        return process

    def wait(self, process: subprocess.Popen[bytes], within_s: float = PATIENCE_S) -> int:
        try:
            return process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the launching process does not end\n{self.read_log()}") from None

    def resume_sweep(self, *more: str) -> int:
        """Resume the sweep, and wait for its end."""
        return self.wait(self.launch(*more, resume=True))

    @property
    def plan(self) -> LaunchRecord:
        return LaunchRecord.load(self.directory)

    def kill(self) -> None:
        """Kill all its processes on this machine."""
        for process in self.starts:
            process.kill()
            process.wait()
        kill(self.processes())

    def read_log(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    # -- processes -------------------------------------------------------------------------------------------------

    def await_holders(self) -> dict[str, dict[str, Any]]:
        """Wait until an agent is held in each phase; what each wrote about itself."""

        def all_held() -> bool:
            codes = [process.poll() for process in self.starts]
            assert None in codes or "detach" in " ".join(self.overrides), (
                f"the sweep ended already: {codes}\n{self.read_log()}"
            )
            return all((self.holds / f"{phase}.json").exists() for phase in PHASES)

        wait_until(all_held, "agents in all phases", within_s=PATIENCE_S)
        return {phase: json.loads((self.holds / f"{phase}.json").read_text()) for phase in PHASES}

    def release(self) -> None:
        (self.holds / "go").touch()

    def processes(self, kind: str = "") -> list[int]:
        """The pids of this sweep's processes of a kind (``agent``, ``fork server`` or ``trial``), or of all."""
        mark = f"FAULTS={self.directory}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((int(entry.name), classify_process(entry)))
        return [pid for pid, its in found if kind in ("", its)]

    def find_agent(self, pid: int) -> int:
        """The agent that ``pid`` belongs to: itself, or the parent of its fork server."""
        while classify_process(Path("/proc", str(pid))) in ("fork server", "trial"):
            pid = read_parent(pid)
        return pid

    def find_fork_servers(self, agent: int) -> list[int]:
        return [pid for pid in self.processes("fork server") if read_parent(pid) == agent]

    def await_end(self) -> None:
        """Wait until every trial and every agent has ended."""

        def all_ended() -> bool:
            records = self.read_table()[0].records()
            return len(records) == self.trials and all(record.ended for record in records)

        wait_until(all_ended, "all trials to end", within_s=PATIENCE_S)
        wait_until(lambda: not self.processes("agent"), "all agents to end", within_s=PATIENCE_S)

    # -- results --------------------------------------------------------------------------------------------

    def read_table(self) -> tuple[TrialTable, list[Any]]:
        url, study = locate_storage(self.directory, self.plan)
        attempts = open_reader(self.directory, study, url).changes()
        table = TrialTable()
        table.update(attempts)
        return table, list(attempts)

    def attempts(self, number: int) -> int:
        return open_sweep(self.directory).trials[number].attempts

    def find_number(self, holder: Mapping[str, Any]) -> int:
        if "number" in holder:
            return int(holder["number"])
        number = self.read_table()[0].find_number(holder["key"])
        assert number is not None
        return number

    def account(self) -> list[TrialAccount]:
        """What became of each trial, by number."""
        table, attempts = self.read_table()
        ends = Counter(
            table.find_number(attempt.key)
            for attempt in attempts
            if OUTCOME in attempt.attributes and attempt.closed and read_outcome(attempt).state in ENDED
        )
        records = {record.number: record for record in table.records()}
        return [self._account_for(number, records.get(number), ends[number]) for number in range(self.trials)]

    def _account_for(self, number: int, record: TrialRecord | None, ends: int) -> TrialAccount:
        if record is None:
            return TrialAccount(number, lost=1, state="never given out")
        notes = self.directory / str(number) / "epochs.jsonl"
        trained = [json.loads(line)["epoch"] for line in notes.read_text().splitlines()] if notes.exists() else []
        return TrialAccount(
            number,
            lost=int(record.state not in ENDED),
            duplicated=max(0, ends - 1),
            repeated=max([0, *(count - 1 for count in Counter(trained).values())]),
            unreported=EPOCHS - len(record.reports) if record.state == "finished" else 0,
            attempts=record.attempts,
            state=record.state,
        )


def classify_process(process: Path) -> str:
    words = (process / "cmdline").read_bytes().split(b"\0")
    if b"submitit.core._submit" in words and b"python" in words[0]:  # not the srun that started it
        return "agent"
    if not any(b"wandbsweep.agent.child" in word for word in words):
        return "other"
    parent = Path("/proc", str(read_parent(int(process.name))), "cmdline")
    return "trial" if b"wandbsweep.agent.child" in parent.read_bytes() else "fork server"


def read_parent(pid: int) -> int:
    return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextmanager
def held_sweep(directory: Path, **options: Any) -> Iterator[Sweep]:
    sweep = Sweep(directory, **options)
    try:
        yield sweep
    finally:
        sweep.kill()
