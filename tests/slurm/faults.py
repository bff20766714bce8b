"""What can strike a sweep: each fault hits four agents, one in each phase of a trial."""

import os
import resource
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.daemons import wait_until
from tests.slurm.held import LEASE_S, PATIENCE_S, ROOT, Counted, Sweep, kill, lives

Holders = Mapping[str, Mapping[str, Any]]


def kill_trials(sweep: Sweep, holders: Holders) -> None:
    """Where there is none, its warm parent."""
    for holder in holders.values():
        pids = [holder["pid"]] if "number" in holder else sweep.warm_of(holder["pid"])
        kill(pids)


def kill_agents(sweep: Sweep, holders: Holders) -> None:
    """Their trials die with them, which is waited for."""
    kill([sweep.agent_of(holder["pid"]) for holder in holders.values()])
    wait_until(lambda: not any(lives(holder["pid"]) for holder in holders.values()), "their trials to die", within_s=30)


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
    kill(sweep.processes())
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
        records = sweep.read_table()[0].records()
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
    return any(lives(holder["pid"]) for holder in holders.values())


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
