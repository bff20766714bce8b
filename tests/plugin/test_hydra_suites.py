"""Hydra's own suites for plugins, with our sweeper in the place of Hydra's."""

from __future__ import annotations

from collections.abc import Iterator

import hydra
import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase

from hydra_plugins.wandbsweep.sweeper import WandbSweeper

# Hydra's suites rest on its version 1.1 defaults, and it warns of them.
pytestmark = pytest.mark.filterwarnings("ignore:Future Hydra versions will no longer:UserWarning")

OURS = "hydra/sweeper=wandbsweep"
TWO_AGENTS = ["hydra.sweeper.agents=2"]


@pytest.fixture(autouse=True)
def hydras_oldest_defaults() -> Iterator[None]:
    """Another test in this process may have set other ones. Hydra 1.4 has no older ones."""
    hydra_version = VersionBase.instance()
    base = hydra_version.version_base
    if hydra.__version__.startswith("1.3."):
        from hydra.version import Version

        hydra_version.setbase(Version("1.1"))
    yield
    hydra_version.version_base = base


def test_discovery() -> None:
    names = [plugin.__name__ for plugin in Plugins.instance().discover(Sweeper)]
    assert WandbSweeper.__name__ in names


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [("basic", [OURS]), ("submitit_local", [OURS, *TWO_AGENTS])],
)
class TestLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [
        ({}, ["-m", OURS, "hydra/launcher=basic"]),
        pytest.param({}, ["-m", OURS, "hydra/launcher=submitit_local"], marks=pytest.mark.slow),
    ],
)
class TestIntegration(IntegrationTestSuite):
    pass
