"""Words in messages: plurals, lists, and suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def pluralize(count: int, noun: str) -> str:
    """Return ``1 trial``, ``2 trials``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def join_words(words: Sequence[object], last: str = "and") -> str:
    """Return ``words`` as a list in a sentence, with ``last`` before the last one.

    >>> join_words(["grid", "random", "bayes"], "or")
    'grid, random or bayes'
    >>> join_words(["grid"])
    'grid'
    """
    *others, final = map(str, words) if words else [""]
    return f"{', '.join(others)} {last} {final}" if others else final


def suggest_matches(word: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> str:
    """Return ``; did you mean a or b?``, to end a message about an unknown ``word``; empty if nothing is similar."""
    close = get_close_matches(word, list(known), most, cutoff)
    return f"; did you mean {join_words(close, 'or')}?" if close else ""
