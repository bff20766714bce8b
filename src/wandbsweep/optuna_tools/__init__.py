"""Optuna's own tools, used by name."""
