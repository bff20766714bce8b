"""Measure many agents at once: processes that ask, report and complete on one journal, or one PostgreSQL server.

All agents of a run are forked from a process that has done the imports. They join the sweep, wait for each other, then
ask at the same time and run their trials as fast as they can. Prints a Markdown table. How long a call takes depends on
how many cores the processes share: *cores had* is how many they used, and *load before* is the machine's load average
before the run. ``--opening`` measures a sweep of ten thousand trials instead.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from wandbsweep import Outcome, SweepSpec, create_sweep, load_sweep

ROOT = Path(__file__).resolve().parents[1]
AGENTS = (1, 8, 64, 200)
METHODS = ("random", "grid", "bayes")
FINISHED = 40  # trials that bayes models when all agents ask
STALL_S = 5.0
COLUMNS = (
    "method",
    "agents",
    "trials/s",
    "slowest join",
    "ask, median",
    "slowest ask",
    "slowest report",
    "slowest complete",
    "longest silence",
    f"calls over {STALL_S:g} s",
    "errors",
    "duplicates",
    "processor",
    "cores had",
    "load before",
)


@dataclass
class AgentLog:
    """What one agent measured."""

    calls: list[tuple[str, float, float]] = field(default_factory=list)
    """Kind of each call, when it began and when it was answered."""
    points: list[tuple[int, str]] = field(default_factory=list)
    """Number and configuration of each trial that it ran."""
    error: str = ""
    cpu_s: float = 0.0

    def time_call(self, kind: str, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.monotonic()
        answer = call(*arguments)
        self.calls.append((kind, began, time.monotonic()))
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, nargs="+", default=AGENTS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--trials", type=int, default=400, help="trials in all, but two an agent at least")
    parser.add_argument("--reports", type=int, default=3, help="of each trial")
    parser.add_argument("--postgresql", action="store_true", help="on a server instead of a journal")
    parser.add_argument("--threads", action="store_true", help="threads that share one controller, not processes")
    parser.add_argument("--opening", action="store_true", help="measure opening a sweep of 10,000 trials instead")
    options = parser.parse_args()
    if options.opening:
        with tempfile.TemporaryDirectory() as folder:
            measure_opening(Path(folder))
        return
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|", flush=True)
    with start_database(options.postgresql) as (new_url, server_s), tempfile.TemporaryDirectory() as folder:
        for method in options.methods:
            for agents in options.agents:
                each = max(2, options.trials // agents)
                place = Path(folder, f"{method}-{agents}")
                load = os.getloadavg()[0]
                used = server_s()
                measure = run_threads if options.threads else run_processes
                seen = measure(place, new_url(), method, agents, each, options.reports)
                print_row(method, agents, seen, server_s() - used, load)


def print_row(method: str, agents: int, seen: Sequence[AgentLog], server_s: float, load: float) -> None:
    """``server_s``: the processor time of the database's server."""
    calls = [call for one in seen for call in one.calls if call[0] != "join"]
    lasted: dict[str, list[float]] = {"join": [], "ask": [], "report": [], "complete": []}
    for one in seen:
        for kind, began, ended in one.calls:
            lasted[kind].append(ended - began)
    points = [tuple(point) for one in seen for point in one.points]
    answered = sorted(ended for _, _, ended in calls)
    agents_s = sum(one.cpu_s for one in seen)
    span = answered[-1] - min(began for _, began, _ in calls)
    silence = max((after - before for before, after in pairwise(answered)), default=0.0)
    twice = len(points) - min(len({number for number, _ in points}), len({point for _, point in points}))
    cells = [
        method,
        agents,
        f"{len(points) / span:.0f}",
        *(f"{value:.2f} s" for value in (max(lasted["join"]), statistics.median(lasted["ask"]), max(lasted["ask"]))),
        *(f"{max(lasted[kind], default=math.nan):.2f} s" for kind in ("report", "complete")),
        f"{silence:.2f} s",
        sum(ended - began > STALL_S for _, began, ended in calls),
        sum(bool(one.error) for one in seen),
        twice,
        f"{1e3 * agents_s / len(points):.0f} + {1e3 * server_s / len(points):.0f} ms a trial",
        f"{(agents_s + server_s) / span:.1f}",
        f"{load:.1f}",
    ]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    for error in {one.error for one in seen if one.error}:
        print(error, file=sys.stderr)


def run_processes(place: Path, url: str | None, method: str, agents: int, each: int, reports: int) -> list[AgentLog]:
    """Run ``each`` trials in each of ``agents`` processes, which all start at the same moment."""
    spec, controller = start_sweep(place, url, method, agents * each, reports)
    controller.close()
    train(
        warm := create_sweep(spec), warm.ask("warm"), 1, AgentLog()
    )  # so that late imports happen once, before the fork
    joined, go = os.pipe(), os.pipe()
    results = [place / f"{number}.json" for number in range(agents)]
    pids = []
    gc.collect()
    gc.freeze()  # else the first garbage collection of each agent copies its parent's memory
    for number, result in enumerate(results):
        pid = os.fork()
        if pid == 0:
            os.close(go[1])
            _run_agent(spec, place, url, str(number), each, reports, joined[1], go[0], result)
        pids.append(pid)
    os.close(go[0])
    for _ in range(agents):
        os.read(joined[0], 1)
    os.close(go[1])
    gc.unfreeze()
    for pid in pids:
        os.waitpid(pid, 0)
    for descriptor in joined:
        os.close(descriptor)
    return [AgentLog(**json.loads(result.read_text())) for result in results]


