"""Who may import whom (docs/architecture.md), read from the source, and what an import costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wandbsweep

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
LIBRARY = SOURCE / "wandbsweep"

# Each package or module may import those of the rows above its own, and its own. No import is exempt: those in
# functions and under TYPE_CHECKING count.
ROWS = (
    (
        "errors",
        "trial",
        "faults",
        "memory",
        "checkpoints",
        "files",
        "settings",
        "launchers",
        "environment",
        "retry",
        "text",
    ),
    ("process_state",),
    ("spec",),
    ("stopping",),
    ("search",),
    ("storage",),
    ("optuna_tools",),
    ("sweep",),
    ("programs",),
    ("trial_link", "current", "lightning"),
    ("wandb_runs",),
    ("controllers",),
    ("controllers.embedded",),
    ("controllers.hosted",),
    ("controllers.open",),
    ("controllers.create",),
    ("bridge",),
    ("results",),
    ("agent",),
    ("launch",),
    ("cli",),
    ("",),
)

# Which rooms know a vendor.
VENDORS = {
    "hydra": {"bridge"},
    "omegaconf": {"bridge"},
    "optuna": {"storage", "optuna_tools"},
    "submitit": {"launchers", "launch"},
    "wandb": {"wandb_runs", "controllers.hosted", "results.hosted"},
    "torch": {"lightning"},
    "lightning": {"lightning"},
    "hydra_plugins": set(),
    "classifier": set(),
}
FOUNDATION = (*ROWS[0], "spec", "stopping", "search")
HEAVY = ("torch", "lightning", "wandb", "pandas", "sklearn", "scipy.stats")


def name_module(file: Path) -> str:
    parts = file.relative_to(LIBRARY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_module(file): file for file in sorted(LIBRARY.rglob("*.py"))}


def find_imports(file: Path, *, lazy: bool = True) -> set[str]:
    """Return the full names that ``file`` imports; with ``lazy``, those inside functions as well."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports are not used here"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not lazy:
            return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return found


def find_own_imports(module: str) -> set[str]:
    """Return the modules of the library that ``module`` imports."""
    imported = (name for name in find_imports(MODULES[module]) if name.startswith("wandbsweep."))
    names = {name.removeprefix("wandbsweep.") for name in imported}
    found = {resolve(name) for name in names}
    return found - {module}


def resolve(name: str) -> str:
    """Return the module that defines ``name``: the longest known prefix."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def rank(module: str) -> int:
    """Return the row of ``module``: that of the longest entry it lies in."""
    entries = {entry: row for row, names in enumerate(ROWS) for entry in names}
    while module not in entries:
        assert module, "every module lies in a row"
        module = module.rpartition(".")[0]
    return entries[module]


def find_top_names(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def find_cycles() -> Iterator[list[str]]:
    """Yield each set of modules that import each other, directly or through others (Tarjan's algorithm)."""
    graph = {module: find_own_imports(module) for module in MODULES}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[list[str]]:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in graph[module]:
            if other not in index:
                yield from visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            component = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(component) > 1:
                yield sorted(component)

    for module in MODULES:
        if module not in index:
            yield from visit(module)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_upwards(module: str) -> None:
    wrong = {other for other in find_own_imports(module) if rank(other) > rank(module)}
    assert wrong == set()


def test_no_modules_import_each_other() -> None:
    assert list(find_cycles()) == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_vendors_are_known_to_their_rooms(module: str) -> None:
    names = find_top_names(find_imports(MODULES[module]))
    for vendor in names & VENDORS.keys():
        known = any(f"{module}.".startswith(f"{room}.") for room in VENDORS[vendor])
        assert known, f"{module} imports {vendor}"


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.partition(".")[0] in FOUNDATION))
def test_the_foundation_needs_only_numerics(module: str) -> None:
    names = find_imports(MODULES[module])
    numerics = {"numpy", "scipy", "threadpoolctl"} if module.startswith("search") else {"numpy", "scipy"}
    others = {"submitit"} if module == "launchers" else set()  # in a function, in processes of submitit's
    assert find_top_names(names) <= {*sys.stdlib_module_names, "yaml", "wandbsweep", *numerics, *others}
    if not module.startswith("search"):
        assert all(name.startswith("scipy.special") for name in names if name.startswith("scipy"))


def test_the_agent_loop_knows_the_controller_protocol_alone() -> None:
    names = find_imports(MODULES["agent.loop"])
    assert find_top_names(names) <= {*sys.stdlib_module_names, "wandbsweep"}
    assert {name for name in find_own_imports("agent.loop") if name.startswith("controllers")} == {"controllers.base"}


@pytest.mark.parametrize("file", sorted((SOURCE / "classifier").glob("*.py")), ids=lambda file: file.stem)
def test_training_sees_only_its_trial(file: Path) -> None:
    own = {name for name in find_imports(file) if name.startswith("wandbsweep.")}
    assert {resolve(name.removeprefix("wandbsweep.")) for name in own} <= {"current", "lightning"}


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("hydra_plugins.wandbsweep.config, hydra_plugins.wandbsweep.sweeper", HEAVY),
        ("wandbsweep.agent.loop, wandbsweep.agent.task, wandbsweep.launch.session", HEAVY),
        (
            "wandbsweep.cli.main, wandbsweep.results.sweep_results, wandbsweep.results.terminal.tables",
            (*HEAVY, "hydra", "omegaconf", "antlr4"),
        ),
        ("wandbsweep.controllers.embedded.controller", HEAVY),
        (
            "wandbsweep.launch.program_session, wandbsweep.agent.program_agent",
            (*HEAVY, "hydra", "omegaconf", "submitit"),
        ),
        ("train", HEAVY),
        ("wandbsweep; wandbsweep.current; wandbsweep.stopping; wandbsweep.lightning", HEAVY),
    ],
)
def test_nothing_heavy_is_imported(imported: str, absent: tuple[str, ...]) -> None:
    program = f"import sys, {imported}; print(*[name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_plugin_imports_the_library_when_it_sweeps() -> None:
    for file in (ROOT / "hydra_plugins" / "wandbsweep").glob("*.py"):
        schema = {"wandbsweep.settings.Settings", "wandbsweep.settings.FOREIGN_KEYS"}  # the schema is made of them
        names = find_imports(file, lazy=False) - schema
        assert find_top_names(names) <= {*sys.stdlib_module_names, "hydra", "hydra_plugins", "omegaconf"}
    assert not (ROOT / "hydra_plugins" / "__init__.py").exists()


def test_the_sweeper_is_a_thin_shell() -> None:
    assert len((ROOT / "hydra_plugins" / "wandbsweep" / "sweeper.py").read_text().splitlines()) <= 100


def test_public_names() -> None:
    names = wandbsweep.__all__
    assert names == sorted(set(names))
    for name in names:
        value = getattr(wandbsweep, name)
        home = getattr(value, "__module__", name)
        assert home == name or hasattr(importlib.import_module(home), name)
    assert dir(wandbsweep) == names
    assert wandbsweep.lightning.__all__ == sorted(set(wandbsweep.lightning.__all__)) == dir(wandbsweep.lightning)
    for name in wandbsweep.lightning.__all__:
        assert getattr(wandbsweep.lightning, name).__name__ == name
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = wandbsweep.nonesuch
