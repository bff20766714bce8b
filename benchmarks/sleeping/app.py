"""A trial that only sleeps. It writes when it began and ended into the directory ``$SPANS``."""

import json
import os
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig

from wandbsweep import current_trial


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    began = time.time()
    time.sleep(cfg.seconds)
    current_trial().report(0, {"loss": cfg.seconds})
    span = {"began": began, "ended": time.time(), "seconds": cfg.seconds}
    Path(os.environ["SPANS"], f"{began}-{os.getpid()}.json").write_text(json.dumps(span))


if __name__ == "__main__":
    main()
