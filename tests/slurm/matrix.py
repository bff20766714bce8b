"""Faults at every phase of a trial, on real agents: what each does to the sweep, counted.

One sweep is one fault: four of its five agents are held, one while it asks, one while it trains, one in the middle of
a checkpoint, one while it completes a trial; the fault strikes all four, they are let go, and the sweep has to end.
``python -m tests.slurm.matrix`` runs all of them, and prints the table of docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.daemons import ServiceError, wait_until
from scripts.databases import PostgreSQL
from scripts.slurm.cluster import Cluster
from tests.services.fixtures import Database
from wandbsweep import open_sweep
from wandbsweep.controllers.ledger import OUTCOME, Ledger, outcome_of
from wandbsweep.controllers.store import open_storage
from wandbsweep.plan import Plan
from wandbsweep.sweepdir import storage_of
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
    def plan(self) -> Plan:
        return Plan.load(self.directory)

    def kill(self) -> None:
        """All that is left of it here."""
        for process in self.starts:
            process.kill()
            process.wait()
        _kill(self.processes())

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
                    found.append((int(entry.name), _kind(entry)))
        return [pid for pid, its in found if kind in ("", its)]

    def agent_of(self, pid: int) -> int:
        """The agent that ``pid`` belongs to: itself, or the parent of its warm parent."""
        while _kind(Path("/proc", str(pid))) in ("warm", "trial"):
            pid = _parent(pid)
        return pid

    def warm_of(self, agent: int) -> list[int]:
        return [pid for pid in self.processes("warm") if _parent(pid) == agent]

    def await_end(self) -> None:
        """Every trial has ended, and every agent has."""

        def all_ended() -> bool:
            records = self.ledger()[0].records()
            return len(records) == self.trials and all(record.ended for record in records)

        wait_until(all_ended, "all trials to end", within_s=PATIENCE_S)
        wait_until(lambda: not self.processes("agent"), "all agents to end", within_s=PATIENCE_S)

    # -- what came of it --------------------------------------------------------------------------------------------

    def ledger(self) -> tuple[Ledger, list[Any]]:
        url, study = storage_of(self.directory, self.plan)
        storage = open_storage(self.directory, url)
        attempts = storage.get_all_trials(storage.get_study_id_from_name(study), deepcopy=False)
        ledger = Ledger()
        ledger.update(attempts)
        storage.remove_session()
        return ledger, attempts

    def attempts(self, number: int) -> int:
        return open_sweep(self.directory).trials[number].attempts

    def number_of(self, holder: Mapping[str, Any]) -> int:
        if "number" in holder:
            return int(holder["number"])
        number = self.ledger()[0].number_of(holder["key"])
        assert number is not None
        return number

    def account(self) -> list[Counted]:
        """Each trial: whether it ended, how many of its attempts did, which epochs were trained again."""
        ledger, attempts = self.ledger()
        ends = Counter(
            ledger.number_of(attempt._trial_id)
            for attempt in attempts
            if attempt.state.is_finished() and OUTCOME in attempt.system_attrs and outcome_of(attempt)["state"] in ENDED
        )
        records = {record.number: record for record in ledger.records()}
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


def _kind(process: Path) -> str:
    words = (process / "cmdline").read_bytes().split(b"\0")
    if b"submitit.core._submit" in words and b"python" in words[0]:  # and not the srun that started it
        return "agent"
    if not any(b"wandbsweep.forking" in word for word in words):
        return "other"
    parent = Path("/proc", str(_parent(int(process.name))), "cmdline")
    return "trial" if b"wandbsweep.forking" in parent.read_bytes() else "warm"


def _parent(pid: int) -> int:
    return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])


# -- faults ---------------------------------------------------------------------------------------------------------

Holders = Mapping[str, Mapping[str, Any]]


def kill_trials(sweep: Sweep, holders: Holders) -> None:
    """Where there is none, its warm parent."""
    for holder in holders.values():
        pids = [holder["pid"]] if "number" in holder else sweep.warm_of(holder["pid"])
        _kill(pids)


def kill_agents(sweep: Sweep, holders: Holders) -> None:
    """Their trials die with them, which is waited for."""
    _kill([sweep.agent_of(holder["pid"]) for holder in holders.values()])
    wait_until(
        lambda: not any(_lives(holder["pid"]) for holder in holders.values()), "their trials to die", within_s=30
    )


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    with suppress(OSError):
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def kill_launcher(sweep: Sweep, holders: Holders) -> None:
    sweep.starts[-1].kill()
    sweep.starts[-1].wait()


def interrupt_agents(signum: signal.Signals) -> Callable[[Sweep, Holders], None]:
    def interrupt(sweep: Sweep, holders: Holders) -> None:
        """As SLURM does: every process of the agent."""
        for holder in holders.values():
            agent = sweep.agent_of(holder["pid"])
            for pid in {holder["pid"], agent, *sweep.warm_of(agent)}:
                os.kill(pid, signum)

    return interrupt


def fill_disk(sweep: Sweep, holders: Holders) -> None:
    """The journal can grow by some bytes, and no more: what is written next is torn, and fails.

    A limit on the agents' file sizes stands for the disk. It is lifted after half a lease's time.
    """
    agents = [sweep.agent_of(holder["pid"]) for holder in holders.values()]
    size = (sweep.directory / "journal.log").stat().st_size
    before = {agent: resource.prlimit(agent, resource.RLIMIT_FSIZE) for agent in agents}
    for agent in agents:
        resource.prlimit(agent, resource.RLIMIT_FSIZE, (size + 10, before[agent][1]))
    sweep.let_go()
    time.sleep(LEASE_S / 2)  # how long it is full
    for agent in agents:
        with suppress(ProcessLookupError):
            resource.prlimit(agent, resource.RLIMIT_FSIZE, before[agent])


def tear_journal(sweep: Sweep, holders: Holders) -> None:
    """Everybody dies, somebody in the middle of writing a line."""
    last = _all_die(sweep)
    with (sweep.directory / "journal.log").open("ab") as journal:
        journal.write(last[: len(last) // 2])


def truncate_journal(sweep: Sweep, holders: Holders) -> None:
    """Everybody dies with the machine, and half of the last line, which was whole once, did not get to the disk."""
    last = _all_die(sweep)
    journal = sweep.directory / "journal.log"
    os.truncate(journal, journal.stat().st_size - len(last) // 2)


def _all_die(sweep: Sweep) -> bytes:
    """The journal's last line then."""
    _kill(sweep.processes())
    sweep.starts[-1].wait()
    wait_until(lambda: not sweep.processes(), "all to die", within_s=30)
    return (sweep.directory / "journal.log").read_bytes().splitlines(keepends=True)[-1]


