"""Faults. Each strikes four agents at once, one in each phase of a trial."""

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
from tests.slurm.held import LEASE_S, PATIENCE_S, ROOT, Sweep, TrialAccount, is_alive, kill

Holders = Mapping[str, Mapping[str, Any]]


def kill_trials(sweep: Sweep, holders: Holders) -> None:
    """Kill the trials' processes. An agent that runs no trial yet loses its fork server."""
    for holder in holders.values():
        pids = [holder["pid"]] if "number" in holder else sweep.find_fork_servers(holder["pid"])
        kill(pids)


def kill_agents(sweep: Sweep, holders: Holders) -> None:
    """Kill the agents, and wait until their trials have died with them."""
    kill([sweep.find_agent(holder["pid"]) for holder in holders.values()])
    wait_until(lambda: not _any_alive(holders), "their trials to die", within_s=30)


def kill_launcher(sweep: Sweep, holders: Holders) -> None:
    sweep.starts[-1].kill()
    sweep.starts[-1].wait()


def interrupt_agents(signum: signal.Signals) -> Callable[[Sweep, Holders], None]:
    def interrupt(sweep: Sweep, holders: Holders) -> None:
        """Send the signal to every process of the agent, as SLURM does."""
        for holder in holders.values():
            agent = sweep.find_agent(holder["pid"])
            for pid in {holder["pid"], agent, *sweep.find_fork_servers(agent)}:
                os.kill(pid, signum)

    return interrupt


def fill_disk(sweep: Sweep, holders: Holders) -> None:
    """Leave room for some bytes in the journal: the next line is written in part, and fails.

    The full disk is a limit on the agents' file sizes, which is lifted after half a lease's time.
    """
    agents = [sweep.find_agent(holder["pid"]) for holder in holders.values()]
    size = (sweep.directory / "journal.log").stat().st_size
    before = {agent: resource.prlimit(agent, resource.RLIMIT_FSIZE) for agent in agents}
    for agent in agents:
        resource.prlimit(agent, resource.RLIMIT_FSIZE, (size + 10, before[agent][1]))
    sweep.release()
    time.sleep(LEASE_S / 2)  # how long it is full
    for agent in agents:
        with suppress(ProcessLookupError):
            resource.prlimit(agent, resource.RLIMIT_FSIZE, before[agent])


