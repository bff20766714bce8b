"""What a sweep file's program is, as far as its source tells."""

from __future__ import annotations

import ast
from pathlib import Path


def is_hydra_application(program: str | None, directory: Path) -> bool:
    """Return whether ``program``, a path from ``directory``, is a Python script with a function of ``hydra.main``."""
    if program is None or not program.endswith(".py"):
        return False
    try:
        tree = ast.parse((directory / program).read_bytes())
    except (OSError, ValueError, SyntaxError):  # its own run will say so
        return False
    names = {"hydra.main"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {f"{alias.asname}.main" for alias in node.names if alias.name == "hydra" and alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module in ("hydra", "hydra.main"):
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "main"}
    decorators = (
        decorator.func if isinstance(decorator, ast.Call) else decorator
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
    )
    return any(ast.unparse(decorator) in names for decorator in decorators)
