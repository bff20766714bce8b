"""A plain PyTorch loop that reports every epoch, and continues from its checkpoint if it was interrupted."""

import hydra
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from wandbsweep import current_trial


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    trial, first = current_trial(), 0
    torch.manual_seed(cfg.seed)
    images, classes = map(torch.as_tensor, load_digits(return_X_y=True))
    train, val = torch.randperm(len(classes)).split([1500, 297])
    images = images.float() / 16
    network = nn.Sequential(nn.Linear(64, cfg.hidden), nn.ReLU(), nn.Linear(cfg.hidden, 10))
    optimizer = torch.optim.AdamW(network.parameters(), cfg.lr)
    if trial.checkpoint:
        first, weights, state = torch.load(trial.checkpoint)
        network.load_state_dict(weights), optimizer.load_state_dict(state)
    for epoch in range(first, cfg.epochs):
        torch.manual_seed(1000 * cfg.seed + epoch)  # an epoch's batches are the same after an interruption
        for batch in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            cross_entropy(network(images[batch]), classes[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = cross_entropy(network(images[val]), classes[val]).item()
        # Two files in turn: the process may be killed while it writes.
        torch.save((epoch + 1, network.state_dict(), optimizer.state_dict()), trial.directory / f"{epoch % 2}.pt")
        if trial.report(epoch, {"val/loss": loss}).stop:
            break


if __name__ == "__main__":
    main()
