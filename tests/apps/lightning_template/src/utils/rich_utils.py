"""The configuration as a tree, and the question for tags."""

from __future__ import annotations

from pathlib import Path

import rich
import rich.syntax
import rich.tree
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.prompt import Prompt


@rank_zero_only
def print_config_tree(cfg: DictConfig) -> None:
    """Print the resolved configuration and save it in the output directory."""
    tree = rich.tree.Tree("CONFIG", style="dim", guide_style="dim")
    for name in cfg:
        value = cfg[name]
        text = OmegaConf.to_yaml(value, resolve=True) if OmegaConf.is_config(value) else str(value)
        tree.add(name, style="dim").add(rich.syntax.Syntax(text, "yaml"))
    rich.print(tree)
    with open(Path(cfg.paths.output_dir, "config_tree.log"), "w") as file:
        rich.print(tree, file=file)


@rank_zero_only
def enforce_tags(cfg: DictConfig) -> None:
    """Ask for tags if there are none, and save them in the output directory."""
    if not cfg.get("tags"):
        if "id" in HydraConfig().cfg.hydra.job:
            raise ValueError("Specify tags before launching a multirun!")
        with open_dict(cfg):
            cfg.tags = Prompt.ask("Enter a list of comma separated tags", default="dev").split(",")
    with open(Path(cfg.paths.output_dir, "tags.log"), "w") as file:
        rich.print(cfg.tags, file=file)
