"""Finds the checkpoint of a step among the files of a trial, without torch."""

from __future__ import annotations

import itertools
import pickle
import zipfile
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

_SUFFIXES = (".ckpt", ".pt", ".pth", ".npz")
_LIGHTNING = "pytorch-lightning_version"
_MAX_FILES = 1000


def find_checkpoint_of_step(directory: Path, step: int, reported: Collection[int]) -> Path | None:
    """Return the checkpoint in ``directory`` that was written at ``step``; of several, one that is called ``best``.

    A checkpoint holds its step: one of Lightning's the epoch that it ends, or the ``global_step``, and one of
    ``torch.save`` or ``numpy.savez`` an entry ``step``.

    Args:
        directory: The trial's directory.
        step: The step to look for.
        reported: All steps at which the trial reported. They tell whether steps are epochs.
    """
    files = itertools.islice((path for path in directory.rglob("*") if path.suffix in _SUFFIXES), _MAX_FILES)
    unit = "epoch" if _are_epochs(sorted(reported)) else "global_step"
    ordered = sorted(files, key=lambda path: ("best" not in path.stem, path))
    return next((path for path in ordered if _read_step(path, unit) == step), None)


def _are_epochs(steps: Sequence[int]) -> bool:
    """Return whether ``steps`` count epochs, which begin at 0: a report every third epoch has the steps 2, 5, 8."""
    every = min((b - a for a, b in pairwise(steps)), default=1)
    return all((step + 1) % every == 0 for step in steps)


def _read_step(path: Path, unit: str) -> int | None:
    """Return the step at which a checkpoint was written, in Lightning's ``unit``; None if it does not say so."""
    try:
        if path.suffix == ".npz":
            import numpy as np

            with np.load(path, allow_pickle=False) as arrays:
                return int(arrays["step"])
        found = _load_entries(path)
        if _LIGHTNING not in found:
            return int(found["step"])
        return int(found[unit]) if unit == "global_step" or _ends_epoch(found) else None
    except Exception:  # a damaged file, or one of another program, may fail in any way
        return None


def _ends_epoch(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether Lightning wrote a checkpoint after the last batch of its epoch."""
    try:
        return bool(checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"])
    except (KeyError, TypeError):
        return True


def _load_entries(path: Path) -> Mapping[str, Any]:
    """Return the entries of a file of ``torch.save``, with stand-ins for everything but plain values."""
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(name) as file:
            found = _PlainUnpickler(file).load()
    return found if isinstance(found, Mapping) else {}


class _Placeholder:
    """Takes the place of every object that is no plain value: nothing of a checkpoint is executed."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> _Placeholder:
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        pass

    def extend(self, items: object) -> None:
        pass


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _Placeholder

    def persistent_load(self, pid: object) -> None:
        return None
