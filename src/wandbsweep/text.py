"""Words in messages: plurals, lists, exceptions, and suggestions for misspelt names."""

from __future__ import annotations

import sys
import traceback
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


def show_name(name: str) -> str:
    r"""Return a name as lines of output show it: in quotes if it begins or ends with a blank, or cannot be printed.

    >>> show_name("val/loss"), show_name("test_acc_avg "), show_name("caf\udce9")
    ('val/loss', "'test_acc_avg '", "'caf\\udce9'")
    """
    return name if name == name.strip() and name.isprintable() else repr(name)


def quote_names(names: Iterable[str], *, empty: str = "nothing") -> str:
    """Return names as messages list them: sorted and in quotes, so that their blanks are seen."""
    return ", ".join(map(repr, sorted(names))) or empty


def suggest_matches(word: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> str:
    """Return the end of a message about an unknown word, which suggests known ones.

    Args:
        word: The unknown word.
        known: The words that may be meant.
        most: How many to suggest at most.
        cutoff: How similar they must be, from 0 to 1.

    Returns:
        ``; did you mean a or b?``, or nothing if no word is similar.
    """
    close = get_close_matches(word, list(known), most, cutoff)
    return f"; did you mean {join_words(close, 'or')}?" if close else ""


def escape_surrogates(text: str) -> str:
    r"""Return ``text`` with what UTF-8 cannot encode written as escapes.

    Python decodes the bytes of a file's name that are not UTF-8 to surrogates, and messages may quote such names.

    >>> escape_surrogates("caf\udce9.png")
    'caf\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def escape_output() -> None:
    """Let standard output write what its encoding lacks as escapes, as standard error does, instead of raising."""
    if sys.stdout is not None and getattr(sys.stdout, "errors", None) == "strict":
        reconfigure = getattr(sys.stdout, "reconfigure", lambda **options: None)  # notebooks have streams of their own
        reconfigure(errors="backslashreplace")


def describe_error(error: BaseException) -> str:
    """Return an exception's type and message in one line, which can be written anywhere, without its notes.

    >>> describe_error(ValueError("two\nlines"))
    'ValueError: two lines'
    """
    described = traceback.TracebackException(type(error), error, None)
    described.__notes__ = None  # else they come last
    *_, last = described.format_exception_only()
    return escape_surrogates(" ".join(last.split()))
