"""What our agents did with a hosted sweep's trials: a log of lines, in the sweep's directory or in memory.

W&B decides and keeps the runs. It knows no numbers from 0, no attempts and no reasons; these stand here, so that a
sweep's directory tells the same of a hosted sweep as of an embedded one. Several processes append to one file, each
line under the kernel's lock, and read what the others wrote.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from wandbsweep.launchers import read_requeue_id
from wandbsweep.storage.json_codec import packed, unpacked
from wandbsweep.trial import ENDED, State, TrialRecord, is_number

HOSTED_LOG = "wandb.jsonl"
"""In the sweep's directory."""


@dataclass
class Attempt:
    """One execution of a trial; its ``key`` counts the attempts of the sweep."""

    key: int
    agent: str
    process: str
    """See ``this_process``."""
    started: float
    state: State = "running"
    reason: str = ""
    ours: bool = False
    """Of a queued one: W&B does not know that it is to be run again."""


@dataclass
class Entry:
    """One trial: one run at W&B."""

    number: int
    run_id: str
    args: Mapping[str, Any]
    """As W&B gave them: name -> {"value": value}."""
    params: Mapping[str, Any]
    attempts: list[Attempt] = field(default_factory=list)
    reports: dict[int, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    ended: float | None = None

    writes: bool = False
    """Whether our agents write the run's history themselves, since the training does not."""

    @property
    def newest(self) -> Attempt:
        return self.attempts[-1]

    def best(self, goal: str) -> float | None:
        """Of what was reported, finite values only."""
        finite = [value for value in self.reports.values() if is_number(value)]
        return (max if goal == "maximize" else min)(finite, default=None)

    def record(self, goal: str) -> TrialRecord:
        value = self.value if self.newest.state in ENDED else self.best(goal)
        return TrialRecord(
            number=self.number,
            state=self.newest.state,
            params=self.params,
            reports=dict(self.reports),
            value=value,
            metrics=dict(self.metrics),
            reason=self.newest.reason,
            attempts=len(self.attempts),
            agent=self.newest.agent,
            started=self.attempts[0].started,
            ended=self.ended,
        )


class TrialLog:
    """The trials of one sweep. ``metric``: the name of what is optimised. Safe to use from several threads."""

    def __init__(self, path: Path | None = None, *, metric: str | None = None) -> None:
        self._path = path
        self._metric = metric
        self._entries: list[Entry] = []
        self._by_run: dict[str, Entry] = {}
        self._by_key: dict[int, Entry] = {}
        self._read = 0
        self._lock = threading.RLock()

    def entries(self) -> list[Entry]:
        with self._lock:
            self._catch_up()
            return list(self._entries)

    def claim(
        self, run_id: str, args: Mapping[str, Any], params: Mapping[str, Any], agent: str, *, resumed: bool = False
    ) -> Entry | None:
        """Open an attempt at W&B's run ``run_id``; None: one is open, or it has ended and is not ``resumed``."""
        with self._lock:
            known = self.find(run_id)
            last = known.newest if known else None
            if last and (last.state == "running" or (last.state != "queued" and not resumed)):
                return None
            return self._open(run_id, args, params, agent, instead_of=last.key if last else None)

    def take_over(self, entry: Entry, agent: str) -> Entry | None:
        """Open an attempt in place of ``entry``'s newest; None: somebody else was faster."""
        return self._open(entry.run_id, entry.args, entry.params, agent, instead_of=entry.newest.key)

    def _open(
        self, run_id: str, args: Mapping[str, Any], params: Mapping[str, Any], agent: str, *, instead_of: int | None
    ) -> Entry | None:
        with self._writing() as write:
            known = self._by_run.get(run_id)
            if known and known.newest.key != instead_of:
                return None
            line = {"run": run_id, "args": args, "params": packed(params)}
            write({**line, "agent": agent, "process": this_process(), "at": time.time()})
            return self._by_run[run_id]

    def find(self, run_id: str) -> Entry | None:
        with self._lock:
            self._catch_up()
            return self._by_run.get(run_id)

    def of(self, key: int) -> Entry | None:
        """The trial whose attempt ``key`` is still the one that counts."""
        with self._lock:
            self._catch_up()
            return self._current(key)

    def report(self, key: int, step: int, metrics: Mapping[str, float]) -> bool:
        """Whether it counts: the attempt is open."""
        with self._writing() as write:
            if self._current(key) is None:
                return False
            write({"key": key, "step": step, "metrics": dict(metrics)})
            return True

    def writes(self, key: int) -> None:
        """Note that the history of the attempt's run is ours to write, in later attempts as well."""
        with self._writing() as write:
            write({"key": key, "writes": True})

    def end(self, key: int, state: State, reason: str = "", value: float | None = None, *, ours: bool = False) -> bool:
        """Close an attempt; false: it was closed."""
        with self._writing() as write:
            if self._current(key) is None:
                return False
            ending = {"key": key, "state": state, "reason": reason, "value": value}
            write({**ending, "ours": ours, "at": time.time()})
            return True

    def _current(self, key: int) -> Entry | None:
        entry = self._by_key.get(key)
        return entry if entry and entry.newest.key == key and entry.newest.state == "running" else None

    # -- lines --------------------------------------------------------------------------------------------------

    def _apply(self, line: Mapping[str, Any]) -> None:
        if "run" in line:
            self._apply_claim(line)
            return
        entry = self._by_key[line["key"]]
        if "step" in line:
            entry.metrics.update(line["metrics"])
            if self._metric in line["metrics"]:
                entry.reports[line["step"]] = line["metrics"][self._metric]
            return
        if "writes" in line:
            entry.writes = True
            return
        attempt = entry.newest
        attempt.state, attempt.reason, attempt.ours = line["state"], line["reason"], line["ours"]
        entry.value, entry.ended = line["value"], line["at"]

    def _apply_claim(self, line: Mapping[str, Any]) -> None:
        entry = self._by_run.get(line["run"])
        if entry is None:
            entry = Entry(len(self._entries), line["run"], line["args"], unpacked(line["params"]))
            self._entries.append(entry)
            self._by_run[entry.run_id] = entry
        key = len(self._by_key)
        self._by_key[key] = entry
        entry.attempts.append(Attempt(key, line["agent"], line["process"], line["at"]))
        entry.ended = None

    def _catch_up(self, file: IO[bytes] | None = None) -> None:
        if self._path is None:
            return
        if file is None:
            try:
                with open(self._path, "rb") as opened:
                    self._catch_up(opened)
            except FileNotFoundError:  # nothing was asked for yet
                pass
            return
        file.seek(self._read)
        new = file.read()
        whole = new[: new.rfind(b"\n") + 1]  # what follows is being written, or was torn
        for line in whole.splitlines():
            self._apply(json.loads(line))
        self._read += len(whole)

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """What others wrote is known, and nobody else writes, for a ``with`` block, which gets a function to write."""
        with self._lock:
            if self._path is None:
                yield lambda line: self._apply(json.loads(json.dumps(line)))
                return
            with open(self._path, "a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._catch_up(file)
                yield lambda line: self._append(file, line)

    def _append(self, file: IO[bytes], line: Mapping[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        os.ftruncate(file.fileno(), self._read)  # a torn tail
        file.write(data)
        file.flush()
        self._apply(line if "run" not in line else json.loads(data))
        self._read += len(data)


def this_process() -> str:
    """What tells this process from all others, on this machine and elsewhere."""
    return f"{_machine()}/{os.getpid()}/{_started(os.getpid())}/{read_requeue_id()}"


def is_dead(process: str) -> bool:
    """Whether ``process`` (``this_process``) is known to be gone: no longer on this machine, or requeued by SLURM."""
    machine, pid, started, requeued = process.rsplit("/", 3)
    job, _, count = requeued.partition(":")
    own_job, _, own_count = read_requeue_id().partition(":")
    if job and job == own_job and int(count) < int(own_count):
        return True
    return machine == _machine() and _started(int(pid)) != started


def is_here(process: str) -> bool:
    """Whether ``process`` runs, or ran, where this one can see it."""
    return process.rsplit("/", 3)[0] == _machine()


def _machine() -> str:
    try:  # containers may share a name, but no process numbers
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}:{namespace}"


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks since boot; empty: there is none of that number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
