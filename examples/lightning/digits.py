"""A LightningModule and a LightningDataModule of your own. Nothing in them is for a sweep."""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Digits(LightningDataModule):
    def setup(self, stage):
        images, classes = map(torch.as_tensor, load_digits(return_X_y=True))
        self.train, self.val = random_split(TensorDataset(images.float() / 16, classes), [0.8, 0.2])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=64, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=64)


class Classifier(LightningModule):
    def __init__(self, lr, hidden):
        super().__init__()
        self.lr, self.network = lr, nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def training_step(self, batch):
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch):
        self.log("val/loss", self.training_step(batch))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), self.lr)
