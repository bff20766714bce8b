"""``print_config``: the configuration of a run as a tree."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.syntax import Syntax
from rich.tree import Tree


def print_config(cfg: DictConfig) -> None:
    """Print the configuration, resolved, one branch for each group; the groups come first."""
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    tree = Tree("configuration")
    for name, value in sorted(resolved.items(), key=lambda item: not isinstance(item[1], dict)):
        if isinstance(value, dict):
            tree.add(str(name)).add(Syntax(OmegaConf.to_yaml(value).rstrip(), "yaml", background_color="default"))
        else:
            tree.add(f"{name}: {'null' if value is None else value}")
    Console().print(tree)
