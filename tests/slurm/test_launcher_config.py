"""The plugin's own launchers compose in any project, and explain every key. Needs no SLURM."""

import dataclasses
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins

ROOT = Path(__file__).parents[2]
LAUNCHERS = ROOT / "hydra_plugins" / "wandbsweep" / "conf" / "hydra" / "launcher"


@pytest.mark.parametrize("name", [path.stem for path in LAUNCHERS.glob("*.yaml")])
def test_every_launcher_composes_and_has_every_key_with_a_comment(name):
    Plugins.instance()
    from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf

    with initialize_config_dir(str(ROOT / "tests" / "apps" / "tiny" / "conf"), version_base="1.3"):
        launcher = compose("config", [f"hydra/launcher={name}"], return_hydra_config=True).hydra.launcher
    keys = {field.name for field in dataclasses.fields(SlurmQueueConf)} - {"_target_"}
    assert keys == set(launcher) - {"_target_"}
    text = (LAUNCHERS / f"{name}.yaml").read_text()
    assert [key for key in sorted(keys) if f"\n{key}:" not in text] == []
