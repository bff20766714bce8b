"""Training script that reads config and logs results to W&B: the article's, with a small model."""

import numpy as np
import wandb
import yaml

with open("config.yaml") as file:
    defaults = yaml.safe_load(file)

run = wandb.init(project="wandb_sweep", config=defaults)
config = wandb.config

rng = np.random.default_rng(0)
images = rng.normal(size=(400, 20))
labels = (images @ rng.normal(size=20) > 0).astype(float)
weights, velocity = np.zeros(20), np.zeros(20)
for epoch in range(config.epochs):
    for start in range(0, 300, config.batch_size):
        batch = slice(start, min(start + config.batch_size, 300))
        error = 1 / (1 + np.exp(-images[batch] @ weights)) - labels[batch]
        velocity = config.momentum * velocity - config.learning_rate * images[batch].T @ error / len(error)
        weights = weights + velocity
    accuracy = np.mean((images[300:] @ weights > 0) == labels[300:])
    wandb.log({"Epoch": epoch, "Validation Accuracy": 100 * accuracy, "lr": config.learning_rate})
wandb.finish()
