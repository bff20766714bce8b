"""Functions with the traps that searches meet: each says which in one line. The lowest loss of most is 0, and known.

A function sees each numeric parameter as its coordinate in [0, 1] and listed values as they are; parameters that are
not active are missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.search.tasks.base import Evaluation, Task, draw_params, draw_seconds
from wandbsweep.spec.conditions import select_active

FAMILY = "synthetic"
Point = Mapping[str, Any]
UNIT: dict[str, Any] = {"min": 0.0, "max": 1.0}


def _cube(dims: int) -> dict[str, dict[str, Any]]:
    return {f"x{j}": UNIT for j in range(dims)}


def _log(low: float, high: float) -> dict[str, Any]:
    return {"distribution": "log_uniform_values", "min": low, "max": high}


def _vector(point: Point, dims: int) -> np.ndarray:
    return np.array([point[f"x{j}"] for j in range(dims)])


@dataclass(frozen=True)
class Landscape:
    space: Mapping[str, Mapping[str, Any]]
    loss: Callable[[Point], float]
    noise: float = 0.0
    """Standard deviation of a trial's result, as a share of the distance from the optimum to the median."""
    optimum: float = 0.0


def _waves(point: Point) -> float:
    """Many local optima on a bowl (Rastrigin's idea): four in each of five columns."""
    away = _vector(point, 5) - [0.31, 0.72, 0.55, 0.18, 0.83]
    return float((4 * away**2 + 0.25 * (1 - np.cos(8 * math.pi * away))).sum())


def _needle_and_bowl(point: Point) -> float:
    """Two basins in six columns: a wide one that ends at 0.35 and a narrow one, far from it, that ends at 0."""
    x = _vector(point, 6)
    wide = 0.35 + 1.2 * ((x - 0.28) ** 2).mean()
    narrow = 9.0 * ((x - [0.8, 0.7, 0.85, 0.75, 0.2, 0.8]) ** 2).mean()
    return float(min(wide, narrow))


_CENTRES = np.random.default_rng(5).uniform(0.1, 0.9, (8, 7))
_DEPTHS = np.linspace(1.0, 0.55, 8)


def _eight_basins(point: Point) -> float:
    """Eight basins of about one width in seven columns; the deepest is not the widest."""
    away = ((_vector(point, 7) - _CENTRES) ** 2).sum(1)
    return float(1 - (_DEPTHS * np.exp(-away / np.linspace(0.25, 0.6, 8))).max())


def _ackley(point: Point) -> float:
    """A flat, rippled outside and one deep hole, six columns (Ackley)."""
    away = 8 * (_vector(point, 6) - [0.62, 0.37, 0.71, 0.44, 0.25, 0.58])
    ripples = -math.exp(np.cos(2 * math.pi * away).mean()) + math.e
    return float(20 - 20 * math.exp(-0.2 * math.sqrt((away**2).mean())) + ripples)


_H6 = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P6 = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def _hartmann6(point: Point) -> float:
    """Hartmann's function of six columns: six local optima."""
    return float(-np.array([1, 1.2, 3, 3.2]) @ np.exp(-(_H6 * (_vector(point, 6) - _P6) ** 2).sum(1)))


def _valley(point: Point) -> float:
    """A narrow, bent valley (Rosenbrock) in four columns, on the logarithm's scale."""
    x = 3 * _vector(point, 4) - 1.0
    return float(np.log1p((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()))


_TURN = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 6)))[0]


def _ridge(point: Point) -> float:
    """A quadratic turned against the columns whose widths differ a hundredfold, six columns."""
    away = _TURN @ (_vector(point, 6) - [0.4, 0.65, 0.3, 0.55, 0.7, 0.45])
    return float(np.sqrt((np.logspace(0, 2, 6) * away**2).sum() + 1e-2) - 0.1)


TRAINING = {
    "learning_rate": _log(1e-5, 1.0),
    "batch_size": {"distribution": "q_log_uniform_values", "min": 16, "max": 512, "q": 1},
    "momentum": {"min": 0.0, "max": 0.99},
    "weight_decay": _log(1e-6, 1e-1),
    "dropout": {"min": 0.0, "max": 0.7},
}


def _cliff_of(edge: float) -> Callable[[Point], float]:
    def cliff(point: Point) -> float:
        """The learning rate is best close below a value, which depends on others, from which training diverges."""
        rate, size, momentum = point["learning_rate"], point["batch_size"], point["momentum"]
        limit = edge + 0.15 * (size - 0.5) - 0.25 * (momentum - 0.5)
        if rate > limit:
            return math.inf
        slow = (limit - rate - 0.03) ** 2
        rest = (point["weight_decay"] - 0.65) ** 2 + 0.5 * (point["dropout"] - 0.35) ** 2 + 0.5 * (momentum - 0.8) ** 2
        return 3 * slow + rest + 0.3 * (size - 0.3) ** 2

    return cliff


