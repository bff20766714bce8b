"""What a preview warns of, and the disk that a sweep would need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from wandbsweep.results.analysis.advice import collect_new_advice
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.stopping.successive_halving import bands
from wandbsweep.sweep.directory import list_sweeps
from wandbsweep.text import pluralize

_LENGTHS = ("max_epochs", "epochs", "num_epochs", "n_epochs", "num_train_epochs")
"""What applications call the length of a training, as the last part of a key."""
_MOST_TRIALS = 20  # of an earlier sweep, that are measured
_MOST_FILES = 5_000  # of each


def describe_disk(directory: Path, cap: int | None) -> tuple[list[str], list[str]]:
    """Return what is known of the disk that a sweep would use, and what to warn of.

    Args:
        directory: The sweep's directory, which need not exist.
        cap: The most trials; None: unlimited.
    """
    place = next(path for path in (directory, *directory.parents) if path.exists())
    lines = [f"directory: {directory}"]
    warnings = []
    if not place.is_dir():
        return lines, [
            f"{directory} cannot be made, since {place} is no directory; choose another: hydra.sweep.dir=DIR"
        ]
    if not os.access(place, os.W_OK | os.X_OK):
        warnings.append(f"{place} cannot be written; choose another directory: hydra.sweep.dir=DIR")
    free = shutil.disk_usage(place).free
    lines.append(f"free: {_format_size(free)}")
    if (known := _measure_earlier_sweep()) is not None:
        earlier, size = known
        text = f"trials of {earlier.name}, the newest sweep here, have {_format_size(size)} each"
        if cap is not None:
            text += f"; {pluralize(cap, 'trial')} of that size: {_format_size(cap * size)}"
            if cap * size > free:
                warnings.append(f"{text}, but only {_format_size(free)} are free")
        lines.append(text)
    return lines, warnings


def find_warnings(spec: SweepSpec, size: int | None, *, trial: Mapping[str, Any]) -> list[str]:
    """Return what is doubtful about a sweep that breaks no rule, one line each.

    Args:
        spec: The sweep configuration.
        size: How many configurations the space has; None: unlimited.
        trial: The configuration of a trial by dotted key, or its parameters: it may say how long a training is.
    """
    return [*_check_size(spec, size), *_check_length(spec, trial), *collect_new_advice(spec, [], set())]


def _check_size(spec: SweepSpec, size: int | None) -> Iterator[str]:
    if size is None:
        return
    runs = size * (len(spec.repeats.values) if spec.repeats else 1)
    cap = spec.run_cap
    if spec.method == "grid":
        if cap is not None and cap > runs:
            yield f"run_cap {cap} is beyond the grid, which has {pluralize(runs, 'trial')}"
        elif cap is not None and cap < runs:
            yield f"run_cap {cap} ends the grid before its {runs} trials"
    elif size == 1:
        yield "the space has a single configuration, so there is nothing to search"
    elif cap is None or cap >= runs:
        yield (
            f"the space has only {pluralize(size, 'configuration')}, no more than run_cap allows: method: grid tries "
            "each of them once"
        )


def _check_length(spec: SweepSpec, trial: Mapping[str, Any]) -> Iterator[str]:
    """Compare early termination with how long a training is, if a key of the configuration says it."""
    rule = spec.early_terminate
    lengths = {
        key: value
        for key, value in trial.items()
        if key.rpartition(".")[2] in _LENGTHS and isinstance(value, int) and not isinstance(value, bool) and value > 0
    }
    if rule is None or not lengths:
        return
    key, length = max(lengths.items(), key=lambda item: item[1])
    if rule.type == "hyperband":
        first = next(iter(bands(rule)), None)
        if first is not None and first >= length:
            yield (
                f"early_terminate: hyperband first compares trials at report {first}, but {key} is {length}: if each "
                "epoch reports once, it stops nothing; lower min_iter"
            )
        elif rule.max_iter is not None and rule.s is not None and rule.max_iter > length:
            beyond = [band for band in bands(rule) if band > length]
            if beyond:
                yield f"early_terminate: the bands {', '.join(map(str, beyond))} are beyond {key} {length}"
    elif rule.min_iter is not None and rule.min_iter >= length:
        yield (
            f"early_terminate: min_iter is {rule.min_iter}, but {key} is {length}: if each epoch reports once, it "
            "stops nothing"
        )


def _measure_earlier_sweep() -> tuple[Path, int] | None:
    """Return the newest sweep below the working directory, and the bytes that its trials have on average."""
    for sweep in list_sweeps()[:1]:
        trials = sorted(path for path in sweep.iterdir() if path.name.isdecimal() and path.is_dir())[:_MOST_TRIALS]
        if trials:
            return sweep, sum(map(_measure, trials)) // len(trials)
    return None


def _measure(directory: Path) -> int:
    total = 0
    for file in islice(directory.rglob("*"), _MOST_FILES):
        with suppress(OSError):  # it is being replaced
            total += 0 if file.is_symlink() or not file.is_file() else file.stat().st_size
    return total


def _format_size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