def jump(off_s: float) -> Callable[[Sweep, Holders], None]:
    def strike(sweep: Sweep, holders: Holders) -> None:
        (sweep.holds / "clock.new").write_text(str(off_s))
        (sweep.holds / "clock.new").rename(sweep.holds / "clock")

    return strike


# -- SLURM's own ----------------------------------------------------------------------------------------------------


def requeue(sweep: Sweep, holders: Holders) -> None:
    for holder in holders.values():
        sweep.on.requeue(holder["job"])


def cancel_tasks(sweep: Sweep, holders: Holders) -> None:
    sweep.on.cancel(*(holder["job"] for holder in holders.values()))


def preempt(sweep: Sweep, holders: Holders) -> None:
    """A job of the partition ``high`` that needs all nodes: it waits for what it drives out."""
    cluster = sweep.on
    cluster.submit("true", "--exclusive", f"--nodes={cluster.size.nodes}", partition="high")
    wait_until(lambda: not _alive(holders), "the jobs to be driven out", within_s=60)


def lose_nodes(sweep: Sweep, holders: Holders) -> None:
    """Their slurmd is killed, and the steps run on, as behind a cut cable, until others have their trials.

    There they could not renew their leases; here the agents are suspended, and wake when it is too late.
    """
    agents = {phase: sweep.agent_of(holder["pid"]) for phase, holder in holders.items()}
    nodes = {_variable(agent, "SLURMD_NODENAME") for agent in agents.values()}
    before = {number: sweep.attempts(number) for number in map(sweep.number_of, holders.values())}
    for agent in agents.values():
        os.kill(agent, signal.SIGSTOP)
    for node in nodes:  # and stays lost: a slurmd that comes back ends what it finds
        sweep.on.lose_node(node, jobs=False)

    def taken_over() -> bool:
        records = sweep.ledger()[0].records()
        return all(records[number].attempts > n or records[number].ended for number, n in before.items())

    wait_until(taken_over, "others to have the trials of the zombies", within_s=PATIENCE_S)
    sweep.let_go()
    for agent in agents.values():
        with suppress(ProcessLookupError):
            os.kill(agent, signal.SIGCONT)


def end_time(sweep: Sweep, holders: Holders) -> None:
    """The jobs' limits are set to what they have used up: USR2 comes at once, and TERM within a minute."""
    for holder in holders.values():
        sweep.on.run("scontrol", "update", f"jobid={holder['job']}", "timelimit=1")
    wait_until(lambda: not _alive(holders), "the jobs to be ended by their time limit", within_s=120)


def _alive(holders: Holders) -> bool:
    return any(_lives(holder["pid"]) for holder in holders.values())


def _variable(pid: int, name: str) -> str:
    lines = Path("/proc", str(pid), "environ").read_bytes().decode().split("\0")
    return dict(line.partition("=")[::2] for line in lines)[name]


