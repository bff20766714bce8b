"""Hydra's private names that ``bridge/hydra_private.py`` uses: each fails here, by its name, if Hydra moves it."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import OmegaConf

from wandbsweep.bridge import hydra_private

ROOT = Path(__file__).parents[2]


@pytest.fixture
def loader(tmp_path):
    Plugins.instance()  # registers what reads file://
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mlp.yaml").write_text("width: 1")
    (tmp_path / "config.yaml").write_text("defaults: [{model: mlp}, _self_]\nlr: 1")
    path = hydra_private.make_search_path(
        [("hydra", "pkg://hydra.conf"), ("main", f"file://{tmp_path}"), ("schema", "structured://")]
    )
    assert [element.provider for element in path.get_path()] == ["hydra", "main", "schema"]
    return hydra_private.make_loader(path)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("hydra._internal.callbacks", "Callbacks"),
        ("hydra._internal.config_loader_impl", "ConfigLoaderImpl"),
        ("hydra._internal.config_repository", "CachingConfigRepository"),
        ("hydra._internal.config_repository", "IConfigRepository"),
        ("hydra._internal.config_search_path_impl", "ConfigSearchPathImpl"),
        ("hydra._internal.utils", "get_args_parser"),
    ],
)
def test_hydra_still_has_it(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name), f"Hydra moved {module}.{name}: mend bridge/hydra_private.py"


def test_no_other_module_imports_what_is_private_of_hydra() -> None:
    for folder in ("src", "hydra_plugins"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            names = {
                node.module
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                if isinstance(node, ast.ImportFrom) and node.module
            }
            private = {name for name in names if name.startswith("hydra._internal")}
            assert not private or file.name == "hydra_private.py", f"{file} imports {private}"


def test_a_loader_reads_each_file_once(loader, tmp_path) -> None:
    def compose():
        return loader.load_configuration("config", [], RunMode.RUN)

    first = compose()
    (tmp_path / "config.yaml").write_text("lr: 2")
    assert OmegaConf.select(compose(), "lr") == OmegaConf.select(first, "lr") == 1


def test_groups_and_choices(loader) -> None:
    assert hydra_private.group_exists(loader, "model")
    assert not hydra_private.group_exists(loader, "data")
    assert hydra_private.config_exists(loader, "model/mlp")
    assert not hydra_private.config_exists(loader, "model/cnn")


def test_what_a_job_returned() -> None:
    failed = hydra_private.make_failed_job(ValueError("no"))
    assert isinstance(hydra_private.get_returned(failed), ValueError)
    job = JobReturn(status=JobStatus.COMPLETED, _return_value=1)
    hydra_private.set_returned(job, 2)
    assert hydra_private.get_returned(job) == job.return_value == 2


def test_options_that_say_where_the_configuration_is() -> None:
    options = ["--config-path", "a", "--config-name", "b", "--config-dir", "c"]
    given, rest = hydra_private.make_args_parser().parse_known_args([*options, "lr=1"])
    assert (given.config_path, given.config_name, given.config_dir, rest) == ("a", "b", "c", [])
    assert given.overrides == ["lr=1"]


def test_callbacks_that_do_nothing() -> None:
    callbacks = hydra_private.make_callbacks()
    assert "config" in inspect.signature(callbacks.on_job_start).parameters
