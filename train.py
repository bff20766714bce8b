"""The Hydra application. Heavy imports wait until a job runs: a launching process never needs torch."""

from __future__ import annotations

import os
import sys

import hydra
from omegaconf import DictConfig, OmegaConf, open_dict

# Hydra 1.3 has to be told whose defaults to use. Hydra 1.4 has its own alone, and warns of the argument.
VERSION = {"version_base": "1.3"} if hydra.__version__.startswith("1.3.") else {}


def drop_sweep(cfg: DictConfig) -> DictConfig:
    """Remove a sweep's configuration from a run's. A key ``sweep`` without ``parameters`` is the user's own, and stays.

    The key is read but never resolved: a sweep's ``command`` may hold W&B's macros (``${env}``), which
    OmegaConf would take for interpolations.
    """
    if "sweep" in cfg.keys() and not OmegaConf.is_interpolation(cfg, "sweep"):  # noqa: SIM118  `in cfg` resolves
        sweep = cfg["sweep"]
        if isinstance(sweep, DictConfig) and "parameters" in sweep.keys():  # noqa: SIM118
            with open_dict(cfg):
                del cfg["sweep"]
    return cfg


@hydra.main(config_path="conf", config_name="config", **VERSION)
def main(cfg: DictConfig) -> float | None:
    drop_sweep(cfg)
    from classifier.refusals import refusing
    from classifier.training import train

    with refusing():
        return train(cfg)


if __name__ == "__main__":
    if "WANDB_SWEEP_PARAM_PATH" in os.environ:  # W&B's own agent writes values as text, so restore them
        from wandbsweep.wandb_runs.stock_agent import exit_on_signals, restore_overrides

        sys.argv[1:] = restore_overrides(sys.argv[1:])
        with exit_on_signals():
            main()
    else:
        main()
