"""The sweep file of a narrowing, with a comment at each line that says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from wandbsweep.spec.sweep_file import dump_yaml

if TYPE_CHECKING:
    from wandbsweep.results.narrowing.narrow import Change, Narrowing
    from wandbsweep.results.sweep_data import SweepData

_COLUMN = 44


def sweep_file(data: SweepData, found: Narrowing) -> str:
    """YAML that loads as ``found.spec``; valid for W&B wherever the old sweep was, and nothing is forked."""
    metric = data.spec.metric.name if data.spec.metric else (data.spec.metrics or [None])[0]
    name = metric if isinstance(metric, str) or metric is None else metric.name
    lines = [
        f"# Follows {data.sweep_id}: where the best {found.best} of its {found.trials} trials are, by {name}.",
        *(f"# {note}" for note in found.notes),
    ]
    if found.fork:
        lines.append("# prior is wandbsweep's own key, so W&B refuses this file; without --fork it takes it.")
    lines += [f"# {name} is gone: it {why}." for name, why in found.dropped.items()]
    for key, value in found.spec.config.items():
        if key == "parameters":
            lines.append("parameters:")
            for parameter in value:
                lines += _parameter(parameter, value[parameter], found.changes[parameter])
        else:
            block = dump_yaml({key: value}).rstrip("\n").split("\n")
            comment = _about(key, data, found)
            lines += [_commented(block[0], comment), *block[1:]]
    return "\n".join(lines) + "\n"


def _about(key: str, data: SweepData, found: Narrowing) -> str:
    if key == "prior":
        return "learns from that sweep's trials that lie in this space"
    if key == "method" and found.spec.method != data.spec.method:
        return f"was {data.spec.method}, which learns nothing"
    if key == "run_cap":
        return "as before" if found.spec.run_cap == data.spec.run_cap else "new: bayes has no end of its own"
    return "as before" if key in ("method", "metric", "metrics", "early_terminate", "repeats") else ""


def _parameter(name: str, config: dict[str, Any], change: Change) -> list[str]:
    first, *block = dump_yaml({name: config}).rstrip("\n").split("\n")
    lines = [_commented(f"  {first}", change.why)]
    for line in block:
        key = line.strip().partition(":")[0]
        own_key = line.startswith("  ") and not line.startswith("   ")
        lines.append(_commented(f"  {line}", change.reasons.get(key, "") if own_key else ""))
    if _reads_as("\n".join(lines), {name: config}):
        return lines
    # Text over several lines, into which a comment would fall.
    above = [f"  # {' '.join(text.split())}" for text in (change.why, *change.reasons.values()) if text]
    return [*above, *(f"  {line}" for line in (first, *block))]


def _reads_as(text: str, config: dict[str, Any]) -> bool:
    try:
        return bool(yaml.safe_load(text) == yaml.safe_load(dump_yaml(config)))
    except yaml.YAMLError:
        return False


def _commented(line: str, comment: str) -> str:
    text = " ".join(comment.split())  # a value may hold line breaks
    return f"{line:<{_COLUMN}}  # {text}" if text else line
