"""Repeats the imports of an application's script where its task is loaded without the script.

A task function of a script is pickled by value: what it refers to is imported again, and what is imported only for its
effect (packages that register environments or models) is not.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import resolve_name
from pathlib import Path


def list_script_imports() -> list[str]:
    """Return the modules that this process's script imports at its top level, in its order."""
    main = sys.modules["__main__"]
    try:
        tree = ast.parse(Path(main.__file__ or "").read_bytes())
    except (AttributeError, OSError, SyntaxError, ValueError):  # an interactive session, or no source
        return []
    names = _list_imports(tree.body, getattr(main, "__package__", None) or "")
    return [name for name in dict.fromkeys(names) if name in sys.modules]  # not those of branches that were not taken


def repeat_imports(names: Sequence[str]) -> None:
    """Import the modules ``names``."""
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):  # if the task needs it, its trials fail and say why
                importlib.import_module(name)


def _list_imports(statements: Sequence[ast.stmt], package: str) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            name = "." * statement.level + (statement.module or "")
            with suppress(ImportError):  # relative, and the script is in no package
                module = resolve_name(name, package)
                yield module
                yield from (f"{module}.{alias.name}" for alias in statement.names)
        elif isinstance(statement, ast.If | ast.Try | ast.With) and not _is_main_guard(statement):
            for part in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(statement, part, []):
                    yield from _list_imports(inner.body if isinstance(inner, ast.ExceptHandler) else [inner], package)


def _is_main_guard(statement: ast.stmt) -> bool:
    """Return whether it is ``if __name__ == "__main__"``, which is for the launching process alone."""
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )
