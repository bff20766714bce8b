"""A plain Python function, without Hydra and without torch: python train.py runs a sweep over it."""

import numpy as np

import wandbsweep

SWEEP = {
    "method": "bayes",
    "metric": {"name": "error", "goal": "minimize"},
    "run_cap": 20,
    "early_terminate": {"type": "hyperband", "min_iter": 10},
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-3, "max": 1.0},
        "momentum": {"min": 0.0, "max": 0.99},
    },
}


def train(params):
    """Fit a line by gradient descent, and report the error after every step."""
    x = np.linspace(-1, 1, 100)
    y, weights, velocity = 3 * x + 1, np.zeros(2), np.zeros(2)
    for step in range(40):
        residual = weights[0] * x + weights[1] - y
        velocity = params["momentum"] * velocity - params["lr"] * np.array([residual @ x, residual.sum()]) / len(x)
        weights = weights + velocity
        if wandbsweep.current_trial().report(step, {"error": float(np.mean(residual**2))}).stop:
            break


if __name__ == "__main__":
    results = wandbsweep.optimize(train, SWEEP, "outputs/function", agents=2)
    print(results)
