"""Who may import whom (docs/architecture.md), read from the source, and what importing costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import wandbsweep

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src" / "wandbsweep"
HEAVY = ("torch", "lightning", "wandb", "pandas", "plotly", "sklearn", "scipy.stats")

FOUNDATION = {"errors", "trial", "spec.load", "spec.distributions", "stopping.adaptive_halving"}
KNOW_HYDRA = {"bridge.overrides", "bridge.snapshot", "bridge.trial_job", "bridge.prepare", "bridge.search_space"}
KNOW_WANDB = {"controllers.hosted.create", "wandb_runs.run", "cli.publish"}
RESULTS = {"results.sweep_results", "results.analysis.importance", "results.hosted"}  # lazily


def module_name(file: Path) -> str:
    parts = file.relative_to(LIBRARY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(LIBRARY.rglob("*.py"))}


def imports(file: Path, *, lazy: bool = True, typing: bool = False) -> set[str]:
    """The full names that ``file`` imports; ``lazy``: in functions as well; ``typing``: for type checkers as well."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = file.relative_to(ROOT / "src").with_suffix("").parts[: -node.level] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            found.update(f"{base}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing:
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not lazy:
            return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return found


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def own(names: set[str]) -> set[str]:
    """The modules of the library among ``names``, by their names in it."""
    within = {name.removeprefix("wandbsweep.") for name in names if name.startswith("wandbsweep.")}
    holders = {name: [m for m in MODULES if m and f"{name}.".startswith(f"{m}.")] for name in within}
    return {max(modules, key=len, default=name) for name, modules in holders.items()}


def reached(modules: set[str]) -> set[str]:
    """``modules``, and all of the library that they import."""
    found = set(modules)
    while more := {name for m in found & MODULES.keys() for name in own(imports(MODULES[m], typing=True))} - found:
        found |= more
    return found


@pytest.mark.parametrize("module", sorted(reached(FOUNDATION)))
def test_the_foundation_stands_alone(module: str) -> None:
    names = imports(MODULES[module], typing=True)
    assert tops(names) <= {*sys.stdlib_module_names, "yaml", "numpy", "scipy", "wandbsweep"}
    assert all(name.startswith("scipy.special") for name in names if name.startswith("scipy"))


@pytest.mark.parametrize("module", sorted(MODULES))
def test_hydra_is_known_to_few(module: str) -> None:
    if module not in KNOW_HYDRA:
        assert not tops(imports(MODULES[module], typing=True)) & {"hydra", "omegaconf", "hydra_plugins"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_vendor_per_controller(module: str) -> None:
    names = tops(imports(MODULES[module], typing=True))
    if not module.startswith(("controllers.", "search.", "storage.", "optuna_tools.")) and module not in RESULTS:
        assert "optuna" not in names
    if module not in KNOW_WANDB and module not in RESULTS:
        assert "wandb" not in names
    if module in RESULTS:
        assert not tops(imports(MODULES[module], lazy=False)) & {"optuna", "wandb", "pandas"}


def test_the_agent_knows_no_vendor() -> None:
    names = imports(MODULES["agent.loop"], typing=True)
    assert tops(names) <= {*sys.stdlib_module_names, "wandbsweep"}
    assert {name for name in own(names) if name.startswith("controllers")} == {"controllers.base"}


@pytest.mark.parametrize("file", sorted((ROOT / "src" / "classifier").glob("*.py")), ids=lambda file: file.stem)
def test_training_sees_the_trial_alone(file: Path) -> None:
    assert own(imports(file, typing=True)) <= {"current", "lightning"}


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.startswith("results")))
def test_results_read_what_is_stored(module: str) -> None:
    live = {"agent.loop", "bridge.trial_job", "agent.task", "launch.session", "current"}
    assert not own(imports(MODULES[module], typing=True)) & live
    if module != "results.report":
        assert not tops(imports(MODULES[module])) & {"plotly", "matplotlib"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_the_library_needs_neither_plugin_nor_torch(module: str) -> None:
    names = tops(imports(MODULES[module], typing=True))
    assert not names & {"hydra_plugins", "classifier"}
    if module != "lightning":
        assert not names & {"torch", "lightning"}


@pytest.mark.parametrize(
    "imported",
    [
        "hydra_plugins.wandbsweep.config, hydra_plugins.wandbsweep.sweeper",
        "wandbsweep.agent.loop, wandbsweep.agent.task, wandbsweep.bridge.trial_job",
        "wandbsweep.bridge.prepare, wandbsweep.launch.session",
        "wandbsweep.cli.main, wandbsweep.results.sweep_results, wandbsweep.results.terminal.tables",
        "wandbsweep.controllers.embedded.controller",
        "train",
    ],
)
def test_nothing_heavy_is_imported(imported: str) -> None:
    program = f"import sys, {imported}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_plugin_imports_the_library_when_it_sweeps() -> None:
    for file in (ROOT / "hydra_plugins" / "wandbsweep").glob("*.py"):
        assert tops(imports(file, lazy=False)) <= {*sys.stdlib_module_names, "hydra", "omegaconf"}
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
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = wandbsweep.nonesuch
