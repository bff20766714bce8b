"""What trials import, and what is imported for them, under ``isolation=process``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.applications import AGENTS, App, MakeApp

PROCESS = ["hydra.sweeper.isolation=process", "backend=jax,torch,numpy"]


@pytest.fixture
def app(make_app: MakeApp) -> App:
    return make_app("imports")


def found(app: App) -> list[tuple[str, str]]:
    return [(result["given"], result["found"]) for result in app.results()]


@pytest.mark.parametrize("how", ["import", "instantiate", "call"])
def test_what_a_trial_imports_stays_in_it(app: App, how: str) -> None:
    app.multirun(*PROCESS, f"how={how}")
    assert found(app) == [(name, name) for name in ("jax", "torch", "numpy")]


def test_hydras_own_sweeper_gives_each_trial_the_same_under_submitit(app: App) -> None:
    for sweeper in ("basic", "wandbsweep"):
        ended = app.run(
            *("-m", f"hydra/sweeper={sweeper}", "hydra/launcher=submitit_local", f"hydra.sweep.dir={sweeper}"),
            "backend=jax,torch,numpy",
        )
        assert ended.status == 0, ended
        assert [app.result(n, sweeper)["found"] for n in range(3)] == ["jax", "torch", "numpy"]


def test_what_the_user_names_is_imported_ahead(app: App) -> None:
    app.multirun(*PROCESS, "hydra.sweeper.preload=[reads_environment]")
    assert [result["ahead"] for result in app.results()] == [["reads_environment"]] * 3
    assert len({result["pid"] for result in app.results()}) == 3


def test_an_application_has_a_file_for_its_settings(app: App) -> None:
    file = app.directory / "conf/hydra/sweeper/wandbsweep/settings.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("preload: [reads_environment]")
    ended = app.multirun(*PROCESS)
    assert [result["ahead"] for result in app.results()] == [["reads_environment"]] * 3
    assert "UserWarning" not in ended.err
    assert app.run(f"hydra.run.dir={app.directory}/single").status == 0  # Hydra's own sweeper has no such setting


def test_one_line_says_what_naming_a_module_would_save(app: App) -> None:
    told = app.multirun(*PROCESS, "how=call", IMPORT_S="0.3").out
    assert told.count("hydra.sweeper.preload=[reads_environment] does that once per agent") == 1
    assert "Each trial imports reads_environment 0." in told
    assert "hydra.sweeper.preload" not in app.multirun(*PROCESS, "how=call", into="fast").out


def test_a_module_with_a_thread_is_not_forked(app: App) -> None:
    told = app.multirun(*PROCESS, "how=thread", "hydra.sweeper.preload=[starts_thread]").out
    assert found(app) == [(name, name) for name in ("jax", "torch", "numpy")]
    assert len({result["pid"] for result in app.results()}) == 3
    assert {result["threads"] for result in app.results()} == {2}
    assert told.count("Each trial starts from a fresh interpreter") == 1
    assert "(librarian)" in told


def test_what_a_module_starts_serves_all_trials_and_ends_with_them(app: App) -> None:
    app.multirun(*PROCESS, "how=processes", "hydra.sweeper.preload=[starts_processes]")
    assert found(app) == [(name, name) for name in ("jax", "torch", "numpy")]
    results = app.results()
    assert len({tuple(result["processes"]) for result in results}) == 1
    for result in results:
        assert not any(map(os.path.exists, result["directories"]))
        assert not any(map(_lives, result["processes"]))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_thread_that_a_trial_starts_is_its_own(app: App) -> None:
    told = app.multirun(*PROCESS, "how=thread", *AGENTS["joblib"]).out
    assert found(app) == [(name, name) for name in ("jax", "torch", "numpy")]
    assert "fresh interpreter" not in told


def test_a_name_that_cannot_be_imported_is_told(app: App) -> None:
    told = app.multirun(*PROCESS, "hydra.sweeper.preload=[nonesuch]").err
    assert "hydra.sweeper.preload: nonesuch cannot be imported: ModuleNotFoundError" in told
    refused = app.multirun(*PROCESS, "hydra.sweeper.preload=['a b']", into="bad", status=2).refused()
    assert "hydra.sweeper.preload: the value is ['a b'], but must be a list of modules" in refused
