"""The sweep file of a narrowing, with a comment on each line that says why."""

from __future__ import annotations

from typing import Any

import yaml

from wandbsweep.results.narrowing.narrow import Change, Narrowing
from wandbsweep.results.sweep_data import SweepData
from wandbsweep.spec.sweep_file import dump_yaml

_COMMENT_COLUMN = 44
_UNCHANGED_KEYS = ("method", "metric", "metrics", "early_terminate", "repeats", "constraints", "zip", "order")


def format_sweep_file(data: SweepData, narrowing: Narrowing) -> str:
    """Return YAML that loads as ``narrowing.spec``.

    W&B accepts it if it accepted the old sweep's file, unless the new sweep is a fork.
    """
    metric = data.spec.objectives[0].name if data.spec.objectives else None
    which = "last " if data.value_rule == "last" and data.spec.metric else ""
    best = f"the best {narrowing.best} of its {narrowing.trials} trials"
    lines = [
        f"# Follows {data.sweep_id}: where {best} are, by {which}{metric}.",
        *(f"# {note}" for note in narrowing.notes),
    ]
    if narrowing.fork:
        lines.append("# prior is wandbsweep's own key, so W&B refuses this file; without --fork it takes it.")
    lines += [f"# {name} is gone: it {why}." for name, why in narrowing.dropped.items()]
    for key, value in narrowing.spec.config.items():
        if key == "parameters":
            lines.append("parameters:")
            for parameter in value:
                lines += _format_parameter(parameter, value[parameter], narrowing.changes[parameter])
        else:
            first, *block = _list_yaml_lines({key: value})
            lines += [_add_comment(first, _explain_key(key, data, narrowing)), *block]
    return "\n".join(lines) + "\n"


def _explain_key(key: str, data: SweepData, narrowing: Narrowing) -> str:
    """Return the comment on a key of the sweep file; empty for keys that do not affect the search."""
    if key == "prior":
        return "learns from that sweep's trials that lie in this space"
    if key == "method" and narrowing.spec.method != data.spec.method:
        return f"was {data.spec.method}, which learns nothing"
    if key == "run_cap":
        return "as before" if narrowing.spec.run_cap == data.spec.run_cap else "new: bayes does not end by itself"
    return "as before" if key in _UNCHANGED_KEYS else ""


def _format_parameter(name: str, config: dict[str, Any], change: Change) -> list[str]:
    """Return a parameter's lines, with the reason of each key on its own line."""
    first, *block = _list_yaml_lines({name: config})
    lines = [_add_comment(f"  {first}", change.why)]
    for line in block:
        key = line.strip().partition(":")[0]
        is_own_key = line.startswith("  ") and not line.startswith("   ")
        lines.append(_add_comment(f"  {line}", change.reasons.get(key, "") if is_own_key else ""))
    if _loads_as("\n".join(lines), {name: config}):
        return lines
    # Comments after a text of several lines would become part of it, so they go above.
    above = [f"  # {' '.join(text.split())}" for text in (change.why, *change.reasons.values()) if text]
    return [*above, *(f"  {line}" for line in (first, *block))]


def _list_yaml_lines(config: dict[str, Any]) -> list[str]:
    return dump_yaml(config).rstrip("\n").split("\n")


def _loads_as(text: str, config: dict[str, Any]) -> bool:
    try:
        return bool(yaml.safe_load(text) == yaml.safe_load(dump_yaml(config)))
    except yaml.YAMLError:
        return False


def _add_comment(line: str, comment: str) -> str:
    text = " ".join(comment.split())  # a value in it may hold line breaks
    return f"{line:<{_COMMENT_COLUMN}}  # {text}" if text else line