def tear_journal(sweep: Sweep, holders: Holders) -> None:
    """Kill all processes, one in the middle of writing a line."""
    last = _kill_all(sweep)
    with (sweep.directory / "journal.log").open("ab") as journal:
        journal.write(last[: len(last) // 2])


def truncate_journal(sweep: Sweep, holders: Holders) -> None:
    """Kill all processes, and remove half of the last line: it had not reached the disk when the machine died."""
    last = _kill_all(sweep)
    journal = sweep.directory / "journal.log"
    os.truncate(journal, journal.stat().st_size - len(last) // 2)


def _kill_all(sweep: Sweep) -> bytes:
    """Kill all processes; the last line of the journal."""
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
    """Submit a job to the partition ``high`` that needs all nodes, so that all others are preempted."""
    cluster = sweep.on
    cluster.submit("true", "--exclusive", f"--nodes={cluster.size.nodes}", partition="high")
    wait_until(lambda: not _any_alive(holders), "the jobs to be preempted", within_s=60)


def lose_nodes(sweep: Sweep, holders: Holders) -> None:
    """Kill the nodes' slurmd. The steps continue, as on a node that lost its network, until others have their trials.

    Such agents could not renew their leases; here they are suspended, and continue when others have their trials.
    """
    agents = {phase: sweep.find_agent(holder["pid"]) for phase, holder in holders.items()}
    nodes = {_variable(agent, "SLURMD_NODENAME") for agent in agents.values()}
    before = {number: sweep.attempts(number) for number in map(sweep.find_number, holders.values())}
    for agent in agents.values():
        os.kill(agent, signal.SIGSTOP)
    for node in nodes:  # not restarted here: a new slurmd would end the steps
        sweep.on.lose_node(node, jobs=False)

    def taken_over() -> bool:
        records = sweep.read_table()[0].records()
        return all(records[number].attempts > n or records[number].ended for number, n in before.items())

    wait_until(taken_over, "others to take over the trials", within_s=PATIENCE_S)
    sweep.release()
    for agent in agents.values():
        with suppress(ProcessLookupError):
            os.kill(agent, signal.SIGCONT)


def end_time(sweep: Sweep, holders: Holders) -> None:
    """Set the jobs' time limits to the time that they have used: USR2 comes at once, and TERM within a minute."""
    for holder in holders.values():
        sweep.on.run("scontrol", "update", f"jobid={holder['job']}", "timelimit=1")
    wait_until(lambda: not _any_alive(holders), "the jobs to be ended by their time limit", within_s=120)


def _any_alive(holders: Holders) -> bool:
    return any(is_alive(holder["pid"]) for holder in holders.values())


def _variable(pid: int, name: str) -> str:
    lines = Path("/proc", str(pid), "environ").read_bytes().decode().split("\0")
    return dict(line.partition("=")[::2] for line in lines)[name]


# -- a database's ---------------------------------------------------------------------------------------------------


def restart_database(sweep: Sweep, holders: Holders) -> None:
    sweep.within.server.stop()
    sweep.release()
    time.sleep(LEASE_S / 2)  # how long it is down
    sweep.within.server.start()


def kill_database(sweep: Sweep, holders: Holders) -> None:
    sweep.within.server.kill()
    sweep.release()
    sweep.within.server.start()


def cut_network(*, silently: bool) -> Callable[[Sweep, Holders], None]:
    def cut(sweep: Sweep, holders: Holders) -> None:
        sweep.within.proxy.cut(silently=silently)
        sweep.release()
        time.sleep(1.5 * LEASE_S)  # how long it is cut: longer than a lease lasts
        sweep.within.proxy.heal()

    return cut


@dataclass(frozen=True)
class Fault:
    strike: Callable[[Sweep, Holders], None]
    rejoin: bool = False
    """Whether no process is left, so that the sweep must be resumed."""


LOCAL: dict[str, Fault] = {
    "SIGKILL the trial's process": Fault(kill_trials),
    "SIGKILL the agent": Fault(kill_agents),
    "SIGKILL the launching process": Fault(kill_launcher),
    "SIGTERM to all of a job": Fault(interrupt_agents(signal.SIGTERM)),
    "submitit's signal (USR2) to all of a job": Fault(interrupt_agents(signal.SIGUSR2)),
    "disk full while writing the journal": Fault(fill_disk),
    "all processes killed, a line of the journal partly written": Fault(tear_journal, rejoin=True),
    "all processes killed, the journal truncated mid-line": Fault(truncate_journal, rejoin=True),
    "clock jumps ahead a minute": Fault(jump(60.0)),
    "clock jumps back a minute": Fault(jump(-60.0)),
}


ON_SLURM: dict[str, Fault] = {
    "node lost, its steps continue": Fault(lose_nodes),
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


def run(sweep: Sweep, fault: Fault) -> dict[str, TrialAccount]:
    """Strike one sweep, and wait for its end.

    Args:
        sweep: The sweep, which is launched here.
        fault: What strikes it.

    Returns:
        What became of the four struck trials, by the phase they were in.

    Raises:
        AssertionError: Another trial was harmed.
    """
    sweep.launch()
    holders = sweep.await_holders()
    numbers = {phase: sweep.find_number(holder) for phase, holder in holders.items()}
    fault.strike(sweep, holders)
    sweep.release()
    if fault.rejoin:
        sweep.resume_sweep()
    sweep.await_end()
    account = sweep.account()
    others = [c for c in account if c.number not in numbers.values() and (c.lost or c.duplicated or c.repeated > 1)]
    assert not others, f"{others}\n{sweep.read_log()}"
    return {phase: account[number] for phase, number in numbers.items()}


SLURM = [
    f"hydra.searchpath=[file://{ROOT}/conf]",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "hydra.launcher.timeout_min=60",
    "hydra.launcher.signal_delay_s=30",
]
