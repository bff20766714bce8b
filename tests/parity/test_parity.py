"""Each application as a plain comma grid: our sweeper does what Hydra's own does, under each launcher and isolation.

``make parity`` runs all of it; other runs take a sample, spread over applications, launchers and isolations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parity.application import Application, read_applications
from tests.parity.differences import DIFFERENCES, ISOLATIONS, LAUNCHERS, find_undeclared
from tests.parity.observation import Observation, compare, observe

SAMPLE_STEP = 11
"""The sample has every eleventh application, each under one launcher and isolation."""

OVERRIDES = {"basic": [], "joblib": ["hydra.launcher.n_jobs=2"], "submitit_local": []}


def list_cases() -> Iterator[Any]:
    """Yield each application with a launcher and the isolations, which share the run of Hydra's own sweeper."""
    applications = read_applications()
    if os.environ.get("PARITY") == "all":
        cases = [(a, launcher, ISOLATIONS) for a in applications for launcher in LAUNCHERS]
    else:
        pairs = [(launcher, (isolation,)) for isolation in ISOLATIONS for launcher in LAUNCHERS]
        cases = [(a, *pairs[k % len(pairs)]) for k, a in enumerate(applications[::SAMPLE_STEP])]
    for application, launcher, isolations in cases:
        name = "-".join([application.name, launcher, *isolations])
        yield pytest.param(application, launcher, isolations, id=name)


def test_the_documentation_lists_the_differences() -> None:
    page = (Path(__file__).parents[2] / "docs" / "parity.md").read_text(encoding="utf-8")
    listed = [line.removeprefix("- ") for line in page.splitlines() if line.startswith("- ")]
    assert listed == list(dict.fromkeys(difference.reason for difference in DIFFERENCES))


@pytest.mark.parametrize(("application", "launcher", "isolations"), list(list_cases()))
def test_application(application: Application, launcher: str, isolations: list[str], tmp_path: Path) -> None:
    def run(name: str, launcher: str, *sweeper: str) -> Observation:
        return observe(application, tmp_path / name, [f"hydra/launcher={launcher}", *OVERRIDES[launcher], *sweeper])

    stock = run("stock", "basic" if application.is_basic else launcher, "hydra/sweeper=basic")
    told = []
    for isolation in isolations:
        ours = run(isolation, launcher, "hydra/sweeper=wandbsweep", f"hydra.sweeper.isolation={isolation}")
        found = compare(stock.seen, ours.seen)
        undeclared = find_undeclared(found, application=application.name, launcher=launcher, isolation=isolation)
        told += [f"{isolation} {place}\n    {str(a)[:400]}\n    {str(b)[:400]}" for place, a, b in undeclared]
    assert not told, "\n".join([f"{application.about} Undeclared differences (Hydra's, ours):", *told])
