"""One W&B sweep as its agents use it: registration, heartbeats, commands, runs and the sweep's state."""

from __future__ import annotations

import json
import logging
import math
import socket
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wandbsweep.controllers.hosted import queries
from wandbsweep.controllers.hosted.transport import BACKOFF, Transport, WandbError
from wandbsweep.retry import Backoff
from wandbsweep.wandb_runs.auth import Login
from wandbsweep.wandb_runs.sweep_run import OWN_KEYS

_PAGE_SIZE = 100
"""How many of the newest runs a query returns."""
_PAUSE_CHECK_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AgentCommand:
    """A command that W&B gives to an agent."""

    type: Literal["run", "resume", "stop", "exit"]
    run_id: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    """name -> {"value": value}, as W&B sent it, without W&B's own keys."""


class SweepClient:
    """The requests of one sweep's agents."""

    def __init__(self, transport: Transport, sweep_id: str) -> None:
        self.transport = transport
        self.sweep_id = sweep_id
        self._place = {"entity": transport.login.entity, "project": transport.login.project}
        self._paused, self._pause_checked = False, -math.inf

    def create_agent(self) -> str | None:
        """Register an agent and return its id; None: the sweep is over or deleted."""
        variables = {
            "host": socket.gethostname(),
            "projectName": self._place["project"],
            "entityName": self._place["entity"],
            "sweep": self.sweep_id,
        }
        try:
            data = self.transport.call("CreateAgent", queries.CREATE_AGENT, variables).data
        except WandbError as error:
            # UNKNOWN: the server does not tell the state, and has just refused an agent.
            over = (None, "FINISHED", "CANCELED", "UNKNOWN")
            if error.status == 404 or (error.status == 400 and self.fetch_state() in over):
                return None
            raise
        return str(_find(data, "CreateAgent", "createAgent", "agent", "id"))

    def send_heartbeat(self, agent_id: str, running: Collection[str]) -> list[AgentCommand]:
        """Report the runs that are alive and return W&B's commands.

        It is sent only once: with no run alive, W&B may answer a repeated heartbeat with another run.
        """
        run_state = json.dumps(dict.fromkeys(running, True))
        variables = {"id": agent_id, "metrics": "{}", "runState": run_state}
        reply = self.transport.call_once("Heartbeat", queries.HEARTBEAT, variables).data.get("agentHeartbeat")
        commands = _parse_json(reply.get("commands")) if isinstance(reply, Mapping) else None
        found = map(_parse_command, commands if isinstance(commands, list) else [])
        return [command for command in found if command]

    def fetch_pending_runs(self, agent_id: str) -> list[AgentCommand]:
        """Return the commands for the runs that W&B gave to ``agent_id`` and that have not started.

        If the server does not list the runs of an agent, those of all agents are returned.
        """
        variables: dict[str, Any] = {**self._place, "agentID": agent_id, "sweep": self.sweep_id}
        variables |= {"first": _PAGE_SIZE, "order": "-created_at"}
        try:
            data = self.transport.call("GetAgentRuns", queries.AGENT_RUNS, variables).data
            nodes = _read_nodes(_find(data, "GetAgentRuns", "project", "sweep", "agent", "runs"))
        except WandbError as error:
            if error.is_transient:
                raise
            nodes = self._fetch_runs({"sweep": self.sweep_id})
        pending = [node for node in nodes if str(node.get("state")).lower() in ("pending", "queued")]
        return [AgentCommand("run", str(node["name"]), self._fetch_args(node)) for node in pending]

    def fetch_run_state(self, run_id: str, *, retry: bool = True) -> str | None:
        """Return the state of a run; None: W&B does not know it. Without ``retry``, ask once."""
        node = self._fetch_run(run_id, retry=retry)
        return str(node.get("state")).lower() if node else None

    def can_resume(self, run_id: str) -> bool:
        """Return whether wandb can resume a run that has started.

        wandb's client sends the same query before it resumes, and fails if the server refuses it.
        """
        variables = {**self._place, "name": run_id}
        try:
            return bool(self.transport.call_once("RunResumeStatus", queries.RESUME_STATUS, variables).data.get("model"))
        except WandbError as error:
            log.info("%s", error)
            return error.is_transient

    def fetch_state(self) -> str | None:
        """Return RUNNING, PAUSED, FINISHED, CANCELED, PENDING or UNKNOWN; None: there is no such sweep."""
        try:
            sweep = self._fetch_sweep()
        except WandbError as error:
            if error.is_transient or error.status in (401, 403):
                raise
            return None if error.status == 404 else "UNKNOWN"  # the server does not support the query
        return _read_state(sweep) if sweep else None

    def fetch_config(self) -> dict[str, Any] | None:
        """Return the sweep's configuration as W&B stores it; None: there is no such sweep."""
        sweep = self._fetch_sweep()
        if sweep is None:
            return None
        import yaml

        try:
            config = yaml.safe_load(str(sweep.get("config") or ""))
        except yaml.YAMLError:
            config = None
        if not isinstance(config, dict):
            raise WandbError(f"W&B does not give the configuration of the sweep {self.sweep_id}", 400)
        return config

    def is_paused(self) -> bool:
        """Return whether the sweep is paused; False while W&B fails.

        It asks W&B at most every ``_PAUSE_CHECK_S``, and only once.
        """
        if time.monotonic() - self._pause_checked > _PAUSE_CHECK_S:
            self._pause_checked = time.monotonic()
            try:
                sweep = self._fetch_sweep(retry=False)
                self._paused = sweep is not None and _read_state(sweep) == "PAUSED"
            except WandbError as error:
                log.info("%s", error)
                self._paused = False
        return self._paused

    def set_state(self, state: str) -> None:
        """Set the sweep's state to RUNNING, PAUSED, FINISHED or CANCELED, as ``wandb sweep --pause`` and others do."""
        entity, project = self._place["entity"], self._place["project"]
        sweep = self._fetch_sweep()
        if sweep is None:
            raise WandbError(f"W&B has no sweep {entity}/{project}/{self.sweep_id}", 404)
        variables = {"id": sweep["id"], "state": state, "entityName": entity, "projectName": project}
        self.transport.call("UpsertSweep", queries.SET_STATE, variables)
        self._pause_checked = -math.inf

    def _fetch_sweep(self, *, retry: bool = True) -> Mapping[str, Any] | None:
        call = self.transport.call if retry else self.transport.call_once
        data = call("GetSweep", queries.SWEEP, {"name": self.sweep_id, **self._place}).data
        return (data.get("project") or {}).get("sweep")

    def _fetch_run(self, run_id: str, *, retry: bool = True) -> Mapping[str, Any] | None:
        """Return a run by its id; if the server cannot filter by it, look among the sweep's newest runs."""
        of_sweep = {"sweep": self.sweep_id}
        try:
            nodes = self._fetch_runs(of_sweep, {"name": run_id}, retry=retry)
        except WandbError as error:
            if error.status != 400:
                raise
            nodes = []
        nodes = nodes or self._fetch_runs(of_sweep, retry=retry)
        return next((node for node in nodes if node["name"] == run_id), None)

    def _fetch_runs(self, *filters: Mapping[str, Any], retry: bool = True) -> list[Mapping[str, Any]]:
        variables: dict[str, Any] = {**self._place, "filters": json.dumps({"$and": list(filters)})}
        variables |= {"order": "-created_at", "perPage": _PAGE_SIZE, "cursor": None}
        call = self.transport.call if retry else self.transport.call_once
        return _read_nodes((call("Runs", queries.RUNS, variables).data.get("project") or {}).get("runs"))

    def _fetch_args(self, node: Mapping[str, Any]) -> dict[str, Any]:
        config = node.get("config")
        if config is None:  # some servers list the runs of agents without it
            config = (self._fetch_run(node["name"]) or {}).get("config")
        args = _parse_json(config)
        return _drop_own_keys(args if isinstance(args, dict) else {})


