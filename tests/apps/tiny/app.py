"""A task of a few milliseconds. It returns a loss, and ``cfg.act`` says what else it does."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from wandbsweep import current_trial


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    trial = current_trial()
    write_result(cfg)
    loss = cfg.lr * cfg.model.width
    if cfg.act == "raise" or trial.number in cfg.fail:
        raise ValueError(f"no luck with {cfg.lr}")
    if cfg.act == "exhaust" and trial.number == 1:
        bytearray(2**60)
    if cfg.act == "exhaust" and trial.number == 2:
        trial.check_loss(17, float("nan"))
    if cfg.act == "silent":
        trial.report(0, {"accuracy": 0.5, "train/loss": loss})
        return None
    if cfg.act == "diverge":
        trial.report(0, {"loss": float("nan")})
        return float("nan")
    if cfg.act == "meet":
        meet(at_least=2)
    if cfg.act == "edit" and trial.number == 0:
        edit(Path("conf"))
    if cfg.act == "die" and trial.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.act == "pause" and trial.number == 1:
        pause()
    trial.report(0, {"loss": loss + 1.0})
    trial.report(1, {"loss": loss, "units": cfg.units})
    return None if trial else loss


def write_result(cfg: DictConfig) -> None:
    """Write what tests read of this run."""
    result = {
        "cfg": OmegaConf.to_container(cfg, resolve=True),
        "params": dict(current_trial().params),
        "cwd": os.getcwd(),
        "pid": os.getpid(),
    }
    Path(HydraConfig.get().runtime.output_dir, "result.json").write_text(json.dumps(result))


def meet(*, at_least: int) -> None:
    """Wait until this many processes are here."""
    place = Path("meeting")
    place.mkdir(exist_ok=True)
    (place / str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(list(place.iterdir())) < at_least:
        assert time.monotonic() < deadline, "no other process has come"
        time.sleep(0.02)


def edit(conf: Path) -> None:
    """Change, add and delete configuration files while the sweep runs."""
    (conf / "config.yaml").write_text("lr: 100\nmodel: {kind: edited, width: 100}\nact: raise\nfail: []\n")
    (conf / "model" / "mlp.yaml").write_text("kind: edited\nwidth: 100\n")
    (conf / "model" / "convnet.yaml").unlink()
    (conf / "model" / "new.yaml").write_text("kind: new\nwidth: 100\n")


def pause() -> None:
    """Wait while there is a file ``hang``."""
    Path("hanging").touch()
    while Path("hang").exists():
        time.sleep(0.02)


if __name__ == "__main__":
    main()
