"""A network of two layers."""

import torch
from torch import nn


class DenseNet(nn.Module):
    def __init__(self, inputs: int = 64, width: int = 64, outputs: int = 10) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model(x)
        return found