# -- a database's ---------------------------------------------------------------------------------------------------


def restart_database(sweep: Sweep, holders: Holders) -> None:
    sweep.within.server.stop()
    sweep.let_go()
    time.sleep(LEASE_S / 2)  # how long it is away
    sweep.within.server.start()


def kill_database(sweep: Sweep, holders: Holders) -> None:
    sweep.within.server.kill()
    sweep.let_go()
    sweep.within.server.start()


def cut_network(*, silently: bool) -> Callable[[Sweep, Holders], None]:
    def cut(sweep: Sweep, holders: Holders) -> None:
        sweep.within.proxy.cut(silently=silently)
        sweep.let_go()
        time.sleep(1.5 * LEASE_S)  # how long it is cut: longer than a lease lasts
        sweep.within.proxy.heal()

    return cut


@dataclass(frozen=True)
class Fault:
    strike: Callable[[Sweep, Holders], None]
    rejoin: bool = False
    """Whether nothing is left of the sweep, and somebody has to go on with it."""


LOCAL: dict[str, Fault] = {
    "SIGKILL the trial's process": Fault(kill_trials),
    "SIGKILL the agent": Fault(kill_agents),
    "SIGKILL the launching process": Fault(kill_launcher),
    "SIGTERM to all of a job": Fault(interrupt_agents(signal.SIGTERM)),
    "submitit's signal (USR2) to all of a job": Fault(interrupt_agents(signal.SIGUSR2)),
    "disk full while writing the journal": Fault(fill_disk),
    "everybody killed, a line of the journal half written": Fault(tear_journal, rejoin=True),
    "everybody killed, the journal truncated mid-line": Fault(truncate_journal, rejoin=True),
    "clock jumps ahead a minute": Fault(jump(60.0)),
    "clock jumps back a minute": Fault(jump(-60.0)),
}


ON_SLURM: dict[str, Fault] = {
    "node lost, its steps run on (zombies)": Fault(lose_nodes),
    "scontrol requeue": Fault(requeue),
    "preemption by a higher partition": Fault(preempt),
    "time limit": Fault(end_time),
    "scancel of the task": Fault(cancel_tasks),
}


ON_DATABASE: dict[str, Fault] = {
    "database restarted": Fault(restart_database),
    "database killed": Fault(kill_database),
    "network to the database cut": Fault(cut_network(silently=False)),
    "network to the database silent": Fault(cut_network(silently=True)),
}


def run(sweep: Sweep, fault: Fault, *, launched_too: bool = False) -> dict[str, Counted]:
    """Strike one sweep; the four trials by the phase they were in. Raises AssertionError where another was harmed.

    ``launched_too``: see the launching process to its end as well.
    """
    launched = sweep.launch()
    holders = sweep.await_held()
    numbers = {phase: sweep.number_of(holder) for phase, holder in holders.items()}
    fault.strike(sweep, holders)
    sweep.let_go()
    if fault.rejoin:
        sweep.join()
    sweep.await_end()
    if launched_too:  # submitit asks 15 s long for what a job that died may have returned
        sweep.wait(launched)
    account = sweep.account()
    others = [c for c in account if c.number not in numbers.values() and (c.lost or c.duplicated or c.repeated > 1)]
    assert not others, f"{others}\n{sweep.said()}"
    return {phase: account[number] for phase, number in numbers.items()}


SLURM = [
    f"hydra.searchpath=[file://{ROOT}/conf]",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "hydra.launcher.timeout_min=60",
    "hydra.launcher.signal_delay_s=30",
]


@contextmanager
def made(directory: Path, **options: Any) -> Iterator[Sweep]:
    sweep = Sweep(directory, **options)
    try:
        yield sweep
    finally:
        sweep.kill()


# -- at random ------------------------------------------------------------------------------------------------------


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

    def remove(self) -> None:
        if self.cluster:
            self.cluster.remove()
        if self.server:
            self.server.remove()


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
    with tempfile.TemporaryDirectory(prefix="wandbsweep-faults-", ignore_cleanup_errors=True) as place:
        os.chmod(place, 0o755)  # servers run as other users
        places = Places(Path(place))
        print(f"| fault | {' | '.join(PHASES)} |\n|---|{'---|' * len(PHASES)}", flush=True)
        try:
            for name in chosen:
                try:
                    print(measure(name, faults[name], places, runs=options.runs), flush=True)
                except (AssertionError, TimeoutError, ServiceError) as error:
                    failed += 1
                    print(f"| {name} | {error} |", flush=True)
                    places.tidy()
            if options.kills:
                failed += not at_random(scratch(places.directory, "random"), options.kills)
        finally:
            places.remove()
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
