"""The study of a sweep. The first process that opens the sweep creates it for all others."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandbsweep.controllers.embedded.known_trials import decode_known_trials, find_known_trials
from wandbsweep.errors import SweepDirectoryError
from wandbsweep.spec.sweep_spec import SweepSpec
from wandbsweep.storage.base import Storage
from wandbsweep.storage.json_codec import encode_json
from wandbsweep.trial import TrialRecord

# The attributes of a study.
SEED = "wandbsweep:seed"
IDENTITY = "wandbsweep:identity"
KNOWN = "wandbsweep:known"
ORIGIN = "wandbsweep:origin"
"""The sweep's configuration and directory, for a process that knows only the storage's address."""

_PATIENCE_S = 30.0
_POLL_S = 0.02


@dataclass(frozen=True)
class SweepStudy:
    """A sweep's study as stored."""

    key: int
    seed: int
    """Of the search."""
    identity: Mapping[str, str]
    """Of the sweep that the study holds (``SweepSpec.identity``)."""
    known: Sequence[TrialRecord]
    """The trials of other sweeps that the search learns from."""


def open_study(storage: Storage, name: str, spec: SweepSpec, *, seed: int | None, directory: Path | None) -> SweepStudy:
    """Open the study ``name``, or create it if there is none.

    Args:
        storage: Where it is kept.
        name: Its name.
        spec: The sweep configuration.
        seed: Seed of the search in a new study; None: a random one.
        directory: The sweep's directory.

    Raises:
        SweepDirectoryError: The study was not created by wandbsweep.
        SweepConfigError: A new sweep cannot learn from a sweep that ``spec.prior`` names.
    """
    key = storage.find_study(name)
    if key is None:
        # The other sweeps are read only here: they may be gone when another agent joins.
        attributes = _make_attributes(storage, spec, seed=seed, directory=directory)
        goals = [metric.goal for metric in spec.metrics] or [spec.goal]
        key = storage.create_study(name, goals)
        if key is None:  # another agent was faster
            return open_study(storage, name, spec, seed=seed, directory=directory)
        # If this process is killed before the seed is stored, the study stays without one, and every agent refuses it.
        for attribute, value in attributes.items():
            storage.set_study_attribute(key, attribute, value)
    stored = _await_attributes(storage, key)
    known_trials = decode_known_trials(stored.get(KNOWN, []))
    return SweepStudy(key, int(stored[SEED]), stored.get(IDENTITY, spec.identity), known_trials)


def _make_attributes(storage: Storage, spec: SweepSpec, *, seed: int | None, directory: Path | None) -> dict[str, Any]:
    """Return what the other agents need. The seed comes last: if it is there, everything else is stored as well."""
    attributes: dict[str, Any] = {}
    if known := find_known_trials(spec):
        attributes[KNOWN] = known
    if storage.addressable:  # otherwise the sweep's directory lies next to the storage
        origin = {"config": encode_json(spec.dump()), "directory": None if directory is None else str(directory)}
        attributes[ORIGIN] = origin
    seed = random.SystemRandom().getrandbits(32) if seed is None else seed
    return {**attributes, IDENTITY: spec.identity, SEED: seed}


def _await_attributes(storage: Storage, key: int) -> dict[str, Any]:
    """Wait for the agent that created the study to initialize it."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        attributes = storage.read_study_attributes(key)
        if SEED in attributes:
            return attributes
        if time.monotonic() > deadline:
            raise SweepDirectoryError("The storage holds a study without a seed: it was not created by wandbsweep.")
        time.sleep(_POLL_S)
