"""Restores the state of this process after a trial, so that the next one sees what a process of its own would see."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wandbsweep.process_state.imports import watch_imports
from wandbsweep.process_state.parts import ABSENT, Part

log = logging.getLogger(__name__)

PartItems = list[dict[Hashable, Any]]
"""The items of each part."""


class Guard:
    """Restores the parts of a process's state. An agent has one guard for all its trials."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """Restore nothing yet.

        Args:
            parts: The parts to restore, in this order.
        """
        self._parts = parts
        self._named: set[str] = set()

    @contextmanager
    def restore(self, who: str) -> Iterator[None]:
        """Restore at the end of a ``with`` block what it has changed, except for what the import of modules changed.

        A module is imported once in a process, so what its import sets (a filter of warnings, a handler of a
        logger) must still be there for later trials.

        Args:
            who: What runs in the block, for messages: ``Trial 0``.
        """
        state, pid = self._read(), os.getpid()

        @contextmanager
        def keep_changes() -> Iterator[None]:
            before = self._read()
            try:
                yield
            finally:
                _merge_changes(state, before, self._read())

        try:
            with watch_imports(lambda name: keep_changes()):
                yield
        finally:
            if os.getpid() == pid:  # and not in a process that the trial has forked and that ends here
                self.warn(who, self._write(state))

    def has_named(self, names: Sequence[str]) -> bool:
        """Return whether ``warn`` has logged all of ``names``."""
        return self._named.issuperset(map(_strip_numbers, names))

    def warn(self, who: str, left: Sequence[str]) -> None:
        """Log once what a trial has left behind, and later trials of this process therefore see."""
        new = [name for name in dict.fromkeys(left) if _strip_numbers(name) not in self._named]
        self._named.update(map(_strip_numbers, new))
        if new:
            log.warning(
                "%s has left behind: %s. Later trials in this process run with it; with "
                "hydra.sweeper.isolation=process each trial has a process of its own.",
                who,
                ", ".join(new),
            )

    def _read(self) -> PartItems:
        return [part.read() for part in self._parts]

    def _write(self, state: PartItems) -> list[str]:
        """Write ``state``, and return the names of the items that still differ from it."""
        left = []
        for part, before in zip(self._parts, state, strict=True):
            errors: dict[Hashable, str] = {}
            for _ in range(2):  # one setting of a library may depend on another
                errors.clear()
                for item in _find_changes(before, part.read()):
                    try:
                        part.write(item, before.get(item, ABSENT))
                    except Exception as error:  # whatever a library raises
                        errors[item] = f": {error}"
            for item in _find_changes(before, part.read()):
                if item in before or item in errors:
                    label = " ".join(map(str, item)) if isinstance(item, tuple) else item
                    left.append(f"{part.name} {label}{errors.get(item, '')}")
        return left


def _strip_numbers(name: str) -> str:
    """Return what names of the same kind have in common: threads are numbered, and commands may name a port."""
    return re.sub(r"\d+", "", name)


def _find_changes(before: dict[Hashable, Any], after: dict[Hashable, Any]) -> list[Hashable]:
    items = dict.fromkeys([*before, *after])
    return [item for item in items if not _is_same(before.get(item, ABSENT), after.get(item, ABSENT))]


def _is_same(before: Any, after: Any) -> bool:
    try:
        return before is after or bool(before == after)
    except Exception:  # objects of any library, which may compare by element
        return False


def _merge_changes(state: PartItems, before: PartItems, after: PartItems) -> None:
    """Make the changes from ``before`` to ``after`` in ``state``."""
    for kept, old, new in zip(state, before, after, strict=True):
        for item in _find_changes(old, new):
            value = _merge_item(kept.get(item, ABSENT), old.get(item, ABSENT), new.get(item, ABSENT))
            if value is ABSENT:
                kept.pop(item, None)
            else:
                kept[item] = value


def _merge_item(kept: Any, old: Any, new: Any) -> Any:
    """Return ``kept`` with the change from ``old`` to ``new``: of a tuple, only the elements that came or went."""
    if not (isinstance(new, tuple) and isinstance(old, tuple | type(ABSENT)) and isinstance(kept, tuple)):
        return new
    old = () if old is ABSENT else old
    present = [element for element in new if element in kept or element not in old]
    return (*present, *(element for element in kept if element not in old and element not in present))
