"""``wandbsweep doctor``: whether sweeps at W&B can work from here, one line a finding, with what to do."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from wandbsweep.controllers.hosted.transport import VIEWER, Patience, Reply, WandbError, Wire
from wandbsweep.errors import SweepConfigError, SweepError
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.wandb_runs.auth import Login, LoginError, read_login

WANDB_KNOWN = (0, 31)
"""The version of wandb whose wire ``hosted_wire`` speaks; ``pyproject.toml`` pins it."""

_PROJECT = """
query GetProject($name: String!, $entity: String!) { project(name: $name, entityName: $entity) { id name } }"""

_SKEW_S = 10.0
_TIMEOUT_S = 15.0
_AT_ONCE = Patience(total_s=0.0)
_AT_A_START = Patience(total_s=10.0, longest_s=4.0)


@dataclass(frozen=True)
class Finding:
    """What one check found. ``todo``: what to do about it; empty where all is well."""

    check: str
    state: Literal["ok", "warning", "error"]
    found: str
    todo: str = ""

    def __str__(self) -> str:
        mark = {"ok": "ok", "warning": "WARN", "error": "FAIL"}[self.state]
        return f"{mark:<5} {self.check}: {self.found}" + (f" -> {self.todo}" if self.todo else "")

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def examine(
    sweep: str | os.PathLike[str] | SweepSpec | None = None,
    *,
    entity: str | None = None,
    project: str | None = None,
    patience: Patience = _AT_ONCE,
) -> list[Finding]:
    """All findings, in the order in which to mend things. ``sweep``: a sweep file, or what was read from one.

    ``patience``: with a server that does not answer, or not now.
    """
    return [*_wandb_version(), *_server(entity, project, patience), *(_sweep(sweep) if sweep is not None else ())]


def refuse_if_unwell(spec: SweepSpec | None, *, entity: str | None = None, project: str | None = None) -> None:
    """The check before a hosted sweep starts. Raises SweepError with every error found; warnings are warned of."""
    findings = examine(spec, entity=entity, project=project, patience=_AT_A_START)
    for finding in findings:
        if finding.state == "warning":
            warnings.warn(str(finding), UserWarning, stacklevel=2)
    if errors := [f"  - {finding}" for finding in findings if finding.state == "error"]:
        raise SweepError("\n".join(["A sweep at W&B cannot run from here:", *errors]))


def _wandb_version() -> Iterator[Finding]:
    known = ".".join(map(str, WANDB_KNOWN))
    install = f"pip install 'wandb=={known}.*'"
    try:
        installed = version("wandb")
    except PackageNotFoundError:
        yield Finding("wandb", "error", "not installed", install)
        return
    if _numbers(installed)[:2] == WANDB_KNOWN:
        yield Finding("wandb", "ok", installed)
    else:
        found = f"{installed}, but the agents' protocol is known of {known}"
        yield Finding("wandb", "warning", found, f"if agents get no trials: {install}")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


# -- the server -----------------------------------------------------------------------------------------------------


def _server(entity: str | None, project: str | None, patience: Patience) -> Iterator[Finding]:
    mode = os.environ.get("WANDB_MODE")
    if mode not in (None, "", "online", "run"):
        yield Finding("mode", "error", f"WANDB_MODE is {mode}", "unset it: W&B's servers decide in such a sweep")
    try:
        login = read_login(entity=entity, project=project)
    except LoginError as error:
        nobody = replace(read_login(need_key=False), api_key="none")
        reached, _ = _ask(Wire(nobody, patience, timeout_s=_TIMEOUT_S), _reachable)
        yield from reached
        yield Finding("key", "error", "there is none", str(error))
        return
    wire = Wire(login, patience, timeout_s=_TIMEOUT_S)
    reached, reply = _ask(wire, _reachable)
    yield from reached
    if reply is None:
        return
    yield from _account(wire, login, reply.data.get("viewer") or {})


def _ask(wire: Wire, judge: Callable[[str, WandbError], list[Finding]]) -> tuple[list[Finding], Reply | None]:
    pauses = wire.patience.pauses()
    while True:
        before = time.time()
        try:
            reply = wire.once("Viewer", VIEWER, {})
            break
        except WandbError as error:
            if not error.transient:
                return judge(wire.login.base_url, error), None
            try:
                wire.back_off(error, pauses)
            except WandbError:
                return judge(wire.login.base_url, error), None
    after = time.time()
    took = Finding("server", "ok", f"{wire.login.base_url} answers in {after - before:.2f} s")
    return [took, *_clock(reply, before, after)], reply


def _reachable(url: str, error: WandbError) -> list[Finding]:
    if error.status == 401:
        todo = "run `wandb login --relogin`, or set WANDB_API_KEY"
        told = [] if "none" in url else [Finding("key", "error", "the server does not accept it", todo)]
        return [Finding("server", "ok", f"{url} answers"), *told]
    if error.status is None:
        todo = "check the network, HTTPS_PROXY and WANDB_BASE_URL"
        return [Finding("server", "error", str(error), todo)]
    todo = "wait and try again" if error.transient else "is WANDB_BASE_URL the address of W&B's API?"
    return [Finding("server", "error", str(error), todo)]


def _clock(reply: Reply, before: float, after: float) -> Iterator[Finding]:
    if reply.server_time is None:
        return
    skew = (before + after) / 2 - (reply.server_time + 0.5)  # the server tells whole seconds
    if abs(skew) <= _SKEW_S + (after - before):
        yield Finding("clock", "ok", "within seconds of the server's")
    else:
        found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
        yield Finding("clock", "warning", found, "set it (NTP): times of runs will be wrong, and keys may be refused")


def _account(wire: Wire, login: Login, viewer: Mapping[str, Any]) -> Iterator[Finding]:
    if not viewer:
        yield Finding("key", "error", "the server does not know whose it is", "run `wandb login --relogin`")
        return
    yield Finding("key", "ok", f"{viewer.get('username') or viewer.get('entity')}'s")
    teams = [edge["node"]["name"] for edge in (viewer.get("teams") or {}).get("edges") or []]
    own = [name for name in dict.fromkeys([viewer.get("entity"), viewer.get("username"), *teams]) if name]
    entity = login.entity or (own[0] if own else None)
    if entity is None:
        yield Finding("entity", "error", "none is set, and the account has no default", "set WANDB_ENTITY")
        return
    if entity not in own:
        todo = f"set WANDB_ENTITY to one of {', '.join(own)}, or ask to be let in" if own else "set WANDB_ENTITY"
        yield Finding("entity", "warning", f"{entity} is none of the account's", todo)
    else:
        yield Finding("entity", "ok", entity)
    yield _project(wire, entity, login.project)


def _project(wire: Wire, entity: str, name: str | None) -> Finding:
    if name is None:
        return Finding("project", "warning", "none is set: W&B takes 'uncategorized'", "set WANDB_PROJECT")
    try:
        project = wire.once("GetProject", _PROJECT, {"name": name, "entity": entity}).data.get("project")
    except WandbError as error:
        if error.status == 403:
            return Finding("project", "error", str(error), f"is {entity}/{name} spelt right, and yours to see?")
        return Finding("project", "ok", f"{entity}/{name}; whether it is there the server does not tell")
    if project is None:
        return Finding("project", "warning", f"{entity}/{name} is not there", "the first sweep or run will make it")
    return Finding("project", "ok", f"{entity}/{name}")


# -- the sweep file -------------------------------------------------------------------------------------------------


def _sweep(sweep: str | os.PathLike[str] | SweepSpec) -> Iterator[Finding]:
    from wandbsweep.controllers.hosted.create import refuse_what_wandb_refuses

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            spec = sweep if isinstance(sweep, SweepSpec) else load_sweep(sweep)
            refuse_what_wandb_refuses(spec)
        except SweepConfigError as error:
            for violation in error.violations:
                yield Finding("sweep", "error", violation, "see docs/sweep-files.md")
            return
        except OSError as error:
            yield Finding("sweep", "error", str(error), "name a sweep file that is there")
            return
    for warning in seen:
        yield Finding("sweep", "warning", " ".join(str(warning.message).split()), "")
    method = spec.method_info
    if not method.finite and not method.external and spec.run_cap is None:
        yield Finding("sweep", "warning", f"nothing ends a {spec.method} search without run_cap", "set run_cap")
    if spec.metric is None and (method.learns or spec.early_terminate):
        yield Finding("sweep", "error", f"{spec.method} and early_terminate need a metric", "set metric.name")
    yield from _bounds(spec)
    if not seen:
        yield Finding("sweep", "ok", f"valid for W&B: {spec.method}, {len(spec.parameters)} parameters")


def _bounds(spec: SweepSpec) -> Iterator[Finding]:
    from wandbsweep.controllers.hosted.create import ambiguous

    for name in ambiguous(spec):
        found = f"parameters.{name}: of its bounds one is an integer and one is not, which `wandb sweep` refuses"
        yield Finding("sweep", "warning", found, "write both as floats")
