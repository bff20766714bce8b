"""The keys of a sweep file that only W&B's own tools read; they are checked and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wandbsweep.spec.findings import Findings, check_keys, check_mapping, check_text, describe_kind, read_choice, show
from wandbsweep.spec.methods import METHODS
from wandbsweep.text import join_words

TEXT_KEYS = ("program", "name", "description", "project", "entity", "job", "image_uri", "apiVersion")
WANDB_KEYS = (*TEXT_KEYS, "command", "controller", "kind", "scheduler")
_SCHEDULER_KEYS = ("engine", "source", "optimizer", "search_space")
_ENGINES = ("wandb", "optuna", "ax")


def check_wandb_keys(findings: Findings, config: Mapping[str, Any]) -> None:
    for key in TEXT_KEYS:
        check_text(findings, key, config.get(key, ""), "; put it in quotes")
    if "kind" in config:
        read_choice(findings, "kind", config["kind"], ("sweep",))
    if not isinstance(command := config.get("command", []), list):
        findings.refuse("command", f"{show(command)} is {describe_kind(command)}, but must be a list")
    controller = config.get("controller", {})
    if "controller" in config and check_mapping(findings, "controller", controller, "{type: local}"):
        read_choice(findings, "controller.type", controller.get("type"), ("local", "cloud"))
    scheduler = config.get("scheduler", {})
    if "scheduler" in config and check_mapping(findings, "scheduler", scheduler, "{engine: optuna}"):
        _check_scheduler(findings, config, scheduler)


def _check_scheduler(findings: Findings, config: Mapping[str, Any], scheduler: Mapping[str, Any]) -> None:
    check_keys(findings, "scheduler", scheduler, _SCHEDULER_KEYS, "a scheduler")
    engine = read_choice(findings, "scheduler.engine", scheduler.get("engine"), _ENGINES)
    for key in _SCHEDULER_KEYS[1:]:
        check_text(findings, f"scheduler.{key}", scheduler.get(key, ""))
    for key in {"optimizer", "search_space"} & scheduler.keys():
        if "source" not in scheduler:
            findings.refuse(f"scheduler.{key}", "needs source, the file that holds it")
    methods = [method.name for method in METHODS.values() if engine in method.engines]
    if engine and config.get("method") not in methods:
        findings.refuse("scheduler.engine", f"{engine} needs method {join_words(methods, 'or')}")
    for key in {"controller", "early_terminate"} & config.keys():
        if key == "early_terminate" or config[key] == {"type": "local"}:
            findings.refuse(key, "cannot be used together with scheduler")
