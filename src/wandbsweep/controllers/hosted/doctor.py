"""Check whether a sweep can run at W&B, from here; each finding says what to do about it."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from wandbsweep.controllers.hosted.queries import PROJECT, VIEWER
from wandbsweep.controllers.hosted.transport import Reply, Transport, WandbError
from wandbsweep.errors import SweepConfigError, SweepError
from wandbsweep.retry import Backoff
from wandbsweep.spec.early_termination import THAW
from wandbsweep.spec.load import load_sweep
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.wandb_runs.auth import Login, LoginError, read_login

WANDB_KNOWN = (0, 31)
"""The wandb version whose protocol ``queries`` follows; ``pyproject.toml`` pins it."""

_CLOCK_TOLERANCE_S = 10.0
_TIMEOUT_S = 15.0
_NO_RETRY = Backoff(total_s=0.0, first_s=0.5, longest_s=0.5)
_START_BACKOFF = Backoff(total_s=10.0, first_s=0.5, longest_s=4.0, jitter=(0.5, 1.5))


@dataclass(frozen=True)
class Finding:
    """The result of one check. ``todo``: what to do about it; empty if all is well."""

    check: str
    state: Literal["ok", "warning", "error"]
    found: str
    todo: str = ""

    def __str__(self) -> str:
        mark = {"ok": "ok", "warning": "WARN", "error": "FAIL"}[self.state]
        return f"{mark:<5} {self.check}: {self.found}" + (f" -> {self.todo}" if self.todo else "")


def run_checks(
    sweep: str | os.PathLike[str] | SweepSpec | None = None,
    *,
    entity: str | None = None,
    project: str | None = None,
    backoff: Backoff = _NO_RETRY,
) -> list[Finding]:
    """Run all checks.

    Args:
        sweep: A sweep file, or its specification; None: only the setup is checked.
        entity: None: wandb's default.
        project: None: wandb's default.
        backoff: How long to retry if the server does not answer.

    Returns:
        The findings, in the order in which to fix them.
    """
    return [
        *_check_wandb_version(),
        *_check_server(entity, project, backoff),
        *(_check_sweep(sweep) if sweep is not None else ()),
    ]


def require_healthy_setup(spec: SweepSpec | None, *, entity: str | None = None, project: str | None = None) -> None:
    """Run the checks before a hosted sweep starts.

    Args:
        spec: What the sweep searches; None: it is already at W&B.
        entity: None: wandb's default.
        project: None: wandb's default.

    Raises:
        SweepError: Checks failed; the message lists all of them. Lesser findings become Python warnings.
    """
    findings = run_checks(spec, entity=entity, project=project, backoff=_START_BACKOFF)
    for finding in findings:
        if finding.state == "warning":
            warnings.warn(str(finding), UserWarning, stacklevel=2)
    if errors := [f"  - {finding}" for finding in findings if finding.state == "error"]:
        raise SweepError("\n".join(["A sweep at W&B cannot run from here:", *errors]))


def _check_wandb_version() -> Iterator[Finding]:
    known = ".".join(map(str, WANDB_KNOWN))
    install = f"pip install 'wandb=={known}.*'"
    try:
        installed = version("wandb")
    except PackageNotFoundError:
        yield Finding("wandb", "error", "not installed", install)
        return
    if tuple(int(number) for number in re.findall(r"\d+", installed))[:2] == WANDB_KNOWN:
        yield Finding("wandb", "ok", installed)
    else:
        found = f"{installed}, but wandbsweep speaks the protocol of {known}"
        yield Finding("wandb", "warning", found, f"if agents get no trials: {install}")


# -- the server -----------------------------------------------------------------------------------------------------


def _check_server(entity: str | None, project: str | None, backoff: Backoff) -> Iterator[Finding]:
    mode = os.environ.get("WANDB_MODE")
    if mode not in (None, "", "online", "run"):
        yield Finding("mode", "error", f"WANDB_MODE is {mode}", "unset it: a hosted sweep needs W&B's servers")
    try:
        login = read_login(entity=entity, project=project)
    except LoginError as error:
        anonymous = replace(read_login(need_key=False), api_key="none")
        reached, _ = _ask_viewer(Transport(anonymous, backoff, timeout_s=_TIMEOUT_S))
        # A refusal shows that the server answers; that the made-up key is refused is no finding.
        yield from (finding for finding in reached if finding.check != "key")
        yield Finding("key", "error", "there is none", str(error))
        return
    transport = Transport(login, backoff, timeout_s=_TIMEOUT_S)
    reached, reply = _ask_viewer(transport)
    yield from reached
    if reply is not None:
        yield from _check_account(transport, login, reply.data.get("viewer") or {})


def _ask_viewer(transport: Transport) -> tuple[list[Finding], Reply | None]:
    """Ask the server who is logged in; return its reply, and the findings on server and clock."""
    before = time.time()
    try:
        reply = transport.call("Viewer", VIEWER, {})
    except WandbError as error:
        return _explain(transport.login.base_url, error), None
    after = time.time()
    server = Finding("server", "ok", f"{transport.login.base_url} answers in {after - before:.2f} s")
    return [server, *_check_clock(reply, before, after)], reply


def _explain(url: str, error: WandbError) -> list[Finding]:
    if error.status == 401:
        todo = "run `wandb login --relogin`, or set WANDB_API_KEY"
        key = Finding("key", "error", "the server does not accept it", todo)
        return [Finding("server", "ok", f"{url} answers"), key]
    if error.status is None:
        todo = "check the network, HTTPS_PROXY and WANDB_BASE_URL"
    else:
        todo = "wait and try again" if error.is_transient else "is WANDB_BASE_URL the address of W&B's API?"
    return [Finding("server", "error", str(error), todo)]


def _check_clock(reply: Reply, before: float, after: float) -> Iterator[Finding]:
    if reply.server_time is None:
        return
    skew = (before + after) / 2 - (reply.server_time + 0.5)  # the server's date has whole seconds
    if abs(skew) <= _CLOCK_TOLERANCE_S + (after - before):
        yield Finding("clock", "ok", "within seconds of the server's")
    else:
        found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
        yield Finding("clock", "warning", found, "set it (NTP): times of runs will be wrong, and keys may be refused")


def _check_account(transport: Transport, login: Login, viewer: Mapping[str, Any]) -> Iterator[Finding]:
    if not viewer:
        yield Finding("key", "error", "the server does not know whose it is", "run `wandb login --relogin`")
        return
    yield Finding("key", "ok", f"{viewer.get('username') or viewer.get('entity')}'s")
    teams = [edge["node"]["name"] for edge in (viewer.get("teams") or {}).get("edges") or []]
    own = [name for name in dict.fromkeys([viewer.get("entity"), viewer.get("username"), *teams]) if name]
    entity = login.entity or (own[0] if own else "")
    if not entity:
        yield Finding("entity", "error", "none is set, and the account has no default", "set WANDB_ENTITY")
        return
    if entity not in own:
        todo = f"set WANDB_ENTITY to one of {', '.join(own)}, or ask for access" if own else "set WANDB_ENTITY"
        yield Finding("entity", "warning", f"{entity} is not one of the account's", todo)
    else:
        yield Finding("entity", "ok", entity)
    yield _check_project(transport, entity, login.project)


def _check_project(transport: Transport, entity: str, name: str) -> Finding:
    if not name:
        return Finding("project", "warning", "none is set: W&B takes 'uncategorized'", "set WANDB_PROJECT")
    try:
        project = transport.call_once("GetProject", PROJECT, {"name": name, "entity": entity}).data.get("project")
    except WandbError as error:
        if error.status == 403:
            todo = f"is {entity}/{name} spelt right, and may the account see it?"
            return Finding("project", "error", str(error), todo)
        return Finding("project", "ok", f"{entity}/{name}; the server does not say whether it exists")
    if project is None:
        return Finding("project", "warning", f"{entity}/{name} does not exist", "the first sweep or run creates it")
    return Finding("project", "ok", f"{entity}/{name}")


# -- the sweep file -------------------------------------------------------------------------------------------------


def check_supported(spec: SweepSpec) -> None:
    """Raise SweepConfigError with everything in ``spec`` that only the embedded controller supports."""
    faults = [f"parameters.{name}: W&B allows no `/` and `@` in names" for name in spec.names_wandb_refuses]
    faults += [
        f"{key}: an extension that W&B does not know"
        for key in ("repeats", "prior", "constraints")
        if getattr(spec, key)
    ]
    if spec.zip:
        faults.append("zip: W&B knows no lists that move together; use controller=embedded")
    if spec.order != "sequential":
        faults.append("order: W&B tries a grid in its own order; use controller=embedded")
    faults += [
        f"parameters.{p.name}.when: an extension that W&B does not know" for p in spec.parameters.values() if p.when
    ]
    if spec.value_rule != "best":
        faults.append("metric.value: an extension that W&B does not know")
    if spec.metric_source != "wandb":
        faults.append("metric.from: an extension that W&B does not know")
    if spec.limits:
        faults.append("metric.constraints: an extension that W&B does not know")
    if spec.early_terminate and spec.early_terminate.type != "hyperband":
        why = ", since its servers stop runs for good; use controller=embedded" * (spec.early_terminate.type == THAW)
        faults.append(f"early_terminate.type: W&B knows only hyperband, not {spec.early_terminate.type}{why}")
    if spec.metrics and not spec.method_info.external:
        faults.append("metrics: W&B knows several metrics only with `method: custom`")
    if faults:
        raise SweepConfigError([f"{fault} (controller=wandb)" for fault in faults])


def find_mixed_bounds(spec: SweepSpec) -> list[str]:
    """Return the parameters without a distribution of which one bound is an integer and the other a float.

    W&B's client refuses them.
    """
    given = spec.config.get("parameters") or {}
    return [
        name
        for name, parameter in given.items()
        if isinstance(parameter, Mapping)
        and "distribution" not in parameter
        and {type(parameter.get("min")), type(parameter.get("max"))} == {int, float}
    ]


def _check_sweep(sweep: str | os.PathLike[str] | SweepSpec) -> Iterator[Finding]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            spec = sweep if isinstance(sweep, SweepSpec) else load_sweep(sweep)
            check_supported(spec)
        except SweepConfigError as error:
            for violation in error.violations:
                yield Finding("sweep", "error", violation, "see docs/sweep-files.md")
            return
        except OSError as error:
            yield Finding("sweep", "error", str(error), "name an existing sweep file")
            return
    for warning in seen:
        yield Finding("sweep", "warning", " ".join(str(warning.message).split()), "")
    method = spec.method_info
    if not method.finite and not method.external and spec.run_cap is None:
        yield Finding("sweep", "warning", f"nothing ends a {spec.method} search without run_cap", "set run_cap")
    if spec.metric is None and (method.learns or spec.early_terminate):
        yield Finding("sweep", "error", f"{spec.method} and early_terminate need a metric", "set metric.name")
    for name in find_mixed_bounds(spec):
        found = f"parameters.{name}: one bound is an integer and the other is not, which `wandb sweep` refuses"
        yield Finding("sweep", "warning", found, "write both as floats")
    if not seen:
        yield Finding("sweep", "ok", f"valid for W&B: {spec.method}, {len(spec.parameters)} parameters")