def _useless(point: Point) -> float:
    """Of twelve columns three matter."""
    a, b, c = point["x2"], point["x6"], point["x11"]
    return 4 * (a - 0.23) ** 2 + 3 * (b - 0.71 - 0.3 * (a - 0.23)) ** 2 + 0.4 * (1 - math.cos(4 * math.pi * (c - 0.6)))


def _few_of_twenty(point: Point) -> float:
    """Of twenty columns six matter, as in Hartmann's function."""
    return _hartmann6({f"x{j}": point[f"x{3 * j + 1}"] for j in range(6)})


def _plateau(point: Point) -> float:
    """Nothing is learnt, a loss of 0.69, in most of eight columns; a basin at one side."""
    x = _vector(point, 8)
    away = (((x - [0.6, 0.4, 0.3, 0.5, 0.2, 0.25, 0.5, 0.5]) / [0.12, 0.4, 0.45, 0.3, 0.3, 0.35, 3, 3]) ** 2).sum()
    return 0.69 * (1 - math.exp(-0.5 * away)) + 0.001 * x[7]


def _corner(point: Point) -> float:
    """The optimum is at the sides of four of six columns, and the best of the inside is 0.3 above it."""
    x = _vector(point, 6)
    sides = np.array([x[0], 1 - x[1], x[2], 1 - x[3]])
    return float(0.6 * np.sqrt(sides).mean() + ((x[4:] - 0.4) ** 2).sum())


CATEGORIES = {
    "activation": {"values": ["relu", "gelu", "tanh", "silu"]},
    "norm": {"values": ["none", "batch", "layer"]},
    "optimizer": {"values": ["sgd", "adam", "lion"]},
    "lr": _log(1e-5, 1.0),
    "wd": _log(1e-6, 1e-1),
    "width": {"distribution": "q_log_uniform_values", "min": 8, "max": 512, "q": 1},
    "depth": {"min": 1, "max": 6},
}


def _categories(point: Point) -> float:
    """Each choice of three categories has an optimum of its own."""
    best = {"sgd": 0.75, "adam": 0.45, "lion": 0.3}[point["optimizer"]] + 0.08 * (point["norm"] == "batch")
    worse = {"relu": 0.05, "gelu": 0.0, "tanh": 0.2, "silu": 0.03}[point["activation"]]
    worse += {"none": 0.25 * point["depth"], "batch": 0.06, "layer": 0.0}[point["norm"]]
    worse += {"sgd": 0.08, "adam": 0.0, "lion": 0.04}[point["optimizer"]]
    decay = 0.7 if point["optimizer"] == "lion" else 0.4
    rest = 0.6 * (point["wd"] - decay) ** 2 + 0.4 * (point["width"] - 0.7) ** 2
    return float(worse + 4 * (point["lr"] - best) ** 2 + rest + 0.3 * (point["depth"] - 0.5833333) ** 2)


CONDITIONAL = {
    "optimizer": {"values": ["adam", "sgd", "rmsprop"]},
    "adam.lr": _log(1e-5, 1e-1) | {"when": {"optimizer": "adam"}},
    "adam.beta1": {"min": 0.5, "max": 0.99, "when": {"optimizer": "adam"}},
    "adam.eps": _log(1e-10, 1e-2) | {"when": {"optimizer": "adam"}},
    "sgd.lr": _log(1e-4, 1.0) | {"when": {"optimizer": "sgd"}},
    "sgd.momentum": {"min": 0.0, "max": 0.99, "when": {"optimizer": "sgd"}},
    "sgd.nesterov": {"values": [True, False], "when": {"optimizer": "sgd"}},
    "rmsprop.lr": _log(1e-5, 1e-1) | {"when": {"optimizer": "rmsprop"}},
    "weight_decay": _log(1e-6, 1e-1),
    "dropout": {"min": 0.0, "max": 0.7},
}


def _conditional(point: Point) -> float:
    """Each optimizer has parameters of its own; the best one is the hardest to set."""
    shared = 0.5 * (point["weight_decay"] - 0.6) ** 2 + 0.5 * (point["dropout"] - 0.3) ** 2
    if point["optimizer"] == "adam":
        own = 0.12 + 1.5 * (point["adam.lr"] - 0.5) ** 2 + 0.2 * (point["adam.beta1"] - 0.8) ** 2
        return float(shared + own + 0.05 * point["adam.eps"])
    if point["optimizer"] == "rmsprop":
        return float(shared + 0.2 + (point["rmsprop.lr"] - 0.55) ** 2)
    rate = point["sgd.lr"] - 0.8 + 0.4 * point["sgd.momentum"]
    own = 12 * rate**2 + 0.6 * (point["sgd.momentum"] - 0.9) ** 2 + (0.0 if point["sgd.nesterov"] else 0.03)
    return float(shared + own)


