"""Trains the networks behind `curves.npz`: real learning curves of 1,000 configurations on each of ten data
sets.

    python -m benchmarks.search.make_curves            # all ten, about a quarter of an hour on one core
    python -m benchmarks.search.make_curves digits     # only these, into curves/NAME.npz

Only data that scikit-learn carries inside its package: digits, breast cancer, wine, diabetes, and patches
of its two sample photographs. The networks are multilayer perceptrons trained by SGD with cosine annealing
over 52 epochs. Many are trained at once: the weights of `CHUNK` configurations are stacked into one batched
matrix product, and masks give each its own width, depth, batch size and dropout. What a trial costs is its
own seconds, modelled as steps x (overhead + multiply-adds / speed). The two constants are assumptions, not
measurements: a slow core. (Single networks in PyTorch on one core of a 2026 server: an overhead of 1.35e-4 s
that grows by 0.43e-4 with every layer, so in the same proportion, and 4.5e10 multiply-adds a second in large
layers.) They set only the order in which parallel trials end, never how many epochs a search has.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import qmc

from benchmarks.search.tasks.own import EPOCHS, load_parameters

CONFIGS = 1000
CHUNK = 50
HERE = Path(__file__).parent
STEP_OVERHEAD_S = 4.0e-4  # assumed: one SGD step of one tiny network, everything but the arithmetic
MACS_PER_S = 4.0e9  # assumed

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # train x, train y, validation x, validation y


def split(x: np.ndarray, y: np.ndarray, train: int, seed: int, flip: float = 0.0) -> Arrays:
    """Standardised and shuffled; a share `flip` of the training labels is replaced by random ones."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    x = x[order].astype(np.float64)
    y = y[order].astype(np.int64)
    # Nearly constant columns must not blow up on the validation rows.
    x = (x - x[:train].mean(0)) / np.maximum(x[:train].std(0), 0.2 * x[:train].std(0).max())
    noisy = y[:train].copy()
    hit = rng.random(train) < flip
    noisy[hit] = rng.integers(0, y.max() + 1, hit.sum())
    return x[:train], noisy, x[train:], y[train:]


