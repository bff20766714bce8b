"""A throw-away SLURM cluster on this one machine: real daemons, several nodes, fake GPUs, real accounting.

``slurmd -N`` runs any number of nodes on one host. Jobs are not confined, so nodes may offer CPUs and memory that do
not exist. SLURM sets ``CUDA_VISIBLE_DEVICES`` if a GPU's file is a device, such as a link to ``/dev/null``. Partition
``main`` is the default; jobs in ``high`` preempt its jobs, which are requeued.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.daemons import Daemons, ServiceError, find_free_ports, read_output, succeeds, wait_until
from scripts.databases import MariaDB
from scripts.debian import SLURM, make_search_path, require

PARTITIONS = ("main", "high")
_ACTIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "STOPPED"}
_BUSY_OR_IDLE = {"idle", "mixed", "allocated", "completing"}


@dataclass(frozen=True, kw_only=True)
class Size:
    nodes: int = 4
    gpus: int = 2
    """Of each node, like ``cpus`` and ``memory_mib``."""
    cpus: int = 8
    memory_mib: int = 16_384


class Cluster:
    """The cluster whose files are in ``directory``: ``up`` makes it, ``remove`` deletes it."""

    def __init__(self, directory: Path, size: Size | None = None) -> None:
        self.directory = directory.resolve()
        self.size = size or Size()
        self.daemons = Daemons(self.directory)
        self.conf = self.directory / "etc" / "slurm.conf"

    @property
    def nodes(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.size.nodes + 1)]

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which SLURM's commands, and submitit, use this cluster."""
        return {"SLURM_CONF": str(self.conf), "PATH": make_search_path()}

    # -- up and down ------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start the daemons that do not run. If a killed cluster left the directory, make a new cluster in it.

        Raises:
            Unavailable: SLURM is not installed and cannot be.
            ServiceError: A daemon did not start.
        """
        require(SLURM)
        database = MariaDB(self.directory / "database", network=False)
        if not self.conf.exists() or not self._lives():
            self.remove()
            self.daemons.make()
            self._write_configuration(database)
            database.up()
        self._start_munge()
        database.start()
        if self.daemons.pid("slurmdbd") is None:
            self._start_accounting(database)
        self._start("slurmctld", "slurmctld", "-D")
        self.daemons.await_answer("slurmctld", lambda: self._succeeds("scontrol", "ping"))
        for node in self.nodes:
            self.start_node(node, wait=False)
        for node in self.nodes:
            self.daemons.await_answer(node, lambda node=node: self._is_up(node))

    def remove(self) -> None:
        """End all jobs, kill the daemons, and delete the directory."""
        if self.daemons.pid("slurmctld") is not None:
            with suppress(ServiceError, TimeoutError, subprocess.TimeoutExpired):
                self.cancel_all(within_s=15)
        for name in self.daemons.names():
            self.daemons.kill(name)
        # Jobs survive their slurmd if it is killed.
        for pid in self._list_job_processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        MariaDB(self.directory / "database", network=False).remove()
        self.daemons.remove()

    def _lives(self) -> bool:
        return all(self.daemons.pid(name) for name in ("munged", "slurmdbd", "slurmctld"))

    def _start(self, name: str, *command: str | Path, **environment: str) -> None:
        self.daemons.start(name, command, environment={**self.environment, **environment})

    def _start_munge(self) -> None:
        place = self.directory / "munge"
        if self.daemons.pid("munged") is None:
            for socket_or_lock in place.glob("socket*"):
                socket_or_lock.unlink()
        options = {"key-file": "key", "socket": "socket", "seed-file": "seed", "pid-file": "pid", "log-file": "log"}
        files = [f"--{option}={place / name}" for option, name in options.items()]
        self._start("munged", "munged", "--foreground", "--num-threads=4", *files)
        self.daemons.await_answer("munged", lambda: succeeds(["munge", "-n", f"--socket={place / 'socket'}"]))

    def _start_accounting(self, database: MariaDB) -> None:
        # slurmdbd has no setting for the socket's path, but MariaDB's client library reads this variable.
        self._start("slurmdbd", "slurmdbd", "-D", MYSQL_UNIX_PORT=str(database.socket))
        self.daemons.await_answer("slurmdbd", lambda: self._succeeds("sacctmgr", "-n", "show", "cluster"))
        # It answers before it has made all its tables, and then may fail to add the cluster.
        wait_until(self._is_known, "slurmdbd to know the cluster", within_s=60)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def start_node(self, node: str, *, wait: bool = True) -> None:
        """Start a node's slurmd, and wait until the cluster schedules jobs on it."""
        self._start(node, "slurmd", "-D", "-N", node)
        if wait:
            self.daemons.await_answer(node, lambda: self._is_up(node))

    def kill_node(self, node: str, *, jobs: bool = False) -> None:
        """kill -9 the node's slurmd, and with ``jobs`` the processes of its jobs, as if the machine had died.

        The cluster notices after about half a minute, and then requeues the node's jobs; see ``lose_node``.
        """
        self.daemons.kill(node)
        if jobs:
            for pid in self._list_job_processes(node):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def lose_node(self, node: str, *, jobs: bool = True) -> None:
        """``kill_node``, and tell the cluster, which requeues the node's jobs at once.

        Without ``jobs`` their processes continue, as on a node that lost its network, while the requeued jobs run.
        """
        self.kill_node(node, jobs=jobs)
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")

    def _is_up(self, node: str) -> bool:
        state = self.run("sinfo", "-h", "-n", node, "-p", "main", "-o", "%T")
        # The node was lost, or could not kill a job's processes in time.
        if state.startswith(("down", "drain")) and self.daemons.pid(node) is not None:
            self._succeeds(
                "scontrol", "update", f"nodename={node}", "state=resume"
            )  # may fail: it can have come back just now
        # A * after the state means that the node does not answer.
        return state in _BUSY_OR_IDLE

    def _list_job_processes(self, node: str | None = None) -> list[int]:
        """The processes of this cluster's jobs. The slurmstepds come first, since they would report the jobs' end."""
        processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        steps = [process for process in processes if self._is_step_daemon(process, node)]
        jobs = [process for process in processes if self._is_of_a_job(process, node)]
        return [int(process.name) for process in [*steps, *jobs]]

    def _is_step_daemon(self, process: Path, node: str | None) -> bool:
        """Whether it is a slurmstepd of our nodes. Only the log that it has open names the node."""
        logs = {str(file) for file in (self.directory / "log").glob(f"{node or '*'}.log")}
        try:
            if not (process / "cmdline").read_bytes().startswith(b"slurmstepd"):
                return False
            return any(os.readlink(file) in logs for file in (process / "fd").iterdir())
        except OSError:
            return False

    def _is_of_a_job(self, process: Path, node: str | None) -> bool:
        try:
            variables = dict(line.partition(b"=")[::2] for line in (process / "environ").read_bytes().split(b"\0"))
        except OSError:
            return False
        if variables.get(b"SLURM_CONF") != str(self.conf).encode() or b"SLURM_JOB_ID" not in variables:
            return False
        return node is None or variables.get(b"SLURMD_NODENAME") == node.encode()

    # -- jobs -------------------------------------------------------------------------------------------------------

    def run(self, *command: str | Path) -> str:
        """Run one of SLURM's commands, and return what it prints; raises ServiceError if it fails."""
        return read_output(command, **self.environment).strip()

    def _is_known(self) -> bool:
        if self.run("sacctmgr", "-nP", "show", "cluster", "test"):
            return True
        self._succeeds("sacctmgr", "-iQ", "add", "cluster", "test")
        return False

    def _succeeds(self, *command: str) -> bool:
        return succeeds(command, **self.environment)

    def submit(self, script: str, *options: str, partition: str = "main") -> str:
        """Submit lines of shell as a job, with sbatch's options; returns its id."""
        folder = self.directory / "submitted"
        folder.mkdir(exist_ok=True)
        file = folder / f"{secrets.token_hex(4)}.sh"
        file.write_text(f"#!/bin/sh\n{script}\n")
        where = [f"--partition={partition}", f"--output={folder}/%j.out", "--open-mode=append"]
        return self.run("sbatch", "--parsable", *where, *options, file)

    def states(self, *jobs: str) -> dict[str, str]:
        """The states (PENDING, RUNNING, ...) of those jobs and tasks, or of all, unless they ended long ago."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
        states = dict(line.split() for line in lines)
        return {job: state for job, state in states.items() if not jobs or job in jobs or job.split("_")[0] in jobs}

    def await_state(self, job: str, *states: str, within_s: float = 60) -> None:
        """Wait until a job, or task ``<id>_<k>``, is in one of the states; for its end use ``await_end``."""
        wait_until(lambda: self.states(job).get(job) in states, f"job {job} to be {states}", within_s=within_s)

    def await_end(self, *jobs: str, within_s: float = 60) -> None:
        """Wait until none of the jobs is pending or running. Without arguments: no job at all."""
        wait_until(lambda: not self._active(*jobs), f"{', '.join(jobs) or 'all jobs'} to end", within_s=within_s)

    def _active(self, *jobs: str) -> list[str]:
        return sorted({job.split("_")[0] for job, state in self.states(*jobs).items() if state in _ACTIVE})

    def read_accounting(self, job: str) -> list[dict[str, str]]:
        """What the accounting has about a job, or about each task of an array: an entry for each time that it ran."""
        fields = ["JobID", "State", "NodeList", "Partition", "AllocTRES", "ExitCode", "Start", "End"]
        lines = self.run("sacct", "-nPXD", f"--jobs={job}", f"--format={','.join(fields)}").splitlines()
        return [dict(zip(fields, line.split("|"), strict=True)) for line in lines]

    def await_accounting(self, job: str, *, runs: int = 1, within_s: float = 60) -> list[dict[str, str]]:
        """``read_accounting`` after the job, or the whole array, has ended and the accounting has all its ``runs``.

        SLURM tells it about the tasks of an array one by one, in any order.
        """
        self.await_end(job, within_s=within_s)

        def known() -> bool:
            found = self.read_accounting(job)
            return len(found) >= runs and all(run["End"] not in ("Unknown", "None") for run in found)

        wait_until(known, f"the accounting of {job}", within_s=within_s)
        return self.read_accounting(job)

    def requeue(self, job: str) -> None:
        """Requeue a job: TERM at once, KILL after KillWait, and a new start about 6 s later."""
        self.run("scontrol", "requeue", job)

    def cancel(self, *jobs: str) -> None:
        self.run("scancel", *jobs)

    def cancel_all(self, *, within_s: float = 60) -> None:
        """Cancel every job and wait until none runs."""
        if jobs := self._active():
            self.run("scancel", *jobs)
            self.await_end(within_s=within_s)

    # -- configuration ----------------------------------------------------------------------------------------------

    def _write_configuration(self, database: MariaDB) -> None:
        # munged refuses a socket in a directory that other users cannot enter.
        for name in ("", "etc", "munge", "dev", "state", "spool"):
            (self.directory / name).mkdir(exist_ok=True)
            (self.directory / name).chmod(0o755)
        key = self.directory / "munge" / "key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(1024))
        for gpu in range(self.size.gpus):
            (self.directory / "dev" / f"nvidia{gpu}").symlink_to("/dev/null")
        control, accounting, *ports = find_free_ports(2 + self.size.nodes)
        (self.directory / "etc" / "gres.conf").write_text(self._gres_conf())
        dbd_conf = self.directory / "etc" / "slurmdbd.conf"
        dbd_conf.touch(0o600)
        dbd_conf.write_text(self._slurmdbd_conf(database, accounting))
        self.conf.write_text(self._slurm_conf(control, accounting, ports))
        (self.directory / "env.sh").write_text(self.exports() + "\n")

    def exports(self) -> str:
        """``environment`` as lines of shell."""
        return "\n".join(
            [f"export SLURM_CONF={shlex.quote(str(self.conf))}", 'export PATH="$PATH:/usr/sbin"  # slurmd and its like']
        )

    def _gres_conf(self) -> str:
        if not self.size.gpus:
            return ""
        files = f"{self.directory}/dev/nvidia[0-{self.size.gpus - 1}]"
        return f"AutoDetect=off\nNodeName=n[1-{self.size.nodes}] Name=gpu File={files}\n"

    def _slurmdbd_conf(self, database: MariaDB, port: int) -> str:
        return f"""\
