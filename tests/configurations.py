"""Sweep configurations that many tests share. A test adds what it is about: ``RANDOM | {"run_cap": 3}``."""

from typing import Any

UNIT = {"min": 0.0, "max": 1.0}
LOG = {"distribution": "log_uniform_values", "min": 1e-6, "max": 1.0}

RANDOM: dict[str, Any] = {
    "method": "random",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": UNIT},
}
BAYES = RANDOM | {"method": "bayes"}
GRID: dict[str, Any] = {"method": "grid", "parameters": {"a": {"values": [1, 2, 3]}}}

REPEATS = RANDOM | {"repeats": {"parameter": "seed", "values": [7, 8]}}
"""Every configuration is run with two seeds."""

METRICS: dict[str, Any] = {
    "method": "random",
    "metrics": [{"name": "loss"}, {"name": "accuracy", "goal": "maximize"}],
    "parameters": {"x": UNIT},
}
"""Two metrics, neither of which is the more important."""