def patches(seed: int, count: int, size: int, images: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Square colour patches (count, size, size, 3) with values in [0, 1], the image of each, and its place
    (row, column) in it."""
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(seed)
    which = rng.integers(0, len(images), count)
    pixels = [load_sample_image(name) / 255.0 for name in images]
    place = rng.random((count, 2))
    out = []
    for image, (row, column) in zip(which, place, strict=True):
        full = pixels[image]
        top, left = int(row * (full.shape[0] - size)), int(column * (full.shape[1] - size))
        out.append(full[top : top + size, left : left + size])
    return np.stack(out), which, place


def digits() -> Arrays:
    from sklearn.datasets import load_digits

    data = load_digits()
    return split(data.data, data.target, 700, 1)


def digits_noisy() -> Arrays:
    from sklearn.datasets import load_digits

    data = load_digits()
    return split(data.data, data.target, 600, 2, flip=0.3)


def digits_few() -> Arrays:
    from sklearn.datasets import load_digits

    data = load_digits()
    return split(data.data, data.target, 120, 3)


def digits_odd() -> Arrays:
    """Odd or even, seen at a resolution of 4 x 4."""
    from sklearn.datasets import load_digits

    data = load_digits()
    small = data.images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(len(data.images), -1)
    return split(small, data.target % 2, 600, 4)


def breast_cancer() -> Arrays:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return split(data.data[:, :10], data.target, 250, 5, flip=0.15)


def wine() -> Arrays:
    """Three of the thirteen columns, so that the classes overlap."""
    from sklearn.datasets import load_wine

    data = load_wine()
    return split(data.data[:, [0, 1, 10]], data.target, 80, 6)


def diabetes() -> Arrays:
    """The progression in four quarters."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    return split(data.data, np.searchsorted(np.quantile(data.target, [0.25, 0.5, 0.75]), data.target), 220, 7)


def china_or_flower() -> Arrays:
    """Which photograph a grey 5 x 5 patch is from."""
    seen, which, _ = patches(8, 2000, 5, ["china.jpg", "flower.jpg"])
    return split(seen.mean(3).reshape(len(seen), -1), which, 800, 8)


def next_pixel() -> Arrays:
    """The brightness (six levels) of the middle pixel, given the ring around it, in the flower photograph."""
    seen, _, _ = patches(9, 2000, 7, ["flower.jpg"])
    grey = seen.mean(3)
    middle = grey[:, 3, 3]
    ring = grey[:, [0, 0, 0, 3, 3, 6, 6, 6], [0, 3, 6, 0, 6, 0, 3, 6]]
    return split(ring, np.searchsorted(np.quantile(middle, np.linspace(0, 1, 7)[1:-1]), middle), 700, 9)


def china_place() -> Arrays:
    """Which of five columns of the china photograph a colour patch of 4 x 4 is from."""
    seen, _, place = patches(10, 2000, 4, ["china.jpg"])
    return split(seen.reshape(len(seen), -1), (place[:, 1] * 5).astype(int), 700, 10)


DATA: dict[str, Callable[[], Arrays]] = {
    "digits": digits,
    "digits_noisy": digits_noisy,
    "breast_cancer": breast_cancer,
    "diabetes": diabetes,
    "china_or_flower": china_or_flower,
    "digits_few": digits_few,
    "digits_odd": digits_odd,
    "wine": wine,
    "next_pixel": next_pixel,
    "china_place": china_place,
}


def sample(name: str, seed: int) -> dict[str, np.ndarray]:
    """Scrambled Sobol points as columns of values; a category's are indices."""
    parameters = load_parameters(name)
    u = qmc.Sobol(len(parameters), seed=seed).random_base2(10)[:CONFIGS]
    return {
        key: np.array([p.values.index(p.ppf(x)) if p.values else p.ppf(x) for x in column.tolist()])
        for (key, p), column in zip(parameters.items(), u.T, strict=True)
    }


def activate(h: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
    """The activation of each configuration, `kind` (configurations,): 0 relu, 1 tanh, 2 sigmoid."""
    if not kind.any():
        return torch.relu(h)
    out = torch.empty_like(h)
    for k, f in enumerate((torch.relu, torch.tanh, torch.sigmoid)):
        at = (kind == k).nonzero()[:, 0]
        if len(at):
            out[at] = f(h[at])
    return out


def train(data: Arrays, v: dict[str, np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Validation accuracy and cross-entropy, each (configurations, EPOCHS), of configurations trained side
    by side."""
    torch.manual_seed(seed)
    x, y, vx, vy = data
    tx, ty = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    ex, ey = torch.tensor(vx, dtype=torch.float32), torch.tensor(vy)
    classes, n, c = int(y.max()) + 1, len(x), len(v["units"])
    layers, width = torch.tensor(v["layers"]), torch.tensor(v["units"])
    wide, deep = int(width.max()), int(layers.max())
    kind = torch.tensor(v.get("activation", np.zeros(c, int)))
    dropout = torch.tensor(v["dropout"], dtype=torch.float32)[:, None, None]
    momentum = torch.tensor(v.get("momentum", np.full(c, 0.9)), dtype=torch.float32)[:, None, None]
    decay = torch.tensor(v["weight_decay"], dtype=torch.float32)[:, None, None]
    rate = torch.tensor(v["learning_rate"], dtype=torch.float32)[:, None, None]
    # Funnel: from `units` linearly down to the number of classes.
    masks, active, fan = [], [], torch.full((c,), float(x.shape[1]))
    weights: list[torch.Tensor] = []
    for layer in range(deep):
        share = torch.clamp(1 - layer / layers, min=0)
        units = torch.clamp((classes + (width - classes) * share).round(), min=2, max=wide)
        units = torch.minimum(units, width)
        masks.append((torch.arange(wide)[None, :] < units[:, None]).float()[:, None, :])
        active.append((layer < layers)[:, None, None])
        inputs = x.shape[1] if layer == 0 else wide
        weights.append(torch.randn(c, inputs, wide) * torch.sqrt(2 / fan)[:, None, None])
        weights.append(torch.zeros(c, 1, wide))
        fan = torch.where(layer < layers, units, fan)
    weights.append(torch.randn(c, wide, classes) / torch.sqrt(fan)[:, None, None])
    weights.append(torch.zeros(c, 1, classes))
    for w in weights:
        w.requires_grad_(True)
    velocity = [torch.zeros_like(w) for w in weights]

    def forward(inputs: torch.Tensor, training: bool) -> torch.Tensor:
        h = inputs
        for layer in range(deep):
            new = activate(torch.baddbmm(weights[2 * layer + 1], h, weights[2 * layer]), kind) * masks[layer]
            if training:
                new = new * (torch.rand_like(new) >= dropout) / (1 - dropout)
            h = new if layer == 0 else torch.where(active[layer], new, h)
        return torch.baddbmm(weights[-1], h, weights[-2])

    size = torch.tensor(v["batch_size"]).clamp(max=n)
    largest = int(size.max())
    steps = torch.ceil(n / size).long()
    accuracy, loss = np.zeros((c, EPOCHS)), np.zeros((c, EPOCHS))
    for epoch in range(EPOCHS):
        lr = rate * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        order = torch.rand(c, n).argsort(1)
        for step in range(int(steps.max())):
            spot = step * size[:, None] + torch.arange(largest)[None, :]
            valid = (torch.arange(largest)[None, :] < size[:, None]) & (spot < n)
            index = order.gather(1, spot.clamp(max=n - 1))
            logits = forward(tx[index], True)
            each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ty[index], reduction="none")
            count = valid.sum(1).clamp(min=1)
            grads = torch.autograd.grad(((each * valid).sum(1) / count).sum(), weights)
            going = (step < steps).float()[:, None, None]
            with torch.no_grad():
                keep, pull = going * momentum + 1 - going, going * decay
                for w, g, s in zip(weights, grads, velocity, strict=True):
                    s.mul_(keep).addcmul_(g, going).addcmul_(w, pull)
                    w.addcmul_(s, lr * going, value=-1)
        with torch.no_grad():
            logits = forward(ex.expand(c, *ex.shape), False)
            target = ey.expand(c, -1)
            each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), target, reduction="none")
            loss[:, epoch] = each.mean(1).numpy()
            hit = (logits.argmax(2) == target) & torch.isfinite(logits).all(2)
            accuracy[:, epoch] = hit.float().mean(1).numpy()
    return accuracy, loss


def epoch_seconds(data: Arrays, v: dict[str, np.ndarray]) -> np.ndarray:
    """Seconds per epoch of each configuration, on one core."""
    steps = np.ceil(len(data[0]) / v["batch_size"])
    parameters = v["units"] * data[0].shape[1] + (v["layers"] - 1) * v["units"] ** 2 / 2
    return steps * STEP_OVERHEAD_S * (0.6 + 0.4 * v["layers"]) + 3 * parameters * len(data[0]) / MACS_PER_S


def make(name: str) -> None:
    data, seed = DATA[name](), sorted(DATA).index(name)
    values = sample(name, seed)
    order = np.argsort(values["batch_size"], kind="stable")
    accuracy, loss = np.zeros((CONFIGS, EPOCHS)), np.zeros((CONFIGS, EPOCHS))
    for at in range(0, CONFIGS, CHUNK):
        rows = order[at : at + CHUNK]
        started = time.perf_counter()
        accuracy[rows], loss[rows] = train(data, {k: column[rows] for k, column in values.items()}, seed + at)
        print(f"{name}: {at + CHUNK} of {CONFIGS}, {time.perf_counter() - started:.1f} s", flush=True)
    (HERE / "curves").mkdir(exist_ok=True)
    np.savez(
        HERE / "curves" / f"{name}.npz", accuracy=accuracy, loss=loss,
        seconds=epoch_seconds(data, values), **{f"value.{k}": column for k, column in values.items()},
    )  # fmt: skip


def pack() -> None:
    """All ten in one file: accuracies to 1e-4, losses to 1/2000 (at most 20), in 16 bits; diverged losses
    as 65535.

    Differences along the epochs, not the values, are stored: they compress twice as well.
    """
    out: dict[str, np.ndarray] = {}
    for name in DATA:
        with np.load(HERE / "curves" / f"{name}.npz") as made:
            for key in made.files:
                column = made[key]
                if key == "accuracy":
                    column = np.round(column * 10_000).astype(np.uint16)
                elif key == "loss":
                    steps = np.round(np.minimum(column, 20) * 2000)
                    column = np.where(np.isfinite(column), steps, 65535).astype(np.uint16)
                elif column.dtype.kind == "f":
                    column = column.astype(np.float32)
                elif column.dtype.kind == "i":
                    column = column.astype(np.int16)
                if key in ("accuracy", "loss"):
                    column = np.diff(column, axis=1, prepend=np.uint16(0))
                out[f"{name}/{key}"] = column
    np.savez_compressed(HERE / "curves.npz", **out)
    print(f"{(HERE / 'curves.npz').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for chosen in sys.argv[1:] or DATA:
        make(chosen)
    if all((HERE / "curves" / f"{name}.npz").exists() for name in DATA):
        pack()
