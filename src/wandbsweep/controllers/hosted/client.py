"""What an agent says to W&B's sweep controller, and what it is told: commands, runs, states."""

from __future__ import annotations

import json
import logging
import math
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wandbsweep.controllers.hosted.transport import (
    AGENT_RUNS,
    CREATE_AGENT,
    HEARTBEAT,
    RESUME_STATUS,
    RUNS,
    SET_STATE,
    SWEEP,
    VIEWER,
    WandbError,
    Wire,
)
from wandbsweep.wandb_runs.auth import Login

OVER = ("FINISHED", "CANCELED", "UNKNOWN")
"""States in which W&B takes no agents; UNKNOWN where it just refused one."""

_RUNS_LOOKED_AT = 100
_GLANCE_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """What W&B tells an agent to do."""

    type: Literal["run", "resume", "stop", "exit"]
    run_id: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    """name -> {"value": value}, as W&B sent it, without its own ``_wandb``."""


@dataclass(frozen=True)
class RunState:
    """A run of the sweep as W&B sees it."""

    run_id: str
    state: str
    args: Mapping[str, Any]


class SweepClient:
    """One sweep at W&B, seen by its agents."""

    def __init__(self, wire: Wire, sweep_id: str) -> None:
        self.wire = wire
        self.sweep_id = sweep_id
        self._place = {"entity": wire.login.entity, "project": wire.login.project}
        self._paused, self._glanced = False, -math.inf

    def create_agent(self) -> str | None:
        """Register an agent; its id. None: the sweep is over, or gone."""
        variables = {
            "host": socket.gethostname(),
            "projectName": self._place["project"],
            "entityName": self._place["entity"],
            "sweep": self.sweep_id,
        }
        try:
            data = self.wire.call("CreateAgent", CREATE_AGENT, variables)
        except WandbError as error:
            if error.status == 404 or (error.status == 400 and self.state() in (None, *OVER)):
                return None
            raise
        return str(_found(data, "CreateAgent", "createAgent", "agent", "id"))

    def heartbeat(self, agent_id: str, running: Collection[str]) -> list[Command]:
        """Say which runs are alive; what W&B commands. Asked once: it is not idempotent."""
        run_state = json.dumps(dict.fromkeys(running, True))
        variables = {"id": agent_id, "metrics": "{}", "runState": run_state}
        told = self.wire.once("Heartbeat", HEARTBEAT, variables).data.get("agentHeartbeat")
        commands = told.get("commands") if isinstance(told, Mapping) else None
        return [command for raw in _listed(commands) if (command := read_command(raw))]

    def pending_of(self, agent_id: str) -> list[RunState]:
        """The runs given to ``agent_id`` and not begun; where the server knows no agents' runs, anybody's."""
        variables: dict[str, Any] = {**self._place, "agentID": agent_id, "sweep": self.sweep_id}
        variables |= {"first": _RUNS_LOOKED_AT, "order": "-created_at"}
        try:
            data = self.wire.call("GetAgentRuns", AGENT_RUNS, variables)
            nodes = _nodes(_found(data, "GetAgentRuns", "project", "sweep", "agent", "runs"))
        except WandbError as error:
            if error.transient:
                raise
            nodes = self._runs({"sweep": self.sweep_id})
        pending = [node for node in nodes if str(node.get("state")).lower() in ("pending", "queued")]
        return [self._whole(node) for node in pending]

    def run_state(self, run_id: str, *, patient: bool = True) -> str | None:
        """The state of a run; None: W&B knows none of that id. Not ``patient``: asked once."""
        node = self._named_run(run_id, patient=patient)
        return str(node.get("state")).lower() if node else None

    def _named_run(self, run_id: str, *, patient: bool = True) -> Mapping[str, Any] | None:
        """As W&B lists it; where a server knows no such filter, among the sweep's newest."""
        of_sweep = {"sweep": self.sweep_id}
        try:
            nodes = self._runs(of_sweep, {"name": run_id}, patient=patient)
        except WandbError as error:
            if error.status != 400:
                raise
            nodes = []
        nodes = nodes or self._runs(of_sweep, patient=patient)
        return next((node for node in nodes if node["name"] == run_id), None)

    def resumes(self, run_id: str) -> bool:
        """Whether wandb can go on with a run that was begun: it asks for this first, and gives up if it is refused."""
        variables = {**self._place, "name": run_id}
        try:
            return bool(self.wire.once("RunResumeStatus", RESUME_STATUS, variables).data.get("model"))
        except WandbError as error:
            log.info("%s", error)
            return error.transient

    def state(self) -> str | None:
        """RUNNING, PAUSED, FINISHED, CANCELED, PENDING or UNKNOWN; None: there is no such sweep."""
        try:
            sweep = self._sweep()
        except WandbError as error:
            if error.transient or error.status in (401, 403):
                raise
            return None if error.status == 404 else "UNKNOWN"  # a server that does not tell
        return _state_of(sweep) if sweep else None

    def config(self) -> dict[str, Any] | None:
        """The sweep's configuration as W&B has it; None: there is no such sweep."""
        sweep = self._sweep()
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
        """As ``state``, but asked once, and at most every ``_GLANCE_S``; while W&B is in trouble: no."""
        if time.monotonic() - self._glanced > _GLANCE_S:
            self._glanced = time.monotonic()
            try:
                sweep = _sweep_in(self.wire.once("GetSweep", SWEEP, self._named()).data)
                self._paused = sweep is not None and _state_of(sweep) == "PAUSED"
            except WandbError as error:
                log.info("%s", error)
                self._paused = False
        return self._paused

    def _sweep(self) -> Mapping[str, Any] | None:
        return _sweep_in(self.wire.call("GetSweep", SWEEP, self._named()))

    def _named(self) -> dict[str, Any]:
        return {"name": self.sweep_id, **self._place}

    def set_state(self, state: str) -> None:
        """Order W&B to run, pause, finish or cancel the sweep, as ``wandb sweep --pause`` and its like do."""
        entity, project = self._place["entity"], self._place["project"]
        sweep = self._sweep()
        if sweep is None:
            raise WandbError(f"W&B has no sweep {entity}/{project}/{self.sweep_id}", 404)
        variables = {"id": sweep["id"], "state": state, "entityName": entity, "projectName": project}
        self.wire.call("UpsertSweep", SET_STATE, variables)
        self._glanced = -math.inf

    def _whole(self, node: Mapping[str, Any]) -> RunState:
        config = node.get("config")
        if config is None:  # some servers list agents' runs without it
            config = (self._named_run(node["name"]) or {}).get("config")
        args = _json(config) if isinstance(config, str) else config
        return RunState(str(node["name"]), str(node["state"]).lower(), _own(args if isinstance(args, dict) else {}))

    def _runs(self, *filters: Mapping[str, Any], patient: bool = True) -> list[Mapping[str, Any]]:
        variables: dict[str, Any] = {**self._place, "filters": json.dumps({"$and": list(filters)})}
        variables |= {"order": "-created_at", "perPage": _RUNS_LOOKED_AT, "cursor": None}
        wire = self.wire
        data = wire.call("Runs", RUNS, variables) if patient else wire.once("Runs", RUNS, variables).data
        return _nodes((data.get("project") or {}).get("runs"))


