"""Optuna's own pruners and importance evaluators."""
