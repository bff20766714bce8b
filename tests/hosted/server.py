"""A loopback server that speaks the part of W&B's protocol that sweeps need, and fails on demand.

``with WandbServer() as server:`` serves from a thread; ``server.sweeps`` and ``server.runs`` are its
state, ``server.requests`` the operations that it received.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

from wandbsweep import load_sweep
from wandbsweep.search.make import make_search
from wandbsweep.stopping.successive_halving import hyperband

API_KEY = "marked" + "0123456789abcdef" * 3
ENTITY = "team"
_AUTHORIZATION = f"Basic {base64.b64encode(f'api:{API_KEY}'.encode()).decode()}"
_ENDED = {"finished", "failed", "crashed", "killed"}
_ME = dict.fromkeys(["entity", "username", "name"], ENTITY) | {"id": "1", "email": "", "flags": "{}", "admin": False}
_VIEWER = {"viewer": {**_ME, "teams": {"edges": []}, "apiKeys": {"edges": []}, "deletedAt": None}}
_ALWAYS: dict[str, Any] = {
    **dict.fromkeys(["Viewer", "GetViewer", "GetDefaultEntity"], _VIEWER),
    "ServerFeaturesQuery": {"serverInfo": {"features": []}},
    "OrganizationCoreWeaveOrganizationID": {"entity": None},
    "CreateRunFiles": {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": []}},
}


@dataclass
class Run:
    """One run, with the names of W&B's protocol."""

    name: str
    project: str
    number: int
    sweep: str | None = None
    agent: str | None = None
    args: dict[str, Any] = field(default_factory=dict)
    state: str = "pending"
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # groupName, jobType, tags, notes, displayName
    at: float = field(default_factory=time.time)  # when it was given out
    begun: int = 0
    exitcode: int | None = None
    preempting: bool = False
    stop: bool = False

    def values(self, metric: str) -> list[Any]:
        return [row[metric] for row in self.history if metric in row]

    @property
    def params(self) -> dict[str, Any]:
        return {name: arg["value"] for name, arg in self.args.items()}

    def node(self) -> dict[str, Any]:
        reply = {key: self.facts.get(key) for key in ("displayName", "jobType", "notes", "description")}
        # fmt: off
        return {
            **reply, "id": f"bucket-{self.name}", "name": self.name, "projectId": "1", "sweepName": self.sweep,
            "state": self.state, "config": json.dumps(self.config or self.args), "commit": None, "readOnly": False,
            "summaryMetrics": json.dumps(self.summary), "systemMetrics": "{}", "events": [], "exitcode": self.exitcode,
            "historyKeys": {"lastStep": self.history[-1].get("_step", 0) if self.history else -1, "keys": {}},
            "historyLineCount": len(self.history), "history": [json.dumps(row) for row in self.history],
            "sampledHistory": [self.history], "parquetHistory": {"parquetUrls": [], "liveData": []},
            "tags": self.facts.get("tags") or [], "group": self.facts.get("groupName"), "shouldStop": self.stop,
            "createdAt": _stamp(self.number), "heartbeatAt": _stamp(self.number), "running": self.state == "running",
            "stopped": self.stop and self.state in _ENDED, "failed": self.state in ("failed", "crashed"),
            "user": {"name": ENTITY, "username": ENTITY},
        }
        # fmt: on


@dataclass
class Sweep:
    name: str
    project: str
    config: dict[str, Any]
    state: str = "RUNNING"
    given: int = 0

    def __post_init__(self) -> None:
        self.spec = load_sweep({key: value for key, value in self.config.items() if value is not None})
        drawn = replace(self.spec, method="random") if self.spec.method == "bayes" else self.spec
        self.search = make_search(drawn, seed=0)

    @property
    def size(self) -> int | None:
        return min((n for n in (self.spec.run_cap, self.search.size) if n is not None), default=None)


@dataclass
class Fault:
    """Replaces the reply to the next ``times`` requests whose operation matches the pattern ``operation``."""

    operation: str
    status: int | None = None
    drop: bool = False  # execute the operation, then close the connection without a reply
    reply: Any = field(default_factory=lambda: {"errors": [{"message": "injected"}]})  # with ``status``
    delay_s: float = 0.0
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    met: int = 0


