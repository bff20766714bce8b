"""A training that uses wandb as its articles do, and knows nothing of who sweeps it."""

import json
import math
import os
import time

import wandb

NUM_EPOCHS = 9


def train():
    run = wandb.init()
    config = wandb.config

    distance = abs(math.log10(config.learning_rate) + 3)
    for epoch in range(NUM_EPOCHS):
        time.sleep(0.15)
        val_loss = distance + config.dropout + 1 / (epoch + 1)
        print(json.dumps({"epoch": epoch, "at": time.time()}), flush=True)
        wandb.log(
            {
                "epoch": epoch,
                "train/loss": 0.9 * val_loss,
                "val/loss": val_loss,
                "val/accuracy": 1 / (1 + val_loss),
            }
        )
    with open(f"{os.environ['PLACE']}/{run.id}.json", "w") as file:
        json.dump(dict(config), file)
    run.finish()


if __name__ == "__main__":
    wandb.login()
    train()
