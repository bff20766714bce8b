"""Registers ``hydra/sweeper=wandbsweep``."""