_NO_FAULT = Fault("")


class _Refused(Exception):
    """Refuse the operation with an HTTP status and a reason."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: wandb-core drops connections that were kept alive."""


class WandbServer:
    """The state of W&B, and the threads that serve it."""

    def __init__(self) -> None:
        self.sweeps: dict[str, Sweep] = {}
        self.runs: dict[str, Run] = {}
        self.agents: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[Fault] = []
        self.clock_skew_s = 0.0
        self.lock = threading.RLock()
        self._ids = itertools.count()
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> WandbServer:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    # -- for tests ------------------------------------------------------------------------------------------------

    def fail(self, operation: str, **how: Any) -> Fault:
        fault = Fault(operation, **how)
        self.faults.append(fault)
        return fault

    def find_requests(self, operation: str) -> list[dict[str, Any]]:
        return [variables for name, variables in self.requests if name == operation]

    def list_runs(self, sweep: str) -> list[Run]:
        return [run for run in self.runs.values() if run.sweep == sweep]

    # -- the operations -------------------------------------------------------------------------------------------

    def answer(self, operation: str, variables: dict[str, Any]) -> Any:
        with self.lock:
            self.requests.append((operation, variables))
            if operation in _ALWAYS:
                return _ALWAYS[operation]
            known: Callable[..., Any] | None = getattr(self, f"on_{operation}", None)
            if known is None:
                raise _Refused(400, f"unknown operation {operation}")
            return known(**variables)

    def on_GetProject(self, entity: str, name: str) -> Any:
        return {"project": {"id": "1", "name": name} if entity == ENTITY and name != "nowhere" else None}

    def on_UpsertSweep(self, id: str | None = None, state: str | None = None, config: Any = None, **more: Any) -> Any:
        if id is not None:
            sweep = next(s for s in self.sweeps.values() if id in (s.name, f"sweep-{s.name}"))
            sweep.state = state or sweep.state
        else:
            project = more.get("projectName") or "uncategorized"
            sweep = Sweep(f"s{next(self._ids):07}", project, yaml.safe_load(config))
            self.sweeps[sweep.name] = sweep
        reply = {"name": sweep.name, "project": _place(sweep.project)}
        return {"upsertSweep": {"sweep": reply, "configValidationWarnings": []}}

    def on_GetSweep(self, **names: Any) -> Any:
        sweep = self.sweeps.get(names.get("name") or names["sweep"])
        return {"project": {"sweep": None if sweep is None else self._sweep(sweep)}}

    on_GetSweepState = on_SweepWithRuns = on_GetSweep

    def _sweep(self, sweep: Sweep) -> dict[str, Any]:
        runs = [{"node": run.node()} for run in self.list_runs(sweep.name)]
        empty = dict.fromkeys(["displayName", "description", "bestLoss", "controller", "scheduler"])
        return {
            **empty, "__typename": "Sweep", "id": f"sweep-{sweep.name}", "name": sweep.name,
            "method": sweep.spec.method, "state": sweep.state, "config": yaml.safe_dump(sweep.config),
            "createdAt": _stamp(0), "updatedAt": _stamp(0), "heartbeatAt": _stamp(0), "runCount": len(runs),
            "runCountExpected": sweep.size, "runs": {"edges": runs},
        }  # fmt: skip

    def on_Runs(self, filters: str = "{}", order: str = "", perPage: int = 50, cursor: Any = None, **_: Any) -> Any:
        wanted = {key: value for part in json.loads(filters).get("$and", []) for key, value in part.items()}
        runs = [run for run in self.runs.values() if wanted.get("sweep") in (None, run.sweep)]
        runs = [run for run in runs if all(getattr(run, k) == wanted[k] for k in ("name", "state") if k in wanted)]
        if metric := re.match(r"([+-]?)summary_metrics\.(.+)", order):
            runs = [run for run in runs if metric[2] in run.summary]
            runs.sort(key=lambda run: run.summary[metric[2]], reverse=metric[1] == "-")
        start = int(cursor or 0)
        edges = [{"node": run.node(), "cursor": str(start + i + 1)} for i, run in enumerate(runs[start:][:perPage])]
        page = {"endCursor": str(start + len(edges)), "hasNextPage": start + len(edges) < len(runs)}
        found = {"edges": edges, "pageInfo": page}
        return {"project": {"internalId": "1", "runCount": len(runs), "readOnly": False, "runs": found}}

    def on_Run(self, name: str = "", run: str = "", runName: str = "", minStep: int = 0, **_: Any) -> Any:
        found = self.runs.get(name or run or runName)
        node = found.node() if found else None
        if found and node:
            node["history"] = [json.dumps(row) for row in found.history if row.get("_step", 0) >= minStep]
            node["parquetHistory"]["liveData"] = found.history
        return {"project": {"run": node}}

    on_RunHistoryKeys = on_RunState = on_RunFullHistory = on_RunSampledHistory = on_HistoryPage = on_Run
    on_RunParquetHistory = on_QueryRunInfo = on_SampledHistoryPage = on_Run

    def on_RunResumeStatus(self, name: str, project: str, **_: Any) -> Any:
        run = self.runs.get(name)
        bucket = None
        if run and run.begun:
            tail = json.dumps([json.dumps(row) for row in run.history[-1:]])
            counts = {"logLineCount": 0, "eventsLineCount": 0, "historyTail": tail, "eventsTail": "[]"}
            bucket = {**run.node(), **counts, "wandbConfig": '{"t": 1}'}
        return {"model": {**_place(project), "bucket": bucket}}

    def on_UpsertBucket(self, name: str | None = None, id: str | None = None, **more: Any) -> Any:
        name = name or (id or "").removeprefix("bucket-")
        new = name not in self.runs
        run = self.runs.setdefault(name, Run(name, more.get("project") or "uncategorized", len(self.runs)))
        if run.state != "running" and (id is None or more.get("host")):  # else it is an update
            run.begun += 1
            run.state, run.exitcode, run.preempting = "running", None, False
        run.sweep = run.sweep or more.get("sweep")
        run.config.update(json.loads(more.get("config") or "{}"))
        run.facts.update({key: value for key, value in more.items() if value is not None})
        return {"upsertBucket": {"bucket": {**run.node(), "project": _place(run.project)}, "inserted": new}}

    def on_CreateAgent(self, host: str, sweep: str, projectName: str | None = None, entityName: Any = None) -> Any:
        if sweep not in self.sweeps:
            raise _Refused(404, f"sweep {sweep} not found")
        if self.sweeps[sweep].state in ("FINISHED", "CANCELED"):
            raise _Refused(400, f"sweep {sweep} is not running")
        agent = f"agent-{next(self._ids)}"
        self.agents[agent] = sweep
        return {"createAgent": {"agent": {"id": agent}}}

    def on_Heartbeat(self, id: str, metrics: str = "{}", runState: str = "{}") -> Any:
        sweep = self.sweeps.get(self.agents.get(id, ""))
        if sweep is None:
            raise _Refused(404, "no such agent, or its sweep is gone")
        live = [self.runs[name] for name, alive in json.loads(runState).items() if alive and name in self.runs]
        return {"agentHeartbeat": {"agent": {"id": id}, "commands": json.dumps(self._commands(id, sweep, live))}}

    def _commands(self, agent: str, sweep: Sweep, live: list[Run]) -> list[dict[str, Any]]:
        self._judge(sweep, live)
        if live:
            stopped = [run for run in live if run.stop or sweep.state == "CANCELED"]
            return [{"type": "stop", "run_id": run.name} for run in stopped]
        if sweep.state == "PAUSED":
            return []
        if sweep.state in ("FINISHED", "CANCELED") or self._target_reached(sweep):
            return [{"type": "exit"}]
        program = {"program": sweep.config.get("program")}
        preempted = next((run for run in self.list_runs(sweep.name) if run.state == "preempted"), None)
        if preempted is not None:
            preempted.state, preempted.agent = "pending", agent
            again = {**preempted.args, "_wandb": {"value": {}}}
            return [{"type": "resume", "run_id": preempted.name, "args": again, **program}]
        if sweep.size is not None and sweep.given >= sweep.size:
            waiting = any(run.state in ("running", "pending") for run in self.list_runs(sweep.name))
            sweep.state = sweep.state if waiting else "FINISHED"
            return [{"type": "exit"}]
        drawn = sweep.search.draw(sweep.given) or {}
        sweep.given += 1
        args = {name: {"value": value} for name, value in drawn.items()}
        run = Run(f"r{next(self._ids):07}", sweep.project, len(self.runs), sweep.name, agent, args)
        self.runs[run.name] = run
        return [{"type": "run", "run_id": run.name, "args": args, **program}]

    def _target_reached(self, sweep: Sweep) -> bool:
        metric = sweep.spec.metric
        values = [value for run in self.list_runs(sweep.name) for value in run.values(metric.name if metric else "")]
        target, sign = (metric.target, -1 if metric.goal == "maximize" else 1) if metric else (None, 1)
        return target is not None and any(sign * value <= sign * target for value in values)

    def _judge(self, sweep: Sweep, live: list[Run]) -> None:
        if sweep.spec.metric and sweep.spec.early_terminate:
            histories = {run.name: run.values(sweep.spec.metric.name) for run in self.list_runs(sweep.name)}
            for name in hyperband(sweep.spec.early_terminate, sweep.spec.goal, histories, [run.name for run in live]):
                self.runs[name].stop = True

    def on_GetAgentRuns(self, agentID: str, **_: Any) -> Any:
        edges = [{"node": run.node(), "cursor": run.name} for run in self.runs.values() if run.agent == agentID]
        return {"project": {"sweep": {"agent": {"runs": {"edges": edges, "pageInfo": {"hasNextPage": False}}}}}}

    def stream(self, name: str, body: dict[str, Any]) -> Any:
        """A run's file stream: history lines at their offsets, the summary, the end."""
        with self.lock:
            self.requests.append(("file_stream", {"run": name, **body}))
            run = self.runs[name]
            for file, part in body.get("files", {}).items():
                lines = [json.loads(line) for line in part["content"]] if file.endswith((".jsonl", ".json")) else []
                if file == "wandb-history.jsonl":
                    run.history[part.get("offset", 0) :] = lines
                elif file == "wandb-summary.json" and lines:
                    run.summary = lines[-1]
            run.preempting = run.preempting or bool(body.get("preempting"))
            if body.get("complete"):
                run.exitcode = body.get("exitcode", 0)
                again = run.preempting and run.exitcode != 0
                run.state = "preempted" if again else "finished" if run.exitcode == 0 else "failed"
            return {"exitcode": None, "limits": {}, "stopped": run.stop}


