"""A sweep whose agents can be held in each phase of a trial and struck, and the count of what became of its trials."""

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
from wandbsweep.controllers.trial_table import OUTCOME, TrialTable, read_outcome
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
class Counted:
    """What became of one trial."""

    number: int
    lost: int = 0
    duplicated: int = 0
    repeated: int = 0
    unreported: int = 0
    """How many of its epochs' values the sweep does not know, though it finished."""
    attempts: int = 0
    state: str = ""


@dataclass
class Sweep:
    """A sweep of the application whose agents can be held and struck."""

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

    def command(self, *more: str, joins: bool = False) -> list[str]:
        """``joins``: a sweep runs what it was started with, and other overrides are refused."""
        said = [
            f"hydra.sweep.dir={self.directory}",
            f"hydra/launcher={self.launcher}",
            f"hydra.sweeper.agents={self.agents}",
            *(line for line in self.overrides if line.startswith(("hydra.launcher.", "hydra.searchpath"))),
        ]
        start = [sys.executable, str(APP / "app.py"), "-m", "hydra/sweeper=wandbsweep", *said]
        if joins:
            return [*start, f"hydra.sweeper.sweep_id={self.plan.sweep_id}", *more]
        fresh = [
            f"hydra.sweeper.lease_s={self.lease_s}",
            f"++sweep.run_cap={self.trials}",
            "hydra.sweeper.seed=1",
            *(["hydra.sweeper.storage='${oc.env:FAULTS_DATABASE}'"] if self.database else []),
        ]
        own = [line for line in self.overrides if line not in said]
        return [*start, *fresh, *own, *more]

    def launch(self, *more: str, joins: bool = False) -> subprocess.Popen[bytes]:
        """Start the launching process, in a session of its own."""
        ours = {"OMP_NUM_THREADS": "1", "FAULTS": str(self.directory)}
        if self.database:
            # Here as well, where the sweep is read.
            ours["FAULTS_DATABASE"] = os.environ["FAULTS_DATABASE"] = self.database.url_through_proxy
        if self.held:
            self.holds.mkdir(exist_ok=True)
            ours |= {"HOLDS": str(self.holds), "PYTHONPATH": str(APP / "agents")}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command(*more, joins=joins),
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
            raise AssertionError(f"the launching process goes on and on\n{self.said()}") from None

    def join(self, *more: str) -> int:
        """Resume it, and wait for the end."""
        return self.wait(self.launch(*more, joins=True))

    @property
    def plan(self) -> LaunchRecord:
        return LaunchRecord.load(self.directory)

    def kill(self) -> None:
        """All that is left of it here."""
        for process in self.starts:
            process.kill()
            process.wait()
        kill(self.processes())

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    # -- who is who -------------------------------------------------------------------------------------------------

    def await_held(self) -> dict[str, dict[str, Any]]:
        """Who is held in each phase, once all are."""

        def all_held() -> bool:
            codes = [process.poll() for process in self.starts]
            assert None in codes or "detach" in " ".join(self.overrides), f"it ended already: {codes}\n{self.said()}"
            return all((self.holds / f"{phase}.json").exists() for phase in PHASES)

        wait_until(all_held, "agents in all phases", within_s=PATIENCE_S)
        return {phase: json.loads((self.holds / f"{phase}.json").read_text()) for phase in PHASES}

    def let_go(self) -> None:
        (self.holds / "go").touch()

    def processes(self, kind: str = "") -> list[int]:
        """This sweep's processes, by what they are: ``agent``, ``warm`` (warm parents), ``trial``, or all."""
        mark = f"FAULTS={self.directory}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((int(entry.name), kind_of(entry)))
        return [pid for pid, its in found if kind in ("", its)]

    def agent_of(self, pid: int) -> int:
        """The agent that ``pid`` belongs to: itself, or the parent of its warm parent."""
        while kind_of(Path("/proc", str(pid))) in ("warm", "trial"):
            pid = parent_of(pid)
        return pid

    def warm_of(self, agent: int) -> list[int]:
        return [pid for pid in self.processes("warm") if parent_of(pid) == agent]

    def await_end(self) -> None:
        """Every trial has ended, and every agent has."""

        def all_ended() -> bool:
            records = self.read_table()[0].records()
            return len(records) == self.trials and all(record.ended for record in records)

        wait_until(all_ended, "all trials to end", within_s=PATIENCE_S)
        wait_until(lambda: not self.processes("agent"), "all agents to end", within_s=PATIENCE_S)

    # -- what came of it --------------------------------------------------------------------------------------------

    def read_table(self) -> tuple[TrialTable, list[Any]]:
        url, study = locate_storage(self.directory, self.plan)
        attempts = open_reader(self.directory, study, url).changes()
        table = TrialTable()
        table.update(attempts)
        return table, list(attempts)

    def attempts(self, number: int) -> int:
        return open_sweep(self.directory).trials[number].attempts

    def number_of(self, holder: Mapping[str, Any]) -> int:
        if "number" in holder:
            return int(holder["number"])
        number = self.read_table()[0].find_number(holder["key"])
        assert number is not None
        return number

    def account(self) -> list[Counted]:
        """Each trial: whether it ended, how many of its attempts did, which epochs were trained again."""
        table, attempts = self.read_table()
        ends = Counter(
            table.find_number(attempt.key)
            for attempt in attempts
            if OUTCOME in attempt.attributes and attempt.closed and read_outcome(attempt).state in ENDED
        )
        records = {record.number: record for record in table.records()}
        return [self._counted(number, records.get(number), ends[number]) for number in range(self.trials)]

    def _counted(self, number: int, record: TrialRecord | None, ends: int) -> Counted:
        if record is None:
            return Counted(number, lost=1, state="never given out")
        notes = self.directory / str(number) / "epochs.jsonl"
        trained = [json.loads(line)["epoch"] for line in notes.read_text().splitlines()] if notes.exists() else []
        return Counted(
            number,
            lost=int(record.state not in ENDED),
            duplicated=max(0, ends - 1),
            repeated=max([0, *(count - 1 for count in Counter(trained).values())]),
            unreported=EPOCHS - len(record.reports) if record.state == "finished" else 0,
            attempts=record.attempts,
            state=record.state,
        )


def kind_of(process: Path) -> str:
    words = (process / "cmdline").read_bytes().split(b"\0")
    if b"submitit.core._submit" in words and b"python" in words[0]:  # and not the srun that started it
        return "agent"
    if not any(b"wandbsweep.agent.child" in word for word in words):
        return "other"
    parent = Path("/proc", str(parent_of(int(process.name))), "cmdline")
    return "trial" if b"wandbsweep.agent.child" in parent.read_bytes() else "warm"


def parent_of(pid: int) -> int:
    return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextmanager
def made(directory: Path, **options: Any) -> Iterator[Sweep]:
    sweep = Sweep(directory, **options)
    try:
        yield sweep
    finally:
        sweep.kill()
