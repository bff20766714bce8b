"""Trains ``digits.Classifier``. A sweep needs SweepCallback, and ``ckpt_path`` to resume a trial."""

import hydra
from digits import Classifier, Digits
from lightning.pytorch import Trainer, seed_everything

from wandbsweep import current_trial
from wandbsweep.lightning import SweepCallback


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    seed_everything(cfg.seed)
    trainer = Trainer(max_epochs=cfg.epochs, callbacks=[SweepCallback()], default_root_dir=current_trial().directory)
    trainer.fit(Classifier(cfg.lr, cfg.hidden), Digits(), ckpt_path=current_trial().checkpoint)


if __name__ == "__main__":
    main()
