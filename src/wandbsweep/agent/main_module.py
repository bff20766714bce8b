"""The application's main module, in processes that have not run it: agents of most launchers, and trials' own.

A task function of a script is pickled by value. What the script imports only for its effect (packages that register
environments or models) is imported again, and ``__main__`` becomes a module that looks like the script: classes and
functions are found in it by name, as ``multiprocessing`` and ``hydra.utils.instantiate`` do.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import multiprocessing
import pickle
import sys
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

_CONSTANTS = (bool, int, float, str, bytes, type(None))


@dataclass(frozen=True)
class MainModule:
    """A description of an application's main module, for processes that have not run it."""

    script: str
    """How the command line names it: the first word of ``sys.argv``."""
    file: str | None = None
    """The file that a spawned process may run again; None: none, or running it would start the application."""
    module: str | None = None
    """The module's name, if the application was started by ``python -m``."""
    package: str | None = None
    imports: Sequence[str] = ()
    """What it imports at its top level, in its order."""

    @classmethod
    def of_process(cls) -> MainModule:
        """Describe this process's main module."""
        main = sys.modules["__main__"]
        spec, package = getattr(main, "__spec__", None), getattr(main, "__package__", None)
        file = getattr(main, "__file__", None)
        module = spec.name if spec else None
        try:
            body = ast.parse(Path(file or "").read_bytes()).body
        except (OSError, SyntaxError, ValueError):  # an interactive session, or no source
            return cls(sys.argv[0], None, None, package)
        if not any(map(_is_main_guard, body)):
            file = module = None
        imports = [name for name in dict.fromkeys(_list_imports(body, package or "")) if name in sys.modules]
        return cls(sys.argv[0], file, module, package, imports)  # without those of branches that were not taken

    def repeat_imports(self) -> None:
        """Import what the main module imports."""
        for name in self.imports:
            if name not in sys.modules:
                with suppress(Exception):  # if the task needs it, its trials fail and say why
                    importlib.import_module(name)

    def take_place(self, members: Mapping[str, Any]) -> None:
        """Make a module with ``members`` this process's ``__main__``."""
        sys.modules["__main__"] = _StandIn(self, members)
        method = multiprocessing.get_start_method(allow_none=True)
        if method is not None and method not in multiprocessing.get_all_start_methods():
            multiprocessing.set_start_method(None, force=True)  # that of joblib's workers, which no other process knows


class _StandIn(ModuleType):
    """A main module whose code has not run here."""

    def __init__(self, main: MainModule, members: Mapping[str, Any]) -> None:
        super().__init__("__main__")
        self.__package__ = main.package
        self.__spec__ = ModuleSpec(main.module, None, origin=main.file) if main.module else None
        if main.file is not None:
            self.__file__ = main.file
        # The functions' own globals come first: they are what functions change.
        functions = [inspect.unwrap(value) for value in members.values() if isinstance(value, FunctionType)]
        shared = [function.__globals__ for function in functions if isinstance(function, FunctionType)]
        own = [space for space in shared if space.get("__name__") == "__main__"]
        self.__members = ChainMap(*own[:1], dict(members))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.__members:
            raise AttributeError(f"module '__main__' has no attribute {name!r}")
        return self.__members[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__members})


def pack_with_members(objects: Any) -> bytes:
    """Pickle ``objects``, those of ``__main__`` by value, and with them the functions and classes of ``__main__``."""
    members = _collect_members()
    try:
        packed: bytes = cloudpickle.dumps((objects, members))
    except Exception:  # a member that cannot be pickled may be one that the objects do not need
        packed = cloudpickle.dumps((objects, {name: value for name, value in members.items() if _is_picklable(value)}))
    return packed


def _collect_members() -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(sys.modules["__main__"]).items()
        if not name.startswith("__")
        and (isinstance(value, _CONSTANTS) or getattr(value, "__module__", None) == "__main__")
        and isinstance(value, (type, FunctionType, *_CONSTANTS))
    }


def _is_picklable(value: Any) -> bool:
    try:
        pickle.loads(cloudpickle.dumps(value))
    except Exception:  # whatever the application's own classes raise
        return False
    return True


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