def connect(login: Login, backoff: Backoff = BACKOFF) -> Transport:
    """Return a transport whose login has entity and project; if they are not set, they are W&B's defaults."""
    transport = Transport(login, backoff)
    entity = login.entity
    if not entity:
        viewer = transport.call("Viewer", queries.VIEWER, {}).data.get("viewer") or {}
        entity = viewer.get("entity") or viewer.get("username") or ""
    if not entity:
        raise WandbError("W&B names no default entity for this account; set WANDB_ENTITY", 403)
    transport.login = replace(login, entity=entity, project=login.project or "uncategorized")
    return transport


def _parse_command(raw: Any) -> AgentCommand | None:
    """Return a command as W&B wrote it; None: an unknown one, which agents ignore."""
    if not isinstance(raw, dict) or raw.get("type") not in ("run", "resume", "stop", "exit"):
        return None
    return AgentCommand(raw["type"], str(raw.get("run_id") or ""), _drop_own_keys(raw.get("args") or {}))


def read_values(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a run's ``args`` by name."""
    return {name: arg["value"] if isinstance(arg, dict) and "value" in arg else arg for name, arg in args.items()}


def _read_state(sweep: Mapping[str, Any]) -> str:
    state = str(sweep.get("state") or "UNKNOWN").upper()
    return "CANCELED" if state == "CANCELLED" else state


def _drop_own_keys(args: Mapping[str, Any]) -> dict[str, Any]:
    return {name: arg for name, arg in args.items() if name not in OWN_KEYS}


def _find(data: Any, operation: str, *path: str) -> Any:
    """Return the value at ``path`` in a reply. Raises WandbError if there is none."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    if data is None:
        raise WandbError(f"W&B answers {operation} without {'.'.join(path)}", 400)
    return data


def _parse_json(value: Any) -> Any:
    """Return what ``value`` holds: some servers send JSON text for what others send as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _read_nodes(connection: Any) -> list[Mapping[str, Any]]:
    edges = connection.get("edges") if isinstance(connection, Mapping) else None
    nodes = [edge.get("node") for edge in edges or [] if isinstance(edge, Mapping)]
    return [node for node in nodes if isinstance(node, Mapping) and node.get("name")]