def _place(project: str) -> dict[str, Any]:
    return {"id": "1", "name": project, "entity": {"id": "1", "name": ENTITY}}


def _stamp(number: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + number))


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
            if not stream and self.path != "/graphql":  # telemetry
                return self._send(404, {})
            body = json.loads(raw)
            named = re.search(r"(?:query|mutation)\s+(\w+)", body.get("query", ""))
            operation = "file_stream" if stream else body.get("operationName") or (named[1] if named else "")
            fault = self._fault(operation)
            time.sleep(fault.delay_s)
            if fault.status:
                return self._send(fault.status, fault.reply, fault.headers)
            status, reply = self._reply(stream[1] if stream else None, operation, body)
            if not fault.drop:
                return self._send(status, reply)
            self.close_connection = True
            self.connection.close()

        def _reply(self, streamed: str | None, operation: str, body: dict[str, Any]) -> tuple[int, Any]:
            if self.headers.get("Authorization") != _AUTHORIZATION:
                return 401, {"errors": [{"message": "user is not logged in"}]}
            try:
                if streamed:
                    return 200, server.stream(streamed, body)
                return 200, {"data": server.answer(operation, body.get("variables") or {})}
            except _Refused as refusal:
                return refusal.args[0], {"errors": [{"message": refusal.args[1]}]}

        def _fault(self, operation: str) -> Fault:
            with server.lock:
                for fault in server.faults:
                    if fault.met < fault.times and re.fullmatch(fault.operation, operation):
                        fault.met += 1
                        return fault
            return _NO_FAULT

        def _send(self, status: int, reply: Any, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(reply).encode()
            with suppress(OSError):
                self.send_response_only(status)
                self.send_header("Date", formatdate(time.time() + server.clock_skew_s, usegmt=True))
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

    return Handler
