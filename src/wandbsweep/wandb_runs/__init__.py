"""Trials as W&B runs, and sweeps as W&B pages."""