def run_threads(place: Path, url: str | None, method: str, agents: int, each: int, reports: int) -> list[AgentLog]:
    """Run the same in ``agents`` threads of this process, through one controller."""
    _, controller = start_sweep(place, url, method, agents * each, reports)
    start = threading.Barrier(agents)

    def agent(name: int) -> AgentLog:
        seen = AgentLog()
        seen.time_call("join", start.wait)
        used = time.thread_time()
        for _ in range(each):
            trial = seen.time_call("ask", controller.ask, str(name))
            seen.points.append((trial.number, json.dumps(trial.params, sort_keys=True)))
            train(controller, trial, reports, seen)
        seen.cpu_s = time.thread_time() - used
        return seen

    with ThreadPoolExecutor(agents) as pool:
        seen = list(pool.map(agent, range(agents)))
    controller.close()
    return seen


def start_sweep(place: Path, url: str | None, method: str, size: int, reports: int) -> tuple[SweepSpec, Any]:
    """Make a sweep of ``size`` trials; under bayes some have finished."""
    spec = load_sweep(make_config(method, size))
    controller = create_sweep(spec, place, storage=url, seed=0)
    for _ in range(FINISHED if method == "bayes" else 0):
        trial = controller.ask("before")
        assert trial is not None
        train(controller, trial, reports, AgentLog())
    return spec, controller


def _run_agent(
    spec: SweepSpec,
    place: Path,
    url: str | None,
    name: str,
    each: int,
    reports: int,
    joined: int,
    go: int,
    result: Path,
) -> None:
    seen, used = AgentLog(), time.process_time()
    try:
        try:
            controller = seen.time_call("join", lambda: create_sweep(spec, place, storage=url))
        finally:
            os.write(joined, b"\0")
        used = time.process_time()
        os.read(go, 1)  # until the other end is closed
        for _ in range(each):
            trial = seen.time_call("ask", controller.ask, name)
            seen.points.append((trial.number, json.dumps(trial.params, sort_keys=True)))
            train(controller, trial, reports, seen)
        controller.close()
    except BaseException:
        seen.error = traceback.format_exc()
    seen.cpu_s = time.process_time() - used
    result.write_text(json.dumps(asdict(seen)))
    os._exit(0)


def train(controller: Any, trial: Any, reports: int, seen: AgentLog) -> None:
    value = sum(float(value) for value in trial.params.values() if isinstance(value, int | float)) / 1000
    for step in range(reports):
        seen.time_call("report", controller.report, trial, step, {"loss": value + 1 / (step + 1)})
    seen.time_call("complete", controller.complete, trial, Outcome.finished(value))


def make_config(method: str, size: int) -> dict[str, Any]:
    if method == "grid":
        side = math.ceil(math.sqrt(size))
        parameters = {name: {"values": list(range(side))} for name in "ab"}
    else:
        parameters = {
            "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
            "dropout": {"min": 0.0, "max": 0.5},
            "width": {"min": 16, "max": 512},
            "momentum": {"min": 0.0, "max": 0.99},
        }
    return {"method": method, "metric": {"name": "loss", "goal": "minimize"}, "parameters": parameters}


@contextmanager
def start_database(wanted: bool) -> Iterator[tuple[Callable[[], str | None], Callable[[], float]]]:
    """Yield a function that returns the URL of a new database, or None, and one that reads the server's CPU time."""
    if not wanted:
        yield lambda: None, lambda: 0.0
        return
    import psycopg  # noqa: F401  before the agents are forked
    import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401  likewise

    sys.path.insert(0, str(ROOT))  # scripts/ is not installed
    from scripts.databases import PostgreSQL
    from scripts.server_directory import server_directory

    with server_directory() as directory:
        server = PostgreSQL(directory / "server")
        server.up()
        pid = server.daemons.pid(server.name)
        yield lambda: server.url(server.make_database()), lambda: _read_cpu_s(pid)


def _read_cpu_s(pid: int | None) -> float:
    """The CPU time of a process and of its children that have ended."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def measure_opening(place: Path) -> None:
    """Measure what it takes to open a sweep of 10,000 trials of 10 reports, and to ask there."""
    spec = load_sweep(make_config("random", 0))
    controller = create_sweep(spec, place, seed=0)
    for _ in range(10_000):
        trial = controller.ask("before")
        assert trial is not None
        train(controller, trial, 10, AgentLog())
    controller.close()
    print(f"journal.log: {(place / 'journal.log').stat().st_size / 2**20:.1f} MiB, 10,000 trials of 10 reports")
    code = (
        "import resource, sys, time\n"
        "began, cpu = time.monotonic(), time.process_time()\n"
        "from wandbsweep import create_sweep, load_sweep, open_sweep\n"
        "imported, imported_cpu = time.monotonic(), time.process_time()\n"
        "if sys.argv[2] == 'agent':\n"
        "    controller = create_sweep(load_sweep(sys.argv[1] + '/sweep.yaml'), sys.argv[1])\n"
        "    assert controller.ask('a').number >= 10_000\n"
        "else:\n"
        "    assert len(open_sweep(sys.argv[1]).trials) >= 10_000\n"
        "assert 'torch' not in sys.modules\n"
        "rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "print(time.monotonic() - began, time.process_time() - cpu, rss)\n"
    )
    print("| | wall, median of 5 | processor, median of 5 | memory at most |\n|---|---|---|---|")
    for name, kind in (("an agent joins and asks once", "agent"), ("open_sweep and its trials", "reader")):
        runs = [
            [*map(float, subprocess.check_output([sys.executable, "-c", code, str(place), kind]).split())]
            for _ in range(5)
        ]
        wall, cpu, memory = zip(*runs, strict=True)
        print(f"| {name} | {statistics.median(wall):.2f} s | {statistics.median(cpu):.2f} s | {max(memory):.0f} MiB |")


if __name__ == "__main__":
    main()
