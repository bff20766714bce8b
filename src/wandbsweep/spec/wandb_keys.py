"""The keys of a sweep file that only W&B's own tools read; they are checked and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wandbsweep.spec.findings import Findings, describe_kind, show
from wandbsweep.spec.methods import METHODS
from wandbsweep.text import join_words

TEXT_KEYS = ("program", "name", "description", "project", "entity", "job", "image_uri", "apiVersion")
WANDB_KEYS = (*TEXT_KEYS, "command", "controller", "kind", "scheduler")
_SCHEDULER_KEYS = ("engine", "source", "optimizer", "search_space")
_ENGINES = ("wandb", "optuna", "ax")


def check_wandb_keys(findings: Findings, config: Mapping[str, Any]) -> None:
    for key in TEXT_KEYS:
        findings.check_text(key, config.get(key, ""), "; put it in quotes")
    if "kind" in config:
        findings.read_choice("kind", config["kind"], ("sweep",))
    if not isinstance(command := config.get("command", []), list):
        findings.refuse("command", f"{show(command)} is {describe_kind(command)}, but must be a list")
    controller = config.get("controller", {})
    if "controller" in config and findings.check_mapping("controller", controller, "{type: local}"):
        findings.read_choice("controller.type", controller.get("type"), ("local", "cloud"))
    scheduler = config.get("scheduler", {})
    if "scheduler" in config and findings.check_mapping("scheduler", scheduler, "{engine: optuna}"):
        _check_scheduler(findings, config, scheduler)


def _check_scheduler(findings: Findings, config: Mapping[str, Any], scheduler: Mapping[str, Any]) -> None:
    findings.check_keys("scheduler", scheduler, _SCHEDULER_KEYS, "a scheduler")
    engine = findings.read_choice("scheduler.engine", scheduler.get("engine"), _ENGINES)
    for key in _SCHEDULER_KEYS[1:]:
        findings.check_text(f"scheduler.{key}", scheduler.get(key, ""))
    for key in {"optimizer", "search_space"} & scheduler.keys():
        if "source" not in scheduler:
            findings.refuse(f"scheduler.{key}", "needs source, the file that holds it")
    methods = [method.name for method in METHODS.values() if engine in method.engines]
    if engine and config.get("method") not in methods:
        findings.refuse("scheduler.engine", f"{engine} needs method {join_words(methods, 'or')}")
    for key in {"controller", "early_terminate"} & config.keys():
        if key == "early_terminate" or config[key] == {"type": "local"}:
            findings.refuse(key, "cannot be used together with scheduler")
