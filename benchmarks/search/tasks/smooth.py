"""A task that evaluates any configuration, with a small network that is fitted to all curves of a table.

A table's best rows owe part of their rank to luck, and there is nothing to find between them. Here every small
improvement counts, and the best configurations mostly lie at the sides of the cube, where a thousand random ones
have no point: the smooth tasks are much harder than the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.tasks.base import Evaluation, cached
from benchmarks.search.tasks.own import PACKED, SMOOTH, OwnTask, place

Layers = list[tuple[np.ndarray, np.ndarray]]

WIDTH, FITS, ROUNDS, BATCH = 96, 2, 120, 64


def fit(x: np.ndarray, y: np.ndarray, seed: int) -> Layers:
    """Weights and biases of a network with two hidden layers that maps (n, inputs) to (n, outputs)."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    inputs, targets = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    linear = [torch.nn.Linear(a, b) for a, b in ((x.shape[1], WIDTH), (WIDTH, WIDTH), (WIDTH, y.shape[1]))]
    net = torch.nn.Sequential(linear[0], torch.nn.SiLU(), linear[1], torch.nn.SiLU(), linear[2])
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    steps = ROUNDS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(ROUNDS):
        for chosen in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            (net(inputs[chosen]) - targets[chosen]).square().mean().backward()
            optimizer.step()
            schedule.step()
    return [(w.weight.detach().numpy().T.astype(float), w.bias.detach().numpy().astype(float)) for w in linear]


def propagate(layers: Layers, x: np.ndarray) -> np.ndarray:
    for k, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        if k + 1 < len(layers):
            x = x / (1 + np.exp(-x))
    return x


@dataclass
class SmoothTask(OwnTask):
    """`curves` are those of the table. The networks' curves differ, and so do their best and median value."""

    nets: list[Layers] = field(default_factory=list, repr=False)
    centre: float = 0.0
    spread: float = 1.0

    @classmethod
    def fit(cls, table: OwnTask) -> SmoothTask:
        curves = _without_outliers(table)
        centre, spread = float(curves.mean()), float(curves.std())
        given = {f: getattr(table, f) for f in ("goal", "space", "u", "curves", "seconds")}
        task = cls(f"{SMOOTH}/{table.source}", **given, centre=centre, spread=spread)

        def measure() -> tuple[list[Layers], float, float]:
            x = task.inputs(task.u)
            task.nets = [fit(x, (curves - centre) / spread, seed) for seed in range(FITS)]
            rng = np.random.default_rng(0)
            median = float(np.median(task.finals(task.draw(rng, 4000))))
            return task.nets, median, task.best(rng)

        key = f"{task.name}-{table.goal}"
        task.nets, task.median, task.optimum = cached(key, (Path(__file__), PACKED), measure)
        return task

    def inputs(self, u: np.ndarray) -> np.ndarray:
        """Return points of the cube as the networks see them: categories one-hot."""
        columns = []
        for column, p in zip(u.T, self.parameters.values(), strict=True):
            if p.values:
                columns += list(np.eye(len(p.values))[(column * len(p.values)).astype(int)].T)
            else:
                columns.append(2 * column - 1)
        return np.stack(columns, axis=1)

    def predict(self, u: np.ndarray) -> np.ndarray:
        """Return the curves (n, EPOCHS) at points (n, 7)."""
        x = self.inputs(u)
        return np.mean([propagate(net, x) for net in self.nets], axis=0) * self.spread + self.centre

    def finals(self, u: np.ndarray) -> np.ndarray:
        return (self.sign * self.predict(u)).min(1)

    def evaluate(self, params: Mapping[str, Any], rng: np.random.Generator, taken: set[int]) -> Evaluation:
        row = self.nearest(params, set())
        curve = self.predict(self.point(params)[None])[0]
        return Evaluation(curve, float((self.sign * curve).min()), float(self.seconds[row]))

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return self.snap(rng.random((count, len(self.parameters))))

    def snap(self, u: np.ndarray) -> np.ndarray:
        """Return points with listed values and small integers moved to coordinates that a trial can have."""
        out = u.copy()
        for j, p in enumerate(self.parameters.values()):
            if p.values or p.distribution == "int_uniform":
                levels = np.array(sorted({place(p, p.ppf(x)) for x in np.linspace(0.001, 0.999, 200).tolist()}))
                out[:, j] = levels[np.abs(out[:, j : j + 1] - levels).argmin(1)]
        return out

    def best(self, rng: np.random.Generator, *, climbers: int = 40, rounds: int = 60) -> float:
        """Return the lowest value found by random steps from the best of random and of stored configurations."""
        start = np.concatenate([self.u, self.draw(rng, 10_000)])
        at = start[np.argsort(self.finals(start))[:climbers]]
        values = self.finals(at)
        for k in range(rounds):
            step = 0.4 * 0.93**k * rng.standard_normal((20, *at.shape)) * (rng.random((20, *at.shape)) < 0.4)
            tried = self.snap(np.clip(at + step, 0, 1 - 1e-9).reshape(-1, at.shape[1]))
            found = self.finals(tried).reshape(20, climbers)
            pick = found.argmin(0)
            better = found.min(0) < values
            tried = tried.reshape(20, *at.shape)[pick, np.arange(climbers)]
            at[better], values[better] = tried[better], found.min(0)[better]
        return float(values.min())


def _without_outliers(table: OwnTask) -> np.ndarray:
    """Return the table's curves with diverged losses and the worst tenth of first values cut at a limit.

    The network would otherwise fit little else.
    """
    if table.goal == "maximize":
        return table.curves
    limit = np.nanquantile(table.curves[:, 0], 0.9)
    return np.minimum(np.nan_to_num(table.curves, nan=limit), limit)
