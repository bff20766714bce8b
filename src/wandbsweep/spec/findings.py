"""The violations and notes found while a sweep configuration is read, and the checks that most keys need.

A path is a key's place in the configuration, as in ``parameters.lr.min``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import ge, gt, lt
from typing import Any, TypeGuard

from wandbsweep.text import join_words
from wandbsweep.trial import is_number


@dataclass
class Findings:
    """Collects the violations and notes of one configuration, in the order in which they are found.

    A ``read_*`` method returns a value that fits the rules; otherwise it records a violation and returns None.
    """

    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is allowed but may surprise; shown as warnings if there are no violations."""

    def refuse(self, path: str, message: str) -> None:
        self.violations.append(f"{path}: {message}")

    def note(self, path: str, message: str) -> None:
        self.notes.append(f"{path}: {message}")

    def check_keys(self, path: str, config: Iterable[object], known: Iterable[str], owner: str) -> None:
        """Refuse the keys of ``config`` that are not ``known``; ``owner``: what has the known ones ("a metric")."""
        known = tuple(known)
        for key in config:
            if key not in known:
                close = get_close_matches(str(key), known, 1) or get_close_matches(str(key).lower(), known, 1)
                hint = f"did you mean {close[0]}? " if close else ""
                self.refuse(join_path(path, key), f"unknown key; {hint}{owner} has {join_words(known)}")

    def check_mapping(self, path: str, raw: object, example: str) -> bool:
        """Return whether ``raw`` is a mapping; refuse it if it is not."""
        if not isinstance(raw, dict):
            self.refuse(path, f"{show(raw)} is {describe_kind(raw)}, but must be a mapping such as {example}")
        return isinstance(raw, dict)

    def check_text(self, path: str, value: object, hint: str = "") -> None:
        if not isinstance(value, str):
            self.refuse(path, f"{show(value)} is {describe_kind(value)}, but must be text{hint}")

    def read_boolean(self, path: str, value: object) -> bool | None:
        if isinstance(value, bool):
            return value
        self.refuse(path, f"{show(value)} is {describe_kind(value)}, but must be true or false")
        return None

    def read_choice(self, path: str, value: object, choices: Sequence[str]) -> Any:
        """Return ``value`` if it is one of ``choices``."""
        if isinstance(value, str) and value in choices:
            return value
        close = get_close_matches(str(value), choices, 1)
        given = "is required" if value is None else f"{show(value)} is not known"
        hint = f"did you mean {close[0]}? It" if close else "it"
        self.refuse(path, f"{given}; {hint} must be {join_words(choices, 'or')}")
        return None

    def read_number(
        self,
        path: str,
        value: object,
        *,
        above: int | None = None,
        least: int | None = None,
        below: int | None = None,
        exact: bool = False,
        required: bool = False,
    ) -> int | float | None:
        """Return a finite number; None if it is absent, or refused.

        Args:
            path: The number's place.
            value: The number; None if it is absent.
            above: The number must be larger.
            least: The number must be at least this large.
            below: The number must be smaller.
            exact: Accept integers that are larger than any float.
            required: Refuse an absent number.
        """
        if value is None and not required:
            return None
        if not is_finite(value) or not (exact or is_number(value)):
            self.refuse(path, f"{show(value)} is {describe_kind(value)}, but must be a finite number")
            return None
        for limit, is_met, sign in ((above, gt, ">"), (least, ge, ">="), (below, lt, "<")):
            if limit is not None and not is_met(value, limit):
                self.refuse(path, f"{show(value)} must be {sign} {limit}")
                return None
        return value

    def read_integer(self, path: str, value: object, *, least: int) -> int | None:
        """Return an integer; None if it is absent, or refused."""
        number = self.read_number(path, value)
        if number is None:
            return None
        if number != int(number) or number < least:
            self.refuse(path, f"{number} must be an integer >= {least}")
            return None
        return int(number)


def is_finite(value: object) -> TypeGuard[int | float]:
    """Return whether ``value`` is a finite number and no boolean; integers of any size are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def join_path(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def show(value: object) -> str:
    """Return ``value`` as messages show it: shortened if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def describe_kind(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a mapping",
    }
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