LAYERED = {
    "layers": {"values": [1, 2, 3, 4]},
    **{
        f"{part}{j}": rule | ({"when": {"layers": list(range(j, 5))}} if j > 1 else {})
        for j in range(1, 5)
        for part, rule in {
            "units": {"distribution": "q_log_uniform_values", "min": 8, "max": 512, "q": 1},
            "dropout": {"min": 0.0, "max": 0.7},
        }.items()
    },
    "lr": _log(1e-5, 1.0),
}


def _layered(point: Point) -> float:
    """The number of layers decides how many parameters there are, up to ten; the best has seven."""
    layers = point["layers"]
    inner = sum(
        (point[f"units{j}"] - 0.9 + 0.15 * j) ** 2 + 0.4 * (point[f"dropout{j}"] - 0.1 * j) ** 2
        for j in range(1, layers + 1)
    )
    return float(
        {1: 0.3, 2: 0.12, 3: 0.0, 4: 0.05}[layers] + inner / layers + 2 * (point["lr"] - 0.7 + 0.08 * layers) ** 2
    )


def _steps(point: Point) -> float:
    """The error of a small validation set: sixty steps, so that many configurations have the same value."""
    away = _vector(point, 5) - [0.66, 0.3, 0.52, 0.8, 0.41]
    return math.floor(60 * min(1.0, 1.8 * float((np.array([3, 2, 1, 0.5, 0.3]) * away**2).sum()))) / 60


def _bowl(point: Point) -> float:
    """A plain bowl of five columns."""
    away = _vector(point, 5) - [0.35, 0.6, 0.72, 0.28, 0.5]
    return float((np.array([4, 2, 1, 1, 0.3]) * away**2).sum())


HARTMANN6 = -3.32236801
LANDSCAPES: dict[str, Landscape] = {
    "waves": Landscape(_cube(5), _waves),
    "needle_and_bowl": Landscape(_cube(6), _needle_and_bowl),
    "eight_basins": Landscape(_cube(7), _eight_basins),
    "ackley": Landscape(_cube(6), _ackley),
    "hartmann6": Landscape(_cube(6), _hartmann6, optimum=HARTMANN6),
    "valley": Landscape(_cube(4), _valley),
    "ridge": Landscape(_cube(6), _ridge),
    "cliff": Landscape(TRAINING, _cliff_of(0.85)),
    "steep_cliff": Landscape(TRAINING, _cliff_of(0.62)),
    "useless": Landscape(_cube(12), _useless),
    "few_of_twenty": Landscape(_cube(20), _few_of_twenty, optimum=HARTMANN6),
    "plateau": Landscape(_cube(8), _plateau),
    "corner": Landscape(_cube(6), _corner),
    "categories": Landscape(CATEGORIES, _categories),
    "conditional": Landscape(CONDITIONAL, _conditional),
    "layered": Landscape(LAYERED, _layered),
    "steps": Landscape(_cube(5), _steps),
    "noisy_bowl": Landscape(_cube(5), _bowl, noise=0.3),
    "noisy_hartmann6": Landscape(_cube(6), _hartmann6, noise=0.3, optimum=HARTMANN6),
    "noisy_cliff": Landscape(TRAINING, _cliff_of(0.75), noise=0.2),
}


def list_names() -> Iterator[str]:
    yield from (f"{FAMILY}/{name}" for name in LANDSCAPES)


def find_source(name: str) -> str:
    """Return the task of which this one is a variant; variants are on the same side of the division."""
    return name.replace("noisy_", "").replace("steep_", "").replace("few_of_twenty", "hartmann6")


class Synthetic(Task):
    family, goal = FAMILY, "minimize"

    def __init__(self, name: str) -> None:
        self.name = name
        self.landscape = LANDSCAPES[name.split("/")[1]]
        self.space = self.landscape.space
        self.optimum = self.landscape.optimum
        rng = np.random.default_rng(0)
        drawn = [select_active(self.parameters, draw_params(self.parameters, rng)) for _ in range(2000)]
        self.median = float(np.median([self.compute_loss(params) for params in drawn]))

    def compute_loss(self, params: Mapping[str, Any]) -> float:
        """Return the true value of a configuration."""
        point = {name: value if (p := self.parameters[name]).values else p.cdf(value) for name, value in params.items()}
        return self.landscape.loss(point)

    def evaluate(self, params: Mapping[str, Any], rng: np.random.Generator, taken: set[int]) -> Evaluation:
        loss = self.compute_loss(params)
        seconds, normal = draw_seconds(rng), float(rng.standard_normal())
        seen = loss + self.landscape.noise * (self.median - self.optimum) * normal
        return Evaluation(np.array([seen if math.isfinite(seen) else math.nan]), loss, seconds)