AuthType=auth/munge
AuthInfo=socket={self.directory}/munge/socket
DbdHost={_host()}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={_user()}
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={database.user}
StorageLoc=accounting
PidFile={self.directory}/run/slurmdbd.pid
LogFile={self.directory}/log/slurmdbd.log
"""

    def _slurm_conf(self, control: int, accounting: int, ports: list[int]) -> str:
        size, here, user = self.size, self.directory, _user()
        gres = f" Gres=gpu:{size.gpus}" if size.gpus else ""
        each = f"NodeHostname={_host()} NodeAddr=127.0.0.1 CPUs={size.cpus} RealMemory={size.memory_mib}{gres}"
        nodes = [f"NodeName={node} Port={port} {each}" for node, port in zip(self.nodes, ports, strict=True)]
        return f"""\
ClusterName=test
SlurmctldHost={_host()}(127.0.0.1)
SlurmctldPort={control}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# cred_expire is also how long a requeued job is held: 120 s by default, 5 s at least.
AuthInfo=socket={here}/munge/socket,cred_expire=5
# A new cluster must not repeat the ids of an old one: submitit names its files after them.
FirstJobId={int(time.time()) % 600_000 * 100 + 1}
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool/%n
SlurmctldPidFile={here}/run/slurmctld.pid
SlurmdPidFile={here}/run/slurmd-%n.pid
SlurmctldLogFile={here}/log/slurmctld.log
SlurmdLogFile={here}/log/%n.log
MailProg=/bin/true
MpiDefault=none
# Jobs are not confined.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# By default a job takes all memory of a node, and so the whole node.
DefMemPerCPU=256
# Jobs start and end quickly, and lost ones are noticed quickly.
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
KillWait=5
SlurmdTimeout=10
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# A preempted job gets the signal that it asked for, and is requeued GraceTime later.
SlurmctldParameters=preempt_send_user_signal
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting}
AccountingStoragePass={here}/munge/socket
{"GresTypes=gpu" if size.gpus else ""}
{"AccountingStorageTRES=gres/gpu" if size.gpus else ""}
{os.linesep.join(nodes)}
PartitionName=main Nodes=ALL Default=YES DefaultTime=60 MaxTime=INFINITE PriorityTier=1 GraceTime=10
PartitionName=high Nodes=ALL DefaultTime=60 MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