def complete_login(wire: Wire) -> Login:
    """The wire's login with its entity; where none is set, the account's own."""
    login = wire.login
    if login.entity is None:
        viewer = wire.call("Viewer", VIEWER, {}).get("viewer") or {}
        login = replace(login, entity=viewer.get("entity") or viewer.get("username"))
    if not login.entity:
        raise WandbError("W&B names no default entity for this account; set WANDB_ENTITY", 403)
    return replace(login, project=login.project or "uncategorized")


def read_command(raw: Any) -> Command | None:
    """A command as W&B wrote it; None: one that we do not know, which is no reason to end an agent."""
    if not isinstance(raw, dict) or raw.get("type") not in ("run", "resume", "stop", "exit"):
        return None
    return Command(raw["type"], str(raw.get("run_id") or ""), _own(raw.get("args") or {}))


def values_of(args: Mapping[str, Any]) -> dict[str, Any]:
    return {name: arg["value"] if isinstance(arg, dict) and "value" in arg else arg for name, arg in args.items()}


def _sweep_in(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return (data.get("project") or {}).get("sweep")


def _state_of(sweep: Mapping[str, Any]) -> str:
    state = str(sweep.get("state") or "UNKNOWN").upper()
    return "CANCELED" if state == "CANCELLED" else state


def _own(args: Mapping[str, Any]) -> dict[str, Any]:
    return {name: arg for name, arg in args.items() if name not in ("_wandb", "wandb_version")}


def _found(data: Any, operation: str, *path: str) -> Any:
    """What stands at ``path`` in a reply. Raises WandbError where nothing does."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    if data is None:
        raise WandbError(f"W&B answers {operation} without {'.'.join(path)}", 400)
    return data


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _listed(commands: Any) -> Sequence[Any]:
    found = _json(commands) if isinstance(commands, str) else commands
    return found if isinstance(found, list) else []


def _nodes(connection: Any) -> list[Mapping[str, Any]]:
    edges = connection.get("edges") if isinstance(connection, Mapping) else None
    nodes = [edge.get("node") for edge in edges or [] if isinstance(edge, Mapping)]
    return [node for node in nodes if isinstance(node, Mapping) and node.get("name")]
